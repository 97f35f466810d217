"""Haar bands and the wavelet loss: by hand, by reference numbers, its gradient, and its term."""

from __future__ import annotations

import pytest
import torch
from basicsr.losses import build_loss

from dckd_basicsr.distill import Distiller, Sources, build_terms
from dckd_basicsr.losses import HaarLoss, haar_bands, haar_l1, haar_step
from tests.unit.terms.test_gates import Image

BLOCK = torch.tensor([[8.0, 4.0], [2.0, -6.0]])


def test_a_block_by_hand():
    low, details = haar_step(BLOCK)
    assert low.tolist() == [[4.0]]
    assert details.flatten().tolist() == [8.0, 6.0, -2.0]  # top against bottom, left against right, diagonals


def test_odd_sizes_get_zeros_at_the_end():
    low, details = haar_step(torch.tensor([[[2.0, 4.0, 6.0]]]))
    assert low.tolist() == [[[3.0, 3.0]]]
    assert details.tolist() == [[[[3.0, 3.0]], [[-1.0, 3.0]], [[-1.0, 3.0]]]]


def test_bands_are_orthonormal_and_work_on_the_approximation():
    images = torch.rand(2, 3, 8, 12, dtype=torch.float64)
    low, details = haar_bands(images, 2)
    assert [tuple(found.shape) for found in (low, *details)] == [(2, 3, 2, 3), (2, 3, 3, 4, 6), (2, 3, 3, 2, 3)]
    torch.testing.assert_close(sum(found.square().sum() for found in (low, *details)), images.square().sum())
    torch.testing.assert_close(low / 4, torch.nn.functional.avg_pool2d(images, 4))


@pytest.mark.parametrize(("side", "levels"), [(2, 1), (3, 2), (4, 2), (8, 3), (9, 4), (16, 4), (17, 4)])
def test_small_images_have_fewer_levels(side, levels):
    for shape in ((1, 1, side, 40), (1, 1, 40, side)):
        assert len(haar_bands(torch.rand(shape), 4).details) == levels


def test_the_loss_by_hand():
    """Each level has one mean over its three bands; the last approximation counts once."""
    target = torch.zeros(1, 1, 4, 4)
    student = torch.zeros(1, 1, 4, 4)
    student[..., :2, :2] = BLOCK
    one = (8 + 6 + 2) / 12
    assert haar_l1(student, target, 1).item() == pytest.approx(one + 4 / 4)
    assert haar_l1(student, target, 2).item() == pytest.approx(one + 2 + 2)  # 4 of the next block: all bands are 2
    assert HaarLoss(2.0, 1)(student, target).item() == pytest.approx(2 * (one + 1))
    assert HaarLoss(0.5, 2)(student, target).item() == pytest.approx((one + 4) / 2)


@pytest.mark.shared
@pytest.mark.parametrize("size", ["even", "odd"])
@pytest.mark.parametrize("levels", [1, 2, 4])
def test_reference_numbers(golden, size, levels):
    tensors, _ = golden("kd/mtkd_dwt")
    student, target = tensors[f"{size}.student"].requires_grad_(), tensors[f"{size}.target"]
    loss = haar_l1(student, target, levels)
    loss.backward()
    place = f"{size}.levels{levels}.intended"
    torch.testing.assert_close(loss, tensors[f"{place}.loss"], rtol=1e-5, atol=0)
    wanted = tensors[f"{place}.grad.student"]
    torch.testing.assert_close(student.grad, wanted, rtol=0, atol=1e-5 * wanted.abs().max().item())


@pytest.mark.shared
@pytest.mark.parametrize("size", ["even", "odd"])
def test_reference_bands(golden, size):
    tensors, _ = golden("kd/mtkd_dwt")
    low, details = haar_bands(tensors[f"{size}.student"], 4)
    torch.testing.assert_close(low, tensors[f"{size}.levels4.student.approximation"], rtol=1e-5, atol=1e-6)
    for i, found in enumerate(details):
        torch.testing.assert_close(found, tensors[f"{size}.levels4.student.detail.{i}"], rtol=1e-5, atol=1e-6)
    assert len(details) == 4


def test_gradcheck():
    student = torch.rand(2, 1, 5, 6, dtype=torch.float64, requires_grad=True)
    target = torch.rand(2, 1, 5, 6, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: haar_l1(x, target, 3), student)


def test_half_precision_is_computed_in_float32():
    student, target = torch.rand(1, 1, 8, 8).bfloat16(), torch.rand(1, 1, 8, 8)
    loss = haar_l1(student, target)
    assert loss.dtype == haar_bands(student, 1).low.dtype == torch.float32
    assert loss.item() == haar_l1(student.float(), target).item()


def test_built_from_options_and_errors():
    loss = build_loss({"type": "HaarLoss", "loss_weight": 2.0})
    assert (loss.loss_weight, loss.levels) == (2.0, 4)
    with pytest.raises(ValueError, match="levels must be at least 1, got 0"):
        HaarLoss(levels=0)
    with pytest.raises(ValueError, match="one shape"):
        haar_l1(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 3))
    for images, levels in ((torch.zeros(1, 1, 1, 8), 2), (torch.zeros(1, 1, 8, 8), 0)):
        with pytest.raises(ValueError, match="at least one level, and images of 2 pixels on each side, got levels="):
            haar_bands(images, levels)


# --- the term


def test_the_term_compares_with_the_teacher_it_names():
    teachers = {name: Image(torch.rand(1, 3, 8, 8)) for name in ("teacher", "other")}
    student, gt = Image(torch.rand(1, 3, 8, 8)), torch.rand(1, 3, 8, 8)
    two = {"type": "wavelet", "taught_by": "other", "name": "l_two", "loss": {"type": "HaarLoss", "levels": 2}}
    gated = {"type": "wavelet", "gate": "teacher_better", "name": "l_gated"}
    logits = {"type": "HaarLoss", "loss_weight": 1.0}
    terms = build_terms({"logits_opt": logits, "losses": [{"type": "wavelet"}, two, gated]})
    values = Distiller(student, terms, Sources(teachers=teachers))(gt, gt)
    first, other = (teacher.values for teacher in teachers.values())
    assert values["l_wavelet"].item() == values["l_logits"].item() == haar_l1(student.values, first, 4).item()
    assert values["l_two"].item() == haar_l1(student.values, other, 2).item()
    assert 0 < values["gate_gated"] < 1
    assert 0 < values["l_gated"] < values["l_wavelet"]
