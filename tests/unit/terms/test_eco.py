"""ECO: its schedules and pairs by hand and by reference numbers, what it runs, and a run that slides."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from dckd_basicsr.bicubic import imresize_uint8
from dckd_basicsr.distill import Distiller, DistillStep, Need, Sources, TeacherOutput, build_terms
from dckd_basicsr.distill.terms.downscaling import Downscaling
from dckd_basicsr.distill.terms.eco import ECOTerm, linear_share, sigmoid_share
from dckd_basicsr.errors import ConfigError
from dckd_basicsr.weight_files import load_state
from tests.models import train
from tests.unit.distill.test_step import ALL_TERMS, Upscale
from tests.unit.recording.test_recorded_step import batches, recorded, run

SGD = "train:optim_g={type: SGD, lr: 1e-3}"


class Seeing(nn.Module):
    """A network whose answer is given; keeps what it saw."""

    def __init__(self, answer):
        super().__init__()
        self.answer = nn.Parameter(torch.as_tensor(answer).clone())
        self.seen: list[torch.Tensor] = []

    def forward(self, x):
        self.seen.append(x)
        return self.answer


def at(iteration, answers, lq, gt, total=1000, **options):
    """What the student saw, the target, the values and the gradient in an iteration."""
    student, teacher = (Seeing(answer) for answer in answers)
    term = ECOTerm(**options)
    targets = []
    term.loss.register_forward_hook(lambda module, inputs, output: targets.append(inputs[1]))
    distiller = Distiller(student, [term], Sources(teachers={"teacher": teacher}), total_iter=total)
    distiller.begin(iteration)
    values = distiller(lq, gt)
    values["l_total"].backward()
    (seen,), (target,) = student.seen, targets
    assert len(teacher.seen) == int(term.taught)
    return seen, target, values, student.answer.grad


# --- schedules


def test_the_linear_schedule_by_hand():
    assert [linear_share(i, 8) for i in range(1, 9)] == [i / 6 for i in range(1, 6)] + [1.0] * 3
    assert [linear_share(i, 10, 0.25) for i in (1, 2, 3)] == [0.5, 1.0, 1.0]  # int(2.5) iterations
    assert [linear_share(i, 4, 1.0) for i in (3, 4)] == [0.75, 1.0]
    assert linear_share(1, 2, 0.1) == 1.0


def test_the_authors_schedule_by_hand():
    assert [sigmoid_share(i, 100) for i in (1, 26, 50, 74, 100)] == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert 0 < sigmoid_share(27, 100) < 0.03
    assert 0.97 < sigmoid_share(73, 100) < 1
    assert sigmoid_share(60, 100) == pytest.approx(0.5 + 1.2 * (1 / (1 + math.exp(-1)) - 0.5))


@pytest.mark.shared
def test_schedules_against_reference_numbers(golden):
    tensors, config = golden("kd/eco")
    total, end = config["constants"]["total_iter"], config["constants"]["end_ratio"]
    iterations = tensors["schedule.iteration"].tolist()
    assert [linear_share(i, total, end) for i in iterations] == pytest.approx(tensors["schedule.alpha"].tolist())
    share = tensors["schedule.authors_teacher_share"].tolist()
    assert [1 - sigmoid_share(i, total) for i in iterations] == pytest.approx(share, abs=1e-12)


# --- pairs


def test_a_pair_by_hand():
    """One colour each, so that scaling down changes nothing: T 0.8, GT 0.4, LQ 0.2, and 1.5 is clamped."""
    lq, gt = torch.full((1, 1, 4, 4), 0.2), torch.full((1, 1, 8, 8), 0.4)
    answers = torch.full((1, 1, 8, 8), 0.0), torch.full((1, 1, 8, 8), 0.8)
    for filter in ("antialiased", "matlab"):
        seen, target, values, grad = at(2, answers, lq, gt, total=8, end_ratio=1.0, filter=filter)
        torch.testing.assert_close(seen, torch.full_like(lq, 0.75 * 0.8 + 0.25 * 0.2))
        torch.testing.assert_close(target, torch.full_like(gt, 0.75 * 0.8 + 0.25 * 0.4))
        assert values["l_eco"].item() == pytest.approx(0.7)
        assert values["real_eco"].item() == 0.25
        torch.testing.assert_close(grad, torch.full_like(gt, -1 / 64))
    bright = answers[0], torch.full((1, 1, 8, 8), 1.5)
    seen, target, values, _ = at(1, bright, lq, gt, total=100, schedule="sigmoid")
    assert values["real_eco"].item() == 0
    assert torch.equal(target, torch.ones_like(gt))
    torch.testing.assert_close(seen, torch.ones_like(lq))
    assert seen.max() <= 1


def test_only_the_target_slides_in_mode_target_and_at_scale_1():
    gt = torch.full((1, 1, 8, 8), 0.4)
    answers = torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), 0.8)
    for options, lq in (({"mode": "target"}, torch.full((1, 1, 4, 4), 0.2)), ({}, torch.full((1, 1, 8, 8), 0.2))):
        seen, target, _, _ = at(2, answers, lq, gt, total=8, end_ratio=1.0, **options)
        assert seen is lq
        torch.testing.assert_close(target, torch.full_like(gt, 0.7))


@pytest.mark.shared
@pytest.mark.parametrize("mode", ["full", "target"])
@pytest.mark.parametrize(("alpha", "iteration"), [("0", 0), ("a", 225), ("b", 600), ("1", 750)])
def test_pairs_against_reference_numbers(golden, mode, alpha, iteration):
    tensors, config = golden("kd/eco")
    answers = tensors["student_output"], tensors["teacher_output"]
    seen, target, values, grad = at(iteration, answers, tensors["lq"], tensors["hr"], mode=mode)
    assert values["real_eco"].item() == pytest.approx(config["constants"]["alpha"][alpha])
    place = f"{'full' if mode == 'full' else 'hr_only'}.alpha_{alpha}"
    torch.testing.assert_close(seen, tensors[f"{place}.lq"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(target, tensors[f"{place}.gt"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(values["l_eco"], tensors[f"{place}.loss"], rtol=1e-5, atol=0)
    wanted = tensors[f"{place}.grad.student_output"]
    torch.testing.assert_close(grad, wanted, rtol=0, atol=1e-5 * wanted.abs().max().item())


@pytest.mark.shared
def test_the_authors_pair_against_reference_numbers(golden):
    tensors, config = golden("kd/eco")
    images = {key: tensors[f"authors.{key}"].float().div(255)[None] for key in ("lr_real", "hr_real", "hr_teacher")}
    share = config["constants"]["authors_max_iter"] // 10  # the teacher's pair alone
    answers = torch.zeros_like(images["hr_real"]), images["hr_teacher"]
    options = {"schedule": "sigmoid", "filter": "matlab"}
    _, target, values, _ = at(share, answers, images["lr_real"], images["hr_real"], **options)
    assert 1 - values["real_eco"].item() == tensors["authors.teacher_share"].item()
    torch.testing.assert_close(target[0], tensors["authors.hr_mixed"])


@pytest.mark.shared
def test_filters_against_reference_numbers(golden):
    tensors, _ = golden("kd/eco")
    teacher = tensors["teacher_output"].clamp(0, 1)
    plain = Downscaling("antialiased")(teacher, (9, 12)).clamp(0, 1)
    torch.testing.assert_close(plain, tensors["teacher_lq"], rtol=1e-5, atol=1e-6)
    found = Downscaling("matlab")(teacher, (9, 12))
    torch.testing.assert_close(found, tensors["teacher_lq_matlab_like"], rtol=1e-5, atol=1e-6)


def test_matlabs_filter_is_the_packers_but_for_its_rounding():
    image = np.random.default_rng(0).integers(0, 256, (24, 36, 3), dtype=np.uint8)
    wanted = torch.from_numpy(imresize_uint8(image, 1 / 3)).permute(2, 0, 1)[None].float()
    down, images = Downscaling("matlab"), torch.from_numpy(image).permute(2, 0, 1)[None].float()
    found = down(images.requires_grad_(), (8, 12))
    assert not found.requires_grad
    assert found.dtype == torch.float32
    assert (found.clamp(0, 255) - wanted).abs().max() <= 1.2  # twice half a grey value, the first spread by the second
    matrices = [matrix.data_ptr() for matrix in down._weights.values()]
    down(images, (8, 12))
    assert [matrix.data_ptr() for matrix in down._weights.values()] == matrices  # what a recorded step reads stays
    plain = Downscaling("antialiased")(images, (8, 12))
    torch.testing.assert_close(found[..., 2:-2, 2:-2], plain[..., 2:-2, 2:-2])  # borders alone
    assert (found - plain).abs().max() > 1


# --- what it asks for


def sliding(total=8, **options):
    terms = build_terms({"losses": [{"type": "eco", **options}, {"type": "pixel", "weight": 0.5}]})
    student, teacher = Upscale(), Upscale()
    return Distiller(student, terms, Sources(teachers={"teacher": teacher}), total_iter=total)


def test_the_teacher_runs_until_the_pair_is_real_and_a_second_pass_as_long():
    lq, gt = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 16, 16)
    for mode, passes in (("full", 2), ("target", 1)):
        distiller = sliding(mode=mode)
        variants = []
        for iteration in range(1, 9):
            distiller.begin(iteration)
            distiller.student.passes.clear()
            distiller.sources.teachers["teacher"].passes.clear()
            values = distiller(lq, gt)
            real = iteration >= 6
            assert len(distiller.sources.teachers["teacher"].passes) == int(not real)
            assert len(distiller.student.passes) == (1 if real else passes)
            assert distiller.terms["l_eco"].current_needs == ({Need.GT} if real else {Need.GT, Need.TEACHER})
            assert (Need.TEACHER in distiller.needs) is not real
            variants.append(distiller.variant)
        assert values["l_eco"].item() == 2 * values["l_pix"].item()
        assert [variants.index(each) for each in variants] == [0] * 5 + [5] * 3


def test_in_mode_full_the_student_does_not_see_lq():
    term = ECOTerm()
    step = DistillStep(
        Sources(teachers={"teacher": Upscale()}), torch.rand(1, 3, 4, 4), torch.rand(1, 3, 8, 8), Upscale()
    )
    term.begin(1, 8)
    term(step)
    assert "_run_student" not in vars(step)


def test_it_can_name_its_teacher_and_depends_on_the_runs_length():
    assert ECOTerm(taught_by="second").needs == {Need.GT, TeacherOutput("second")}
    first, second = (Seeing(torch.full((1, 1, 8, 8), value)) for value in (0.2, 0.8))
    images, options = torch.zeros(1, 1, 8, 8), {"loss": {"type": "MSELoss"}, "schedule": "sigmoid", "name": "l_mine"}
    terms = build_terms({"losses": [{"type": "eco", "taught_by": "second", **options}]})
    sources = Sources(teachers={"first": first, "second": second})
    values = Distiller(Seeing(images), terms, sources, total_iter=100)(images, images)
    assert values["l_mine"].item() == pytest.approx(0.64)
    assert (len(first.seen), "real_mine" in values) == (0, True)
    with pytest.raises(ConfigError, match="the term l_mine is a schedule and needs total_iter"):
        Distiller(Seeing(images), terms, sources)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "hr_only"}, "mode must be full or target, got 'hr_only'"),
        ({"schedule": "cosine"}, "schedule must be linear or sigmoid, got 'cosine'"),
        ({"filter": "area"}, "filter must be one of antialiased, matlab, got 'area'"),
        ({"end_ratio": 0}, r"end_ratio must be a share of the run in \(0, 1\], got 0"),
        ({"end_ratio": 1.01}, r"end_ratio must be a share of the run in \(0, 1\], got 1.01"),
        ({"end_ratio": 0.5, "schedule": "sigmoid"}, "end_ratio belongs to the linear schedule; leave it out with"),
    ],
)
def test_options_that_are_wrong(options, message):
    with pytest.raises(ConfigError, match=rf"train\.losses\[0\] \(eco\): {message}"):
        build_terms({"losses": [{"type": "eco", **options}]})


# --- in a model


@pytest.mark.parametrize("options", [{}, {"filter": "matlab"}, {"mode": "target"}])
def test_a_run_slides_recorded_and_resumed(build, tmp_path, options):
    only = {"train": {**dict.fromkeys(ALL_TERMS), "losses": [{"type": "eco", **options}]}}  # real from iteration 4
    data = list(batches(6))
    torch.manual_seed(0)
    plain = build(SGD, **only)
    torch.manual_seed(0)
    replayed = recorded(build(SGD, **only))
    wanted, found = run(plain, data), run(replayed, data)
    assert replayed.runner.recorded is not None
    assert [row["real_eco"] for row in found] == pytest.approx([1 / 4, 2 / 4, 3 / 4, 1, 1, 1])
    for a, b in zip(wanted, found, strict=True):
        assert b == pytest.approx(a, rel=1e-5)
    straight = build(**only)
    train(straight, range(1, 3))
    straight.save(0, 2)
    rest = train(straight, range(3, 6))
    resumed = build(f"path:pretrain_network_g={tmp_path / 'experiments/tiny/models/net_g_2.pth'}", **only)
    state = load_state(tmp_path / "experiments/tiny/training_states/2.state")
    resumed.resume_training(state)
    assert "terms" not in state["dckd"]
    assert train(resumed, range(3, 6)) == rest
    nets = (straight.net_g, straight.net_g_ema), (resumed.net_g, resumed.net_g_ema)
    for one, other in zip(*nets, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values()))


def test_a_run_of_another_length_goes_on_as_if_it_had_had_it_from_the_start(build, tmp_path, said):
    only = {**dict.fromkeys(ALL_TERMS), "losses": [{"type": "eco"}]}
    first = build(train={**only, "total_iter": 4})
    train(first, [1, 2, 3])
    assert not first.distiller.terms["l_eco"].taught
    first.save(0, 3)
    longer = build(train={**only, "total_iter": 8})
    longer.resume_training(load_state(tmp_path / "experiments/tiny/training_states/3.state"))
    assert any("total_iter was 4" in text and "is 8 now; weights and terms that follow" in text for text in said)
    assert train(longer, [4])[0]["real_eco"] == pytest.approx(4 / 6)  # and the teacher is back
