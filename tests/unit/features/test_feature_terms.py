"""fitnet, attention and affinity: by hand, by reference numbers, on every network, and what becomes of regressors."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from pathlib import Path

import pytest
import torch
from basicsr.archs import build_network

from dckd_basicsr.config import option_problems
from dckd_basicsr.distill import Distiller, Sources, WeightedTerm, build_terms, loss_weight
from dckd_basicsr.distill.features import unit_images
from dckd_basicsr.distill.terms import AffinityTerm, AttentionTerm, FitnetTerm, LogitsTerm, PixelTerm
from dckd_basicsr.distill.terms.features.affinity import affinity_distance, automatic_pool, pooled
from dckd_basicsr.distill.terms.features.attention import attention_distance
from dckd_basicsr.errors import ConfigError
from dckd_basicsr.weight_files import load_state, load_training_state
from tests import tiny
from tests.given_maps import Given, given, row
from tests.models import train
from tests.terms import EDSR, WIDE
from tests.unit.features.test_positions import NAFNET, RCAN, RESTORMER, SWINIR

TERMS = (FitnetTerm, AttentionTerm, AffinityTerm)
NETS = {
    "EDSR": (EDSR, WIDE),
    "RCAN": ({**RCAN, "num_group": 2}, {**RCAN, "num_feat": 8, "num_group": 3}),
    "SwinIR": ({**SWINIR, "depths": [1] * 2, "num_heads": [1] * 2}, {**SWINIR, "embed_dim": 6}),
    "NAFNet": (NAFNET, {**NAFNET, "width": 6, "enc_blk_nums": [1, 2]}),
    "Restormer": (RESTORMER, {**RESTORMER, "dim": 8, "num_blocks": [2, 1, 1, 1]}),
}
LQ = torch.rand(2, 3, 8, 8)


# --- by hand


def test_attention_by_hand():
    """A is (3, 4) of S and (4, 3) of T, with norms of 5."""
    values, net = given(AttentionTerm, [row((2**0.5, 1.0), (2.0, 0.0))], [row((2.0,), (3**0.5,))])
    assert values["l_attention"].item() == pytest.approx(0.2, rel=1e-5)
    # d(a/|a|) = (I - a a^T / 25) / 5, and the signs are (-1, 1): (-28/125, 21/125) / 2 for A, times 2 F
    wanted = row((-28 * 2**0.5 / 125, -28 / 125), (21 * 2 / 125, 0.0))
    torch.testing.assert_close(net.maps[0].grad, wanted, rtol=1e-5, atol=1e-7)


def test_affinity_by_hand_with_a_position_that_has_no_features():
    """Cosines of S are 0, with itself too where it has nothing; those of T are 1, 0 and 1/sqrt(2) twice."""
    student, teacher = row((3.0, 0.0), (0.0, 2.0), (0.0, 0.0)), row((1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    values, net = given(AffinityTerm, [student], [teacher])
    assert values["l_affinity"].item() == pytest.approx((4 * 0.5**0.5 + 1) / 9, rel=1e-6)
    wanted = row((0.0, -2 / 9 / 3), (-2 / 9 / 2, 0.0), (0.0, 0.0))
    torch.testing.assert_close(net.maps[0].grad, wanted, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("distance", "wanted"), [("l1", 5 / 4), ("l2", 7 / 4)])
def test_fitnet_by_hand(distance, wanted):
    term = FitnetTerm(["taps.0"], distance=distance)
    net, teacher = Given(row((1.0,), (2.0,))), Given(row((3.0, 1.0), (6.0, 0.0)))
    distiller = Distiller(net, [term], Sources(teachers={"teacher": teacher}), example=LQ[:1])
    (layer,) = term.regressors
    layer.weight.data, layer.bias.data = torch.tensor([2.0, 1.0]).view(2, 1, 1, 1), torch.tensor([0.0, -1.0])
    values = distiller(LQ[:1], LQ[:1])  # (2, 4) against (3, 6), and (0, 1) against (1, 0)
    values["l_total"].backward()
    assert values["l_fitnet"].item() == pytest.approx(wanted)
    if distance == "l1":
        torch.testing.assert_close(layer.weight.grad.flatten(), torch.tensor([-0.75, 0.25]))
        torch.testing.assert_close(layer.bias.grad, torch.tensor([-0.5, 0.0]))
        torch.testing.assert_close(net.maps[0].grad, row((-0.75,), (-0.25,)))


def test_other_forms_of_fitnet_by_hand():
    student, teacher = row((1.0, 3.0), (2.0, 0.0)), row((5.0,), (-1.0,))
    values, net = given(partial(FitnetTerm, form="channel_mean"), [student, student], [teacher, teacher])
    assert values["l_fitnet"].item() == pytest.approx(2 * (3 + 2) / 2)  # means 2 and 1; a sum of two positions
    torch.testing.assert_close(net.maps[1].grad, row((-0.25, -0.25), (0.25, 0.25)))
    values, _ = given(partial(FitnetTerm, form="raw"), [student], [student + 2])
    assert values["l_fitnet"].item() == 2
    with pytest.raises(ConfigError, match=r"'taps.0' has 2 channels and the teacher's 'taps.0' 1; use form: regressor"):
        given(partial(FitnetTerm, form="raw"), [student], [teacher])


def test_pooling_by_hand():
    values = torch.arange(12.0).view(1, 1, 3, 4)  # windows that the border cuts have one row
    torch.testing.assert_close(pooled(values, 2, "avg").flatten(), torch.tensor([2.5, 4.5, 8.5, 10.5]))
    torch.testing.assert_close(pooled(values, 2, "max").flatten(), torch.tensor([5.0, 7.0, 9.0, 11.0]))
    assert pooled(values, 1, "avg") is values
    assert [automatic_pool(48, 48), automatic_pool(48, 49), automatic_pool(256, 256)] == [1, 2, 6]


# --- by reference numbers


def check(values, net, wanted, form, loss="l_total"):
    torch.testing.assert_close(values[loss], wanted[f"{form}.loss"], rtol=1e-5, atol=0)
    for i, each in enumerate(net.maps):
        grad = wanted[f"{form}.grad.student.{i}"]
        torch.testing.assert_close(each.grad, grad, rtol=0, atol=1e-5 * grad.abs().max().item())


def maps_of(wanted, name):
    return [wanted[f"{name}.{i}"] for i in range(3)]


@pytest.mark.parametrize(
    ("form", "term", "teacher"),
    [
        ("at", AttentionTerm, "teacher"),
        ("fitnet_raw", partial(FitnetTerm, form="raw"), "teacher_same_width"),
        ("fitnet_channel_mean", partial(FitnetTerm, form="channel_mean"), "teacher"),
    ],
)
def test_fitnet_and_attention_against_reference_numbers(golden, form, term, teacher):
    wanted, _ = golden("kd/at_fitnet")
    check(*given(term, maps_of(wanted, "student"), maps_of(wanted, teacher)), wanted, form)


@pytest.mark.parametrize(
    ("form", "options"),
    [("sa", {}), ("psa_max", {"pool": 3, "pooling": "max"}), ("psa_avg", {"pool": 3, "pooling": "avg"})],
)
def test_affinity_against_reference_numbers(golden, form, options):
    wanted, _ = golden("kd/fakd_affinity")
    check(
        *given(partial(AffinityTerm, **options), maps_of(wanted, "student"), maps_of(wanted, "teacher")), wanted, form
    )


def test_all_of_fakd_against_reference_numbers(golden):
    wanted, _ = golden("kd/fakd_affinity")
    student = Given(*maps_of(wanted, "student"), image=wanted["total.image_student"])
    teacher = Given(*maps_of(wanted, "teacher"), image=wanted["total.image_teacher"])
    halves = [WeightedTerm(each(), loss_weight(0.5)) for each in (PixelTerm, LogitsTerm)]
    affinity = lambda student: WeightedTerm(AffinityTerm(student), loss_weight(10))  # noqa: E731
    values, net = given(affinity, student, teacher, *halves, gt=wanted["total.image_gt"])
    check(values, net, wanted, "total")
    grad = wanted["total.grad.image_student"]
    torch.testing.assert_close(net.image.grad, grad, rtol=0, atol=1e-5 * grad.abs().max().item())


# --- the formulas


@pytest.mark.parametrize("formula", [attention_distance, affinity_distance])
def test_gradients_of_distances(formula, monkeypatch):
    monkeypatch.setattr("dckd_basicsr.distill.terms.features.affinity._AT_ONCE", 2 * 12**2)  # two images, then one
    student = torch.randn(3, 2, 3, 4, dtype=torch.double, requires_grad=True)
    teacher = torch.randn(3, 5, 3, 4, dtype=torch.double)
    assert torch.autograd.gradcheck(lambda x: formula(x, teacher), student)


def test_in_pieces_affinity_is_the_same_and_nothing_of_its_size_stays(monkeypatch):
    student, teacher, sizes = torch.randn(5, 3, 6, 6, requires_grad=True), torch.randn(5, 4, 6, 6), []

    def kept(tensor):
        sizes.append(tensor.numel() // len(tensor) if tensor.dim() else 0)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(kept, lambda tensor: tensor):
        whole = affinity_distance(student, teacher)
    assert 0 < max(sizes) < 36 * 36
    (wanted,) = torch.autograd.grad(whole, student)
    for at_once in (3 * 36**2 + 1, 1):  # three images and two, and one at a time though it is larger
        monkeypatch.setattr("dckd_basicsr.distill.terms.features.affinity._AT_ONCE", at_once)
        pieces = affinity_distance(student, teacher)
        torch.testing.assert_close(pieces, whole)
        torch.testing.assert_close(torch.autograd.grad(pieces, student)[0], wanted)
    assert not affinity_distance(student.detach(), teacher).requires_grad


def test_millions_of_numbers_are_added_up_as_they_should():
    student, teacher = torch.randn(3, 4, 48, 48), torch.randn(3, 9, 48, 48)
    for formula in (affinity_distance, attention_distance):
        wanted = formula(student.double(), teacher.double()).float()
        torch.testing.assert_close(formula(student, teacher), wanted, rtol=1e-5, atol=0)
    large = torch.rand(1, 64, 128, 128)
    torch.testing.assert_close(unit_images(large), unit_images(large.double()).float(), rtol=1e-6, atol=0)


# --- networks


def pair(name):
    torch.manual_seed(4)
    return [build_network(dict(options)) for options in NETS[name]]


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("name", NETS)
def test_defaults_do_on_every_network(name, term):
    student, teacher = pair(name)
    distiller = Distiller(student, [term()], Sources(teachers={"teacher": teacher}), example=LQ[:1])
    values = distiller(LQ, LQ)
    values["l_total"].backward()
    assert values["l_total"].item() > 0
    grads = [each.grad for each in student.parameters() if each.grad is not None]
    assert len(grads) > 3
    assert all(each.isfinite().all() for each in grads)
    assert any(each.any() for each in grads)
    layers = list(distiller.terms.parameters())
    assert len(layers) == (6 if term is FitnetTerm else 0)
    assert all(each.grad.any() for each in layers)


def test_shallow_maps_move_no_deep_layers():
    student, teacher = pair("EDSR")
    distiller = Distiller(student, [AffinityTerm(["body.0"])], Sources(teachers={"teacher": teacher}), example=LQ)
    distiller(LQ, LQ)["l_total"].backward()
    assert {key.split(".")[0] for key, each in student.named_parameters() if each.grad is not None} == {
        "conv_first",
        "body",
    }


def test_maps_of_another_size():
    student, teacher = pair("NAFNet")[0], build_network({**NAFNET, "enc_blk_nums": [1] * 3, "dec_blk_nums": [1] * 3})
    message = (
        r"l_attention compares feature maps of one size, but the student's '1/3' is \(1, 8, 4, 4\) and the teacher's "
        r"'encoders.2' is \(1, 16, 2, 2\); name positions of equal height and width"
    )
    with pytest.raises(ConfigError, match=message):
        Distiller(
            student,
            [AttentionTerm(["1/3"], ["encoders.2"])],
            Sources(teachers={"teacher": teacher}),
            example=LQ[:1],
        )
    with pytest.raises(ConfigError, match=r"'taps.0' is \(2, 16, 3\) and the teacher's 'taps.0' is \(2, 5, 4, 5\)"):
        given(AttentionTerm, [torch.rand(2, 16, 3)], [torch.rand(2, 5, 4, 5)], lq=torch.zeros(2, 3, 4, 4))


def test_maps_that_come_to_another_size_later():
    """A student that pads to its windows where the teacher does not."""
    student, teacher = Given(torch.rand(1, 3, 4, 4)), Given(torch.rand(1, 3, 4, 4))
    distiller = Distiller(student, [AttentionTerm(["taps.0"])], Sources(teachers={"teacher": teacher}), example=LQ[:1])
    teacher.maps[0].data = torch.rand(1, 3, 4, 2)
    with pytest.raises(ConfigError, match="compares feature maps of one size"):
        distiller(LQ[:1], LQ[:1])


@pytest.mark.parametrize("term", TERMS)
def test_losses_are_float32_in_a_region_of_mixed_precision(term):
    student, teacher = [torch.randn(2, 3, 4, 4)], [torch.randn(2, 5, 4, 4)]
    torch.manual_seed(2)
    wanted = given(term, student, teacher)[0]["l_total"]
    torch.manual_seed(2)
    with torch.autocast("cpu", torch.bfloat16):
        found = given(term, student, teacher)[0]["l_total"]
    assert found.dtype == torch.float32
    assert torch.equal(found, wanted)


# --- options


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"type": "attention", "student": []}, r"student must be a list of positions, .* got \[\]"),
        ({"type": "attention", "student": "end"}, "student must be a list of positions, .* got 'end'"),
        ({"type": "attention", "teacher": ["end"]}, "teacher must have one position for each of student, .* 3, got 1"),
        ({"type": "attention", "normalize": "on"}, "normalize must be true, false or auto, got 'on'"),
        ({"type": "fitnet", "form": "mean"}, "form must be one of regressor, channel_mean, raw, got 'mean'"),
        ({"type": "fitnet", "distance": "l3"}, "distance must be one of l1, l2, got 'l3'"),
        ({"type": "affinity", "pool": 0}, "pool must be at least 1, which does not pool, got 0"),
        ({"type": "affinity", "pooling": "min"}, "pooling must be one of avg, max, got 'min'"),
    ],
)
def test_options_out_of_range(block, message):
    with pytest.raises(ConfigError, match=rf"train\.losses\[0\] \({block['type']}\): {message}"):
        build_terms({"losses": [block]})


def test_options_are_checked_before_training():
    opt = deepcopy(tiny.job_options())
    opt["train"]["losses"] = [
        {"type": "fitnet", "normalize": True, "student": ["body.0"], "teacher": ["end"], "form": "raw"},
        {"type": "attention", "normalize": "auto", "taught_by": "teacher"},
        {"type": "affinity", "pool": None, "pooling": "max"},
    ]
    assert option_problems(opt) == []
    opt["train"]["losses"] = [{"type": "affinity", "normalize": "yes", "student": "end", "pooling": "min"}]
    assert len(option_problems(opt)) == 3


def test_several_teachers_and_what_is_asked_of_them():
    term = FitnetTerm(["1/3"], taught_by="big")
    assert {(need.network, need.path) for need in term.needs} == {("student", "1/3"), ("big", "1/3")}


# --- regressors in a run


def test_regressors_are_resumed_exactly_and_never_exported(build):
    fitnet = {"type": "fitnet", "student": ["1/3", "end"], "weight": 0.01}
    terms = {**dict.fromkeys(("logits_opt", "contrastive_opt", "distribution_opt", "consistency_opt"))}
    make = partial(build, train={**terms, "losses": [fitnet]})
    model = make("train:ema_decay=0")
    start = [each.clone() for each in model.distiller.terms.parameters()]
    train(model, range(1, 3))
    assert all(not torch.equal(a, b) for a, b in zip(start, model.distiller.terms.parameters(), strict=True))
    model.save(0, 2)
    weights = Path(model.opt["path"]["models"]) / "net_g_2.pth"
    assert load_state(weights)["params"].keys() == model.net_g.state_dict().keys()
    state = load_training_state(Path(model.opt["path"]["training_states"]) / "2.state")
    layers = {f"l_fitnet.regressors.{i}.{key}" for i in (0, 1) for key in ("weight", "bias")}
    assert state["dckd"]["terms"].keys() == layers
    other = make("train:ema_decay=0", f"path:pretrain_network_g={weights}", "path:param_key_g=params")
    other.resume_training(state)
    assert train(other, range(3, 6)) == train(model, range(3, 6))
    for a, b in zip(model.parameters_of("g"), other.parameters_of("g"), strict=True):
        assert torch.equal(a, b)
