"""Contrastive ratio: golden numbers, a case computed by hand, gradients, errors."""

from __future__ import annotations

import pytest
import torch
from basicsr.losses import build_loss

from dckd_basicsr.losses import ContrastiveLoss, contrast_terms, contrastive_ratio
from dckd_basicsr.losses.contrastive_loss import DEFAULT_WEIGHTS


@pytest.mark.shared
def test_golden(golden):
    tensors, config = golden("contrastive_loss")
    student = [tensors[f"student.{i}"].requires_grad_() for i in range(5)]
    teacher = [tensors[f"teacher.{i}"] for i in range(5)]
    negatives = [[tensors[f"negative.{j}.{i}"] for i in range(5)] for j in range(5)]
    loss = ContrastiveLoss(config["loss_weight"], config["weights"], config["eps"])(student, teacher, negatives)
    loss.backward()
    torch.testing.assert_close(loss, tensors["loss"], rtol=1e-6, atol=1e-8)
    for i, tap in enumerate(student):
        torch.testing.assert_close(tap.grad, tensors[f"grad.student.{i}"], rtol=1e-5, atol=1e-9)


def test_by_hand():
    # Level 1: d(S,T) = (1+3)/2 = 2, negatives 4 and 6 -> 2/10. Level 2: d = 1, negatives 2 and 2 -> 1/4.
    student = [torch.zeros(2, 1, 1, 1), torch.zeros(1, 1, 1, 2)]
    teacher = [torch.tensor([1.0, -3.0]).view(2, 1, 1, 1), torch.ones(1, 1, 1, 2)]
    negatives = [
        [torch.full((2, 1, 1, 1), 4.0), torch.full((1, 1, 1, 2), -2.0)],
        [torch.tensor([-2.0, 10.0]).view(2, 1, 1, 1), torch.tensor([4.0, 0.0]).view(1, 1, 1, 2)],
    ]
    terms = contrast_terms(student, teacher, negatives, weights=[0.5, 2.0], eps=0.0)
    assert terms.loss.item() == pytest.approx(0.5 * 0.2 + 2.0 * 0.25)
    assert terms.positive.item() == pytest.approx(0.5 * 2 + 2.0 * 1)
    assert terms.negative.item() == pytest.approx(0.5 * 5 + 2.0 * 2)


def test_the_papers_constants_are_the_defaults():
    assert DEFAULT_WEIGHTS == (0.03125, 0.0625, 0.125, 0.25, 1.0)  # section 4.1
    loss = ContrastiveLoss()
    assert (loss.loss_weight, loss.weights, loss.eps) == (0.1, DEFAULT_WEIGHTS, 1e-7)


def test_epsilon_is_added_to_the_distances_to_the_negatives():
    zero, one = [torch.zeros(1, 1, 1, 1)], [torch.ones(1, 1, 1, 1)]
    assert contrastive_ratio(zero, one, [zero], [1.0]).item() == pytest.approx(1e7)
    assert contrast_terms(zero, one, [zero], [1.0]).loss.item() == pytest.approx(1e7)
    assert contrast_terms(zero, one, [zero], [1.0], eps=0.5).loss.item() == pytest.approx(2.0)


def test_it_is_a_ratio_of_means_not_a_mean_of_ratios():
    student = [torch.zeros(2, 1, 1, 1)]
    teacher = [torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)]
    negative = [[torch.tensor([1.0, 9.0]).view(2, 1, 1, 1)]]
    assert contrastive_ratio(student, teacher, negative, [1.0]).item() == pytest.approx(2 / 5)


def test_gradcheck_through_numerator_and_denominator():
    def case(*shape):
        return torch.randn(shape, dtype=torch.float64)

    student = case(2, 2, 3, 3).requires_grad_()
    teacher, negatives = case(2, 2, 3, 3), [case(2, 2, 3, 3) for _ in range(3)]

    def exact(s):  # the formula in float64; the package computes in float32
        d = [(s - t).abs().mean() for t in (teacher, *negatives)]
        return d[0] / (d[1] + d[2] + d[3] + 1e-7)

    assert torch.autograd.gradcheck(exact, student)
    exact(student).backward()
    wanted, student.grad = student.grad, None
    contrastive_ratio([student], [teacher], [[n] for n in negatives], [1.0]).backward()
    torch.testing.assert_close(student.grad, wanted, rtol=1e-5, atol=1e-8)
    assert student.grad.abs().sum() > 0


def test_half_precision_taps_give_a_float32_loss():
    taps = [torch.rand(1, 2, 4, 4).bfloat16() for _ in range(3)]
    assert contrastive_ratio(taps[:1], taps[1:2], [taps[2:]], [1.0]).dtype == torch.float32


def test_identical_student_and_negative_stay_finite():
    x = [torch.ones(1, 1, 2, 2, requires_grad=True)]
    loss = contrastive_ratio(x, [torch.zeros(1, 1, 2, 2)], [[x[0].detach()]], [1.0])
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(x[0].grad).all()


def test_levels_and_weights_must_agree():
    taps = [torch.zeros(1, 1, 1, 1)]
    with pytest.raises(ValueError, match="one weight per tap"):
        contrastive_ratio(taps, taps, [taps], [1.0, 1.0])
    with pytest.raises(ValueError, match="at least one negative"):
        contrastive_ratio(taps, taps, [], [1.0])


def test_built_from_options():
    loss = build_loss({"type": "ContrastiveLoss", "loss_weight": 0.5, "weights": [1.0]})
    value = loss([torch.zeros(1, 1, 1, 1)], [torch.ones(1, 1, 1, 1)], [[torch.full((1, 1, 1, 1), 4.0)]])
    assert value.item() == pytest.approx(0.125)
