"""Gates by hand and by reference numbers; terms whose weight is zero cost nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dckd_basicsr.distill import (
    TERMS,
    Distiller,
    HistorySettings,
    Need,
    Sources,
    WeightedTerm,
    build_terms,
    loss_weight,
    register_term,
)
from dckd_basicsr.distill.history import HistoryModel
from dckd_basicsr.distill.terms import LogitsTerm, where_teacher_is_better
from dckd_basicsr.errors import ConfigError
from tests.models import train
from tests.unit.distill.test_step import ALL_TERMS, L1, Setup

ENDS = {"type": "steps", "at": [0.5], "values": [1.0, 0.0]}
STARTS = {"type": "steps", "at": [0.5], "values": [0.0, 1.0]}


class Image(nn.Module):
    """A network whose answer is given, whatever it sees."""

    def __init__(self, values):
        super().__init__()
        self.values = nn.Parameter(torch.as_tensor(values).clone())

    def forward(self, x):
        return self.values


def gated(student, teacher, gt, loss="L1Loss"):
    term = LogitsTerm({"type": loss, "loss_weight": 1.0}, gate="teacher_better")
    net = Image(student)
    found = Distiller(net, [term], Sources(teachers={"teacher": Image(teacher)}))
    values = found(gt, gt)
    values["l_total"].backward()
    return values, net.values.grad


# --- the gate


def test_the_gate_by_hand():
    """Per pixel and channel: T nearer, farther, as near on the other side, the same image, exact."""
    gt = torch.full((1, 1, 1, 5), 0.5)
    student = torch.tensor([0.9, 0.6, 0.75, 0.25, 0.5]).view(1, 1, 1, 5)
    teacher = torch.tensor([0.7, 0.9, 0.25, 0.25, 0.6]).view(1, 1, 1, 5)
    assert where_teacher_is_better(teacher, student, gt).flatten().tolist() == [True, False, False, False, False]
    values, grad = gated(student, teacher, gt)
    assert values["l_logits"].item() == pytest.approx(0.2 / 5)
    assert values["gate_logits"].item() == pytest.approx(1 / 5)
    assert not values["gate_logits"].requires_grad
    torch.testing.assert_close(grad.flatten(), torch.tensor([0.2, 0, 0, 0, 0]))  # none through the gate
    values, grad = gated(student, teacher, gt, "MSELoss")
    assert values["l_logits"].item() == pytest.approx(0.04 / 5)
    torch.testing.assert_close(grad.flatten(), torch.tensor([2 * 0.2 / 5, 0, 0, 0, 0]))


def test_the_gate_against_reference_numbers(golden):
    tensors, _ = golden("kd/psd")
    student, teacher, gt = (tensors[key] for key in ("student", "teacher", "gt"))
    assert torch.equal(where_teacher_is_better(teacher, student, gt).float(), tensors["gate.mask"])
    for loss, name in (("L1Loss", "l1"), ("MSELoss", "mse")):
        values, grad = gated(student, teacher, gt, loss)
        torch.testing.assert_close(values["l_logits"], tensors[f"gate.{name}"], rtol=1e-5, atol=0)
        wanted = tensors[f"gate.{name}.grad.student"]
        torch.testing.assert_close(grad, wanted, rtol=0, atol=1e-5 * wanted.abs().max().item())
        torch.testing.assert_close(values["gate_logits"], tensors["gate.mask"].mean())


def test_consistency_has_a_gate_too_and_others_have_none():
    (term,) = build_terms({"losses": [{"type": "consistency", "gate": "teacher_better", "name": "l_mine"}]})
    setup = Setup([term])
    values, _ = setup.run()
    assert set(values) == {"l_mine", "l_total", "gate_mine"}
    with pytest.raises(ConfigError, match=r"train\.losses\[0\] \(logits\): gate must be teacher_better.*'better'"):
        build_terms({"losses": [{"type": "logits", "gate": "better"}]})
    with pytest.raises(ConfigError, match=r"train\.pixel_opt \(pixel\): .*gate"):
        build_terms({"pixel_opt": {**L1, "gate": "teacher_better"}})


# --- weights that are zero


def weighted(**weights):
    """All terms of the method, with these weights by short name."""
    terms = build_terms(ALL_TERMS)
    return [WeightedTerm(e.term, loss_weight(weights.get(e.name.removeprefix("l_"), 1))) for e in terms]


def scheduled(total=4, **weights) -> Setup:
    setup = Setup(weighted(**weights)[:1])
    setup.history.settings = HistorySettings(schedule=((100, 1),))
    setup.distiller = Distiller(setup.student, weighted(**weights), setup.sources, total_iter=total)
    return setup


def passes(setup) -> tuple[int, int, int]:
    counted = []
    layer = setup.sources.encoder.vqgan.encoder.conv_in
    handle = layer.register_forward_hook(lambda *_: counted.append(1))
    setup.teacher.passes.clear()
    setup.history.net.passes.clear()
    values, _ = setup.run()
    handle.remove()
    active = [values[name] for name in setup.distiller.active]
    torch.testing.assert_close(values["l_total"], sum(active), rtol=0, atol=0)
    assert set(setup.distiller.active) == {name for name in values if name.startswith("l_")} - {"l_total"}
    return len(setup.teacher.passes), len(setup.history.net.passes), len(counted)


def test_what_only_ended_terms_needed_runs_no_more():
    setup = scheduled(contrast=ENDS, dist=ENDS, logits=ENDS, consist=ENDS)
    assert passes(setup) == (1, 1, 2)
    assert setup.distiller.follow(2)
    setup.distiller.begin(3)
    assert setup.distiller.active == ("l_pix",)
    assert passes(setup) == (0, 0, 0)
    assert setup.history.updates == 1
    assert not setup.distiller.follow(3)
    assert setup.history.updates == 1


def test_what_is_still_needed_goes_on():
    setup = scheduled(contrast=ENDS, consist=ENDS)
    setup.distiller.begin(3)
    assert setup.distiller.needs == {Need.GT, Need.TEACHER, Need.CODES}
    assert passes(setup) == (1, 0, 2)
    assert setup.teacher.passes == [3]  # without the transformed copies


def test_a_term_that_starts_later_finds_a_past():
    setup = scheduled(contrast=STARTS)
    assert Need.TAPS not in setup.distiller.needs
    assert passes(setup)[1] == 0
    assert setup.distiller.follow(1)
    setup.distiller.begin(3)
    assert passes(setup)[1] == 1


def test_other_terms_do_not_change_where_one_ends():
    plain, ending = Setup(weighted()), scheduled(dist=ENDS)
    wanted = plain.run()[0]
    ending.distiller.begin(3)
    found = ending.run()[0]
    assert "l_dist" not in found
    for name in ("l_pix", "l_logits", "l_contrast", "l_consist"):
        assert found[name].item() == wanted[name].item()


def test_a_fading_weight_multiplies():
    setup = scheduled(logits={"type": "linear", "from": 2.0, "to": 1.0}, dist={"type": "linear", "from": 1.0})
    wanted = Setup(weighted()).run()[0]
    for iteration, factor in ((1, 2.0), (2, 1.75), (4, 1.25)):
        setup.distiller.begin(iteration)
        setup.sources.generators.load_training_state(Setup().sources.generators.training_state(), "cpu")
        found, _ = setup.run()
        torch.testing.assert_close(found["l_logits"], factor * wanted["l_logits"])
        torch.testing.assert_close(found["l_dist"], (5 - iteration) / 4 * wanted["l_dist"])


def test_a_run_needs_a_term_to_its_end_and_schedules_a_length():
    setup = Setup()
    with pytest.raises(ConfigError, match="the weight of l_pix is a schedule and needs total_iter"):
        Distiller(setup.student, weighted(pix=ENDS), setup.sources)
    (only,) = build_terms({"losses": [{"type": "pixel", "weight": ENDS}]})
    for weight, iteration in (
        (ENDS, 3),
        (STARTS, 1),
        (0, 1),
        ({"type": "steps", "at": [0.3, 0.6], "values": [1, 0, 1]}, 3),
        ({"type": "linear", "from": 0.0, "to": 1.0}, 1),
        ({"type": "cosine", "from": 1.0, "until": 0.75}, 4),
    ):
        with pytest.raises(ConfigError, match=f"no loss term has a weight in iteration {iteration}; give one from st"):
            Distiller(setup.student, [WeightedTerm(only.term, loss_weight(weight))], total_iter=4)
    for weight in ({"type": "cosine", "from": 1.0}, {"type": "steps", "at": [0.9], "values": [1, 0]}, 1):
        Distiller(setup.student, [WeightedTerm(only.term, loss_weight(weight))], total_iter=4)


def test_terms_have_names_of_their_own():
    setup = Setup()
    with pytest.raises(ConfigError, match="two terms are called 'l_logits'; give one a `label` of its own"):
        Distiller(setup.student, [LogitsTerm(), LogitsTerm()], setup.sources)
    for name in ("l_total", "items", "time", "a.b"):
        with pytest.raises(ConfigError, match=r"train.losses\[0\]: name must be"):
            build_terms({"losses": [{"type": "pixel", "name": name}]})
    contrast = {"type": "contrast", "loss": ALL_TERMS["contrastive_opt"]}
    values, _ = Setup(build_terms({"losses": [contrast, {**contrast, "name": "l_far"}]})).run()
    assert {"d_teacher", "d_teacher_far", "d_negative", "d_negative_far"} <= set(values)


def test_a_derived_term_has_a_name_of_its_own():
    try:
        cls = register_term("warm_logits")(type("WarmLogits", (LogitsTerm,), {}))
        assert (cls.log_name, cls().label) == ("l_warm_logits", "l_warm_logits")
    finally:
        del TERMS["warm_logits"]


def test_needs_that_no_step_offers_and_codes_without_a_teacher():
    setup = Setup()
    term = LogitsTerm()
    for need, message in (("tap", "needs 'tap', which no step offers"), (Need.CODES, "needs the teacher, which")):
        setup.sources.teachers.clear()
        term.__class__ = type("Own", (LogitsTerm,), {"needs": frozenset({need})})
        with pytest.raises(ConfigError, match=message):
            Distiller(setup.student, [term], setup.sources)


@pytest.mark.parametrize("missing", ["teacher", "history model", "encoder"])
def test_terms_need_their_networks(missing):
    setup = Setup()
    if missing == "teacher":
        setup.sources.teachers.clear()
    else:
        setattr(setup.sources, {"history model": "history"}.get(missing, missing), None)
    with pytest.raises(ConfigError, match=f"the term l_.* needs the {missing}, which is not there"):
        Distiller(setup.student, build_terms(ALL_TERMS), setup.sources)


# --- in a model


def test_a_weight_of_zero_builds_nothing(build):
    off = [{"type": name, "weight": 0} for name in ("logits", "contrast", "distribution", "consistency")]
    short = dict.fromkeys(ALL_TERMS)
    model = build(train={**short, "pixel_opt": {"type": "L1Loss"}, "losses": off})
    assert (model.sources.teachers, model.sources.history, model.sources.encoder) == ({}, None, None)
    assert set(train(model, [1])[0]) == {"l_pix", "l_total"}
    with pytest.raises(ConfigError, match="no loss term is switched on"):
        build_terms({"losses": off})


def test_in_a_run_terms_end_aloud(build, said):
    faded = {"type": "linear", "from": 1.0, "until": 0.5}
    contrast = {"type": "ContrastiveLoss", "weights": [0.25, 0.5, 1.0], "loss_weight": ENDS}
    model = build(train={"contrastive_opt": contrast, "logits_opt": {"type": "L1Loss", "loss_weight": faded},
                         "history": {"schedule": [[100, 1]]}})  # fmt: skip
    logs = train(model, range(1, 7))
    assert [("l_contrast" in log, "l_logits" in log) for log in logs] == [(True, True)] * 3 + [(False, False)] * 3
    assert [text for text in said if "weights say" in text] == [
        "From iteration 4: without l_contrast, l_logits, as the weights say"
    ]
    assert model.history.updates == 3
    for log in logs:
        parts = [value for name, value in log.items() if name.startswith("l_") and name != "l_total"]
        assert log["l_total"] == pytest.approx(sum(parts), rel=1e-5)
    assert isinstance(model.history, HistoryModel)


def test_a_resumed_run_says_that_its_schedules_have_another_length(build, said):
    faded = {"type": "L1Loss", "loss_weight": {"type": "linear", "from": 1.0}}
    short = {**dict.fromkeys(ALL_TERMS), "pixel_opt": L1}
    for logits, warned in ((faded, True), (L1, False)):
        state = build(train={**short, "logits_opt": logits}).extra_training_state()["dckd"]
        same, longer = (build(train={**short, "logits_opt": logits, "total_iter": total}) for total in (6, 12))
        said.clear()
        same.load_extra_training_state(state)
        assert not said
        longer.load_extra_training_state(state)
        assert any("total_iter was 6 when the run was saved and is 12 now" in text for text in said) == warned
