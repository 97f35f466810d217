"""CSD's contrast: reference numbers, by hand, never an image's own negative, what a step costs."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from dckd_basicsr.config import option_problems
from dckd_basicsr.config.weights import weight_problems
from dckd_basicsr.distill import Distiller, Need, build_terms
from dckd_basicsr.distill.features import FrozenVGG
from dckd_basicsr.distill.terms import CSDTerm
from dckd_basicsr.distill.terms.features.csd import bicubic_negatives, csd_terms, distance_to_others
from dckd_basicsr.errors import ConfigError
from dckd_basicsr.losses import contrastive_ratio
from tests.models import train
from tests.tiny import job_options
from tests.unit.distill.test_step import Setup

OFF = dict.fromkeys(("contrastive_opt", "distribution_opt", "consistency_opt"))
LEVELS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)


def test_the_ratio_against_reference_numbers(golden):
    """The published form, in which all anchors share K negatives, is the contrast's formula."""
    tensors, _ = golden("kd/csd_contrast")
    student = [tensors[f"student.{i}"].requires_grad_() for i in range(5)]
    teacher = [tensors[f"teacher.{i}"] for i in range(5)]
    shared = [tensors[f"negative.{i}"] for i in range(5)]
    negatives = [[level[k : k + 1].expand(3, -1, -1, -1) for level in shared] for k in range(10)]
    loss = contrastive_ratio(student, teacher, negatives, LEVELS)
    loss.backward()
    torch.testing.assert_close(loss.detach(), tensors["loss"], rtol=1e-5, atol=0)
    for i, level in enumerate(student):
        wanted = tensors[f"grad.student.{i}"]
        torch.testing.assert_close(level.grad, wanted, rtol=0, atol=1e-5 * wanted.abs().max().item())


def test_the_rolled_form_is_that_ratio_with_the_others_as_negatives():
    torch.manual_seed(0)
    student = [torch.randn(4, c, 3, 3, requires_grad=True) for c in (2, 5)]
    teacher, others = ([torch.randn(4, c, 3, 3) for c in (2, 5)] for _ in range(2))
    for count in (1, 2, 3):
        found = csd_terms(student, teacher, others, (0.25, 1.0), num=count)
        negatives = [[level.roll(-shift, 0) for level in others] for shift in range(1, count + 1)]
        wanted = contrastive_ratio(student, teacher, negatives, (0.25, 1.0))
        torch.testing.assert_close(found.loss, wanted, rtol=1e-6, atol=0)
        for mine, theirs in zip(
            torch.autograd.grad(found.loss, student), torch.autograd.grad(wanted, student), strict=True
        ):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-8)


def test_by_hand():
    """S 1 and 2, T 1 and 4, bicubic 5 and 0: distances 1 to T; 1 and 3 to the other's image, not 4 and 2 to the own."""
    student = [torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)]
    teacher, others = [torch.tensor([1.0, 4.0]).view(2, 1, 1, 1)], [torch.tensor([5.0, 0.0]).view(2, 1, 1, 1)]
    found = csd_terms(student, teacher, others, (0.5,), num=1, eps=0.0)
    assert found.loss.item() == pytest.approx(0.5 * 1 / 2)
    assert (found.positive.item(), found.negative.item()) == pytest.approx((0.5, 1.0))
    more = csd_terms(student, teacher, others, (0.5,), num=10, eps=0.0)  # there is one other: it counts ten times
    assert more.loss.item() == pytest.approx(0.5 * 1 / 20)
    assert more.negative.item() == pytest.approx(1.0)
    assert csd_terms(student, teacher, others, (0.5,), num=1, eps=2.0).loss.item() == pytest.approx(0.5 * 1 / 4)


