"""AugKD by hand and by reference numbers: zoom-in, zoom-out, label consistency, and how often networks run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from dckd_basicsr.config import option_problems
from dckd_basicsr.distill import ConsistencySettings, Distiller, Generators, Sources, Transform, draw_transform
from dckd_basicsr.distill.terms import AugKDTerm, LogitsTerm, augkd
from dckd_basicsr.distill.terms.augkd import cells_of, draw_cells
from dckd_basicsr.errors import ConfigError
from dckd_basicsr.models.arranging import recorded_step
from dckd_basicsr.weight_files import load_training_state
from tests.models import train
from tests.recording import record_operations
from tests.terms import EDSR, network
from tests.unit.distill.test_step import ALL_TERMS
from tests.unit.features.test_features import SWINIR

CELLS = torch.tensor([0.1, 0.2, 0.3, 0.4])


class Brighter(nn.Module):
    """Enlarges by repetition and multiplies; counts what it is given."""

    def __init__(self, factor: float, scale: int = 2) -> None:
        super().__init__()
        self.factor, self.scale = nn.Parameter(torch.tensor(factor)), scale
        self.passes: list[tuple[int, ...]] = []

    def forward(self, x):
        self.passes.append((x.shape[0], x.shape[2]))
        return self.factor * x.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)


def brighter(*terms, scale=2, seed=7) -> Distiller:
    """S halves, T leaves as it is."""
    return Distiller(Brighter(0.5, scale), terms, Sources(Generators(seed), {"teacher": Brighter(1.0, scale)}))


def pair(side=4, scale=2):
    """LQ of 0.8, and GT whose cells have the values of CELLS."""
    gt = CELLS.view(2, 2).repeat_interleave(side, 0).repeat_interleave(side, 1).expand(3, 3, -1, -1)
    return torch.full((3, 3, side, side), 0.8), gt[..., : scale * side, : scale * side]


def value(found: Distiller, lq, gt) -> tuple[float, float]:
    """The term, and its derivative by the student's factor."""
    found.zero_grad()
    values = found(lq, gt)
    values["l_augkd"].backward()
    return values["l_augkd"].item(), found.student.factor.grad.item()


# --- zoom-in


def test_cells_by_hand():
    images = torch.arange(2 * 16.0).view(2, 1, 4, 4)
    found = cells_of(images, 2, torch.tensor([3, 1]))
    wanted = [[[10, 11], [14, 15]], [[26, 27], [30, 31]], [[2, 3], [6, 7]], [[18, 19], [22, 23]]]
    assert found[:, 0].tolist() == wanted  # both images' last cell, then both images' upper right one
    images = torch.rand(2, 3, 12, 6).to(memory_format=torch.channels_last)
    assert torch.equal(cells_of(images, 3, torch.tensor([5])), images[:, :, 4:8, 4:6])


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_cells_are_distinct_and_of_the_grid(scale):
    generator, count = torch.Generator().manual_seed(0), scale * scale
    assert sorted(draw_cells(scale, count, generator).tolist()) == list(range(count))
    found = torch.stack([draw_cells(scale, 2, generator) for _ in range(300)])
    assert (found[:, 0] != found[:, 1]).all()
    assert set(found[:, 0].tolist()) == set(found[:, 1].tolist()) == set(range(count))
    shares = torch.bincount(found.flatten(), minlength=count) / 600
    assert (shares - 1 / count).abs().max() < 0.06


@pytest.mark.parametrize("cells", [1, 3])
def test_zoom_in_by_hand(cells):
    """Inverted, S gives (1 - x) / 2, which is (1 + x) / 2 when it is brought back."""
    lq, gt = pair()
    drawn = [CELLS[draw_cells(2, cells, Generators(7).on("cpu"))].mean().item()]
    plain = brighter(AugKDTerm(cells=cells, prob=0.0))
    assert value(plain, lq, gt) == pytest.approx((drawn[0] / 2, -drawn[0]))
    inverted = brighter(AugKDTerm(cells=cells, prob=1.0))
    assert value(inverted, lq, gt) == pytest.approx(((1 - drawn[0]) / 2, -(1 - drawn[0])))
    for found in (plain, inverted):
        for net in (found.student, found.sources.teachers["teacher"]):
            assert net.passes == [(3 * cells, 4)]  # all cells at once, and LQ not at all


def test_every_sample_draws_its_own_transform_after_the_cells():
    lq, gt = torch.rand(3, 3, 4, 4), torch.rand(3, 3, 8, 8)
    generators = Generators(7)
    x = cells_of(gt, 2, draw_cells(2, 2, generators.on("cpu")))
    transform = draw_transform(6, ConsistencySettings(prob=0.3), generators, lq.device)
    assert 0 < transform.switches.sum() < 24
    found = brighter(AugKDTerm(cells=2))
    seen = []
    found.student.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    wanted = (transform.inverse(found.student(transform(x))) - found.sources.teachers["teacher"](x)).abs().mean()
    assert found(lq, gt)["l_augkd"].item() == pytest.approx(wanted.item(), rel=1e-6)
    assert torch.equal(seen[0], seen[1])