def test_gradcheck_and_half_precision():
    torch.manual_seed(0)
    student = torch.randn(3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    teacher, others = (torch.randn(3, 2, 2, 2, dtype=torch.float64) for _ in range(2))
    assert torch.autograd.gradcheck(lambda s: csd_terms([s], [teacher], [others], (0.7,), num=5).loss, student)
    assert torch.autograd.gradcheck(lambda s: distance_to_others(s, others, 2), student)
    half = csd_terms(*([each.detach().bfloat16()] for each in (student, teacher, others)), (0.7,)).loss
    assert half.dtype == torch.float32
    for count in (0, 3):
        with pytest.raises(ValueError, match="3 images have 1 to 2 others"):
            distance_to_others(student, others, count)


def test_the_negatives_are_pytorchs_bicubic(golden):
    tensors, _ = golden("kd/csd_contrast")
    found = bicubic_negatives(tensors["negatives_from_lr.lr"], (16, 20))[:10]
    torch.testing.assert_close(found, tensors["negatives_from_lr.upsampled"], rtol=1e-5, atol=1e-3)


def test_at_scale_1_the_negatives_are_the_inputs():
    lq = torch.rand(2, 3, 8, 6)
    assert bicubic_negatives(lq, (8, 6)) is lq


def test_bicubic_by_hand():
    """x2 of a step: PyTorch's a = -0.75 overshoots, and is not clamped."""
    step = torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 1.0]).expand(1, 1, 6, 6)
    row = bicubic_negatives(step, (12, 12))[0, 0, 5]
    assert row[4].item() == pytest.approx(-0.75 * (1.25**3 - 5 * 1.25**2 + 8 * 1.25 - 4))
    assert row[7].item() == pytest.approx(1 - row[4].item())


def test_needs():
    assert CSDTerm().needs == {Need.STUDENT_TAPS, Need.TEACHER_TAPS}
    assert CSDTerm(features="vgg19", weights="w.pth").needs == {Need.TEACHER}


def test_each_image_passes_each_network_once():
    setup, encoded = Setup([CSDTerm()]), []
    setup.sources.encoder.vqgan.encoder.conv_in.register_forward_hook(
        lambda module, inputs, output: encoded.append((len(output), output.requires_grad))
    )
    values, gradients = setup.run()
    assert (setup.teacher.passes, setup.student.passes, setup.history.net.passes) == ([3], [3], [])
    assert encoded == [(3, False), (3, False), (3, True)]  # T, the bicubic images, S
    assert all(gradient.abs().sum() > 0 for gradient in gradients)
    step = setup.step()
    up = nn.functional.interpolate(setup.lq, scale_factor=2, mode="bicubic", align_corners=False)
    negatives = [[level.roll(-k, 0) for level in step.reference_taps(up)] for k in (1, 2)]
    wanted = contrastive_ratio(step.student_taps, step.teacher_taps, negatives, (1 / 8, 1 / 4, 1.0))
    torch.testing.assert_close(values["l_csd"], wanted * 2 / 10, rtol=1e-5, atol=0)
    assert values["d_csd_teacher"] < values["d_csd_negative"]


def test_never_its_own():
    """An image's own negative, here equal to S, counts in the distances of the others alone."""
    student, others = torch.randn(3, 2, 2, 2), torch.randn(3, 2, 2, 2)
    for own in range(3):
        moved = others.clone()
        moved[own] = student[own]  # equal to S: a comparison with it would be 0
        expected = sum((student[b] - moved[k]).abs().mean() for b in range(3) for k in range(3) if k != b) / 3
        torch.testing.assert_close(distance_to_others(student, moved, 2), expected)


def test_one_image_has_no_others():
    setup = Setup([CSDTerm()])
    setup.lq, setup.gt = setup.lq[:1], setup.gt[:1]
    with pytest.raises(ConfigError, match=r"l_csd takes its negatives .* has one image; give it two or more"):
        setup.run()


# --- options


def test_parts_of_one_image_are_refused_before_training(monkeypatch):
    """The stage in which a part has one image may come days into a run."""
    options = job_options(OFF)
    train, data = options["train"], options["datasets"]["train"]
    train["losses"] = {"csd": {}}
    assert option_problems(options) == []
    data["batch_size_per_gpu"] = 1
    wanted = "train.losses.csd needs 2 images in each part of a batch; raise datasets.train.batch_size_per_gpu"
    assert option_problems(options) == [wanted]
    del data["batch_size_per_gpu"], data["gt_size"]
    data |= {"type": "PairedPatchDataset", "progressive": [[2, 16, 8], [4, 24, 4], [9, 32, 4]]}
    assert option_problems(options) == []
    monkeypatch.setenv("WORLD_SIZE", "2")
    options["dist"], train["accumulate"] = True, 2
    (found,) = option_problems(options)
    assert found.startswith(
        "train.losses.csd needs 2 images in each part of a batch, and from iteration 3 on 2 x 2 (processes x "
        "train.accumulate) share 4 (datasets.train.progressive[1]); raise that batch"
    )
    train["losses"]["csd"] = {"weight": {"type": "steps", "at": [0.5], "values": [1.0, 0.0]}}
    assert len(option_problems(options)) == 1  # it ends after iteration 3
    train["losses"]["csd"] = {"weight": {"type": "linear", "from": 1.0, "to": 0.0, "until": 0.3}}
    assert option_problems(options) == []
    train["losses"]["csd"], train["total_iter"] = {}, 2
    train["scheduler"]["milestones"] = [1]
    assert option_problems(options) == []  # never comes there


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num": 0}, "num must be at least 1, got 0"),
        ({"level_weights": [1, -1, 1]}, r"level_weights must be at least 0, and one of them more, got \[1, -1, 1\]"),
        ({"level_weights": [0, 0, 0]}, r"level_weights must be at least 0, and one of them more, got \[0, 0, 0\]"),
        ({"features": "vgg13"}, "features must be one of vqgan, vgg16, vgg19, got 'vgg13'"),
        ({"inputs": "rgb", "features": "vgg16"}, "inputs must be one of unit, bytes, imagenet, or null, got 'rgb'"),
        ({"weights": "x.pth", "inputs": "unit"}, "weights, inputs mean something of a VGG only; set features"),
        ({"features": "vgg19"}, "features: vgg19 needs `weights`: the path of torchvision's vgg19-dcbb9e9d.pth, from"),
        ({"features": "vgg19", "weights": "w", "layers": ["relu9_1"]}, "layers must name ReLUs of vgg19"),
        (
            {"features": "vgg19", "weights": "w", "layers": ["relu1_1"]},
            "level_weights must have one entry for each of 1 layers, has none",
        ),
        (
            {"features": "vgg19", "weights": "w", "level_weights": [1]},
            "level_weights must have one entry for each of 5 layers, has 1",
        ),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=rf"train\.losses\[0\] \(csd\): {message}"):
        build_terms({"losses": [{"type": "csd", **options}]})


def test_levels_must_be_the_encoders():
    with pytest.raises(ConfigError, match="l_csd: level_weights has 2 entries, but the VQGAN has 3 levels; give one"):
        Setup([CSDTerm(level_weights=[1, 1])])


def test_a_file_that_is_not_there_is_reported_twice(tmp_path):
    """By the check of the option file, with all else that is wrong, and in a loop of one's own when terms join."""
    options = job_options(OFF)
    options["train"]["losses"] = [{"type": "csd", "features": "vgg19", "weights": str(tmp_path / "vgg19.pth")}]
    assert option_problems(options) == []
    (found,) = [each for each in weight_problems(options, True, set()) if "losses" in each]
    assert found.startswith(f"train.losses[0].weights: '{tmp_path}/vgg19.pth' does not exist; download torchvision's")
    (term,) = build_terms({"losses": options["train"]["losses"]})
    with pytest.raises(ConfigError, match=r"l_csd: `weights` of features: vgg19: .* does not exist; expected is"):
        Distiller(nn.Conv2d(3, 3, 1), [term], Setup().sources)


def test_with_a_vgg_each_image_passes_it_once(tmp_path):
    torch.save(make_layers(cfgs["E"]).state_dict(prefix="features."), tmp_path / "vgg19.pth")
    term = CSDTerm("vgg19", str(tmp_path / "vgg19.pth"), num=2)
    setup = Setup([term])
    seen = []
    term.vgg.features[0].register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    values, gradients = setup.run()
    assert seen == [6, 3]  # T and the bicubic images, then S
    assert all(gradient.abs().sum() > 0 for gradient in gradients)
    up = nn.functional.interpolate(setup.lq, scale_factor=2, mode="bicubic", align_corners=False)
    vgg = FrozenVGG("vgg19", CSDTerm.vgg_layers, tmp_path / "vgg19.pth", "bytes")
    student, teacher, others = vgg(setup.student(setup.lq)), vgg(setup.teacher(setup.lq)), vgg(up)
    negatives = [[level.roll(-k, 0) for level in others] for k in (1, 2)]
    wanted = contrastive_ratio(student, teacher, negatives, LEVELS)
    torch.testing.assert_close(values["l_csd"], wanted, rtol=1e-4, atol=0)
    assert "terms" not in setup.distiller.training_state()  # the VGG is in its file


def test_in_a_run(build):
    model = build(train={**OFF, "losses": [{"type": "csd", "num": 4, "weight": 0.1}]})
    logs = train(model, [1, 2])
    assert {"l_csd", "d_csd_teacher", "d_csd_negative", "l_pix", "l_logits"} <= set(logs[0])
    assert model.history is None
    assert logs[1]["l_csd"] > 0


def test_ground_truth_is_not_asked_for():
    setup = Setup([CSDTerm()])
    wanted = setup.distiller(setup.lq, setup.gt)["l_csd"]
    assert setup.distiller(setup.lq, None)["l_csd"] == wanted