def test_at_scale_one_lq_itself_with_the_teachers_one_answer():
    lq, gt = torch.full((3, 3, 4, 4), 0.8), torch.zeros(3, 3, 4, 4)
    found = brighter(AugKDTerm(prob=1.0), LogitsTerm(), scale=1)
    assert value(found, lq, gt) == pytest.approx((0.1, -0.2))  # |(1 + 0.8) / 2 - 0.8|
    assert found.sources.teachers["teacher"].passes == [(3, 4)]
    assert found.student.passes == [(3, 4)] * 2


def test_only_transforms_need_square_patches():
    lq, gt = torch.rand(2, 3, 4, 6), torch.rand(2, 3, 8, 12)
    assert brighter(AugKDTerm(prob=0.0))(lq, gt)["l_augkd"] > 0
    with pytest.raises(ValueError, match="square patches, got 4x6"):
        brighter(AugKDTerm())(lq, gt)


# --- zoom-out


@pytest.mark.parametrize("weight", [0.0, 1.0, 5.0])
def test_zoom_out_by_hand(weight):
    """A uniform LQ stays as it is when it is made smaller: S is 0.4 there, T and LQ 0.8."""
    lq, gt = pair()
    zoom_in = value(brighter(AugKDTerm(prob=0.0)), lq, gt)
    found = brighter(AugKDTerm(prob=0.0, zoom_out=True, **({} if weight == 1 else {"zoom_out_gt_weight": weight})))
    parts = (1 + weight) * 0.4, -(1 + weight) * 0.8
    assert value(found, lq, gt) == pytest.approx(tuple(a + b for a, b in zip(zoom_in, parts, strict=True)))
    assert found.student.passes == [(3, 4), (3, 2)]
    assert found.sources.teachers["teacher"].passes == [(3, 4), (3, 2)]


def test_what_does_not_fit():
    lq, gt = torch.rand(1, 3, 6, 6), torch.rand(1, 3, 12, 12)
    smaller = AugKDTerm(zoom_out=True)
    with pytest.raises(ConfigError, match="l_augkd: cells is 5, but at scale 2 GT has 4 of LQ's size; give at most 4"):
        brighter(AugKDTerm(cells=5))(lq, gt)
    with pytest.raises(ConfigError, match="l_augkd: zoom_out makes LQ smaller by the scale, which is 1"):
        brighter(smaller, scale=1)(lq, lq)
    for height, width in ((5, 6), (6, 5)):
        with pytest.raises(ConfigError, match=f"multiples of 2, got {height}x{width}; make gt_size a multiple of 4"):
            brighter(smaller)(lq[..., :height, :width], gt[..., : 2 * height, : 2 * width])
    nets = network(EDSR), network({**SWINIR, "embed_dim": 12})
    found = Distiller(nets[0], [smaller], Sources(teachers={"teacher": nets[1]}))
    with pytest.raises(ConfigError, match=r"the teacher patches of 6x6, but it takes multiples of 4, at least 4"):
        found(torch.rand(1, 3, 12, 12), torch.rand(1, 3, 24, 24))
    assert found(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 32, 32))["l_augkd"] > 0
    for options in ({"cells": 0}, {"prob": 1.5}, {"zoom_out_gt_weight": -1}):
        with pytest.raises(ValueError, match=next(iter(options))):
            AugKDTerm(**options)


@pytest.mark.parametrize(
    ("options", "scale", "gt_size", "message"),
    [
        ({"cells": 5}, 2, 48, "cells is 5, but at scale 2 GT has 4 of LQ's size; give at most 4"),
        ({"zoom_out": True}, 1, 24, "zoom_out makes LQ smaller by the scale, which is 1; set it to false"),
        ({"zoom_out": True}, 2, 26, "zoom_out needs LQ patches whose sides are multiples of 2, got 13x13; "
         "make gt_size a multiple of 4, or set zoom_out to false"),
        ({"zoom_out": True}, 2, 40, "zoom_out gives the teacher patches of 10x10, but it takes multiples of 4, at "
         "least 4; change gt_size, or set zoom_out to false"),
        ({"zoom_out": True, "cells": 4}, 2, 48, None),
        ({"zoom_out": True, "cells": 5, "weight": 0}, 2, 26, None),
        ({"cells": "5"}, 2, 48, "'cells' in train.losses.augkd (augkd) must be an integer, got '5'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_by_the_check(options, scale, gt_size, message):
    opt = {
        "model_type": "DCKDModel", "scale": scale,
        "network_g": {**EDSR, "upscale": scale}, "network_teacher": {**SWINIR, "upscale": scale},
        "datasets": {"train": {"type": "PairedPatchDataset", "gt_size": gt_size}},
        "train": {"losses": {"augkd": options}},
    }  # fmt: skip
    found = [each for each in option_problems(opt) if "augkd" in each and "network" not in each]
    assert found == ([] if message is None else [message if "train" in message else f"train.losses.augkd: {message}"])


def test_the_check_looks_at_every_size_of_progressive_training():
    train_set = {"type": "PairedPatchDataset", "progressive": [[2, 32, 8], [2, 40, 8], [2, 44, 8]]}
    opt = {
        "model_type": "DCKDModel", "scale": 2, "network_g": EDSR, "network_teacher": EDSR,
        "datasets": {"train": train_set}, "train": {"losses": [{"type": "augkd", "zoom_out": True}]},
    }  # fmt: skip
    assert not any("train.losses[0]" in each for each in option_problems(opt) if "pretrain" not in each)
    train_set["progressive"][1][1] = 42
    (found,) = [each for each in option_problems(opt) if "zoom_out" in each]
    assert found.startswith("train.losses[0]: zoom_out needs LQ patches whose sides are multiples of 2, got 21x21")


# --- reference numbers


class Upscale(nn.Module):
    """The network of the reference numbers."""

    def __init__(self, weight, bias) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())

    def forward(self, x):
        return nn.functional.pixel_shuffle(nn.functional.conv2d(x, self.weight, self.bias, padding=1), 2)


@pytest.mark.parametrize("group", ["plain", "augmented", "hard"])
def test_against_reference_numbers(golden, monkeypatch, group):
    tensors, config = golden("kd/dukd")
    cells = tensors["plain.cells" if group == "hard" else f"{group}.cells"]
    monkeypatch.setattr(augkd, "draw_cells", lambda *_: 2 * cells[:, 0] + cells[:, 1])
    if group != "plain":
        switches = tensors[f"{group}.switches"].T.bool()
        monkeypatch.setattr(augkd, "draw_transform", lambda *_: Transform(switches))
    options = {"zoom_out": True, "zoom_out_gt_weight": config["constants"]["w_pix"]} if group == "plain" else {}
    nets = [Upscale(tensors[f"{each}.weight"], tensors[f"{each}.bias"]) for each in ("student", "teacher")]
    term = AugKDTerm(cells=2, prob=0.0 if group == "plain" else 0.3, **options)
    found = Distiller(nets[0], [term], Sources(teachers={"teacher": nets[1]}))
    seen = []
    nets[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    loss = found(tensors["lq"], tensors["gt"])["l_augkd"]
    loss.backward()
    wanted = tensors["plain.loss.step2" if group == "plain" else f"{group}.loss.zoom_in.kd"]
    torch.testing.assert_close(loss.detach(), wanted, rtol=1e-5, atol=0)
    start = "hard.grad" if group == "hard" else f"{group}.grad.step2"
    for key in ("weight", "bias"):
        reference = tensors[f"{start}.student.{key}"]
        limit = 1e-5 * reference.abs().max().item()
        torch.testing.assert_close(getattr(nets[0], key).grad, reference, rtol=0, atol=limit)
    if group != "hard":
        assert torch.equal(seen[0], tensors[f"{group}.zoom_in.{'student_' * (group == 'augmented')}input"])
    if group == "plain":
        torch.testing.assert_close(seen[1], tensors["plain.zoom_out.input"], rtol=0, atol=1e-6)


def test_the_transform_of_the_reference(golden):
    tensors, _ = golden("kd/dukd")
    transform = Transform(tensors["transform.switches"].T.bool())
    assert torch.equal(transform(tensors["transform.input"]), tensors["transform.output"])
    torch.testing.assert_close(transform.inverse(tensors["transform.output"]), tensors["transform.input"])


# --- in a model

RUN = {**dict.fromkeys(ALL_TERMS), "losses": [{"type": "pixel"}, {"type": "augkd", "cells": 2, "zoom_out": True}]}


def test_a_recorded_step_draws_on_and_a_resumed_run_goes_on(build):
    def make():
        torch.manual_seed(5)
        return build("train:optim_g={type: SGD, lr: 1e-5}", train=RUN)

    plain, replayed = make(), make()
    replayed.runner.recorded = recorded_step(replayed, record_operations)
    wanted, found = train(plain, range(1, 5)), train(replayed, range(1, 5))
    assert replayed.runner.recorded is not None
    for a, b in zip(wanted, found, strict=True):
        assert b == pytest.approx(a, rel=1e-5)
    assert len({row["l_augkd"] for row in found}) == 4
    plain.save(0, 4)
    paths = plain.opt["path"]
    other = build(
        "train:optim_g={type: SGD, lr: 1e-5}", f"path:pretrain_network_g={paths['models']}/net_g_4.pth",
        "path:param_key_g=params", train=RUN,
    )  # fmt: skip
    other.resume_training(load_training_state(Path(paths["training_states"]) / "4.state"))
    assert train(other, [5, 6]) == train(plain, [5, 6])
