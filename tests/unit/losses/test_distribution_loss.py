"""Code cross entropy: golden numbers, cases by hand, gradients, errors."""

from __future__ import annotations

import math

import pytest
import torch
from basicsr.losses import build_loss

from dckd_basicsr.losses import DistributionLoss, code_cross_entropy


@pytest.mark.shared
@pytest.mark.parametrize("form", ["paper", "released"])
def test_golden(golden, form):
    tensors, _ = golden("distribution_loss")
    latent, codes = tensors["student_latent"].requires_grad_(), tensors["codebook"]

    def logits(z):
        return -(z[:, None] - codes[None]).pow(2).sum(-1)

    loss = code_cross_entropy(logits(latent), logits(tensors["teacher_latent"]), form)
    loss.backward()
    torch.testing.assert_close(loss, tensors[f"loss_{form}"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(latent.grad, tensors[f"grad_{form}"], rtol=1e-4, atol=1e-6)


def test_paper_form_by_hand():
    student = torch.log(torch.tensor([[0.5, 0.5], [0.25, 0.75]]))
    teacher = torch.log(torch.tensor([[0.5, 0.5], [1.0 - 1e-6, 1e-6]]))
    expected = (math.log(2) - math.log(0.25)) / 2
    assert code_cross_entropy(student, teacher).item() == pytest.approx(expected, abs=1e-5)


def test_paper_form_is_smallest_where_the_distributions_agree():
    teacher = torch.randn(7, 11)
    own = code_cross_entropy(teacher, teacher)
    assert own < code_cross_entropy(teacher + 0.3 * torch.randn(7, 11), teacher)


def test_released_form_stays_in_its_narrow_range():
    codes = 50
    value = code_cross_entropy(100 * torch.randn(9, codes), 100 * torch.randn(9, codes), "released").item()
    # a one-hot distribution under log_softmax: between ln(M - 1 + e) - 1 and ln(M - 1 + e)
    top = math.log(codes - 1 + math.e)
    assert top - 1 - 1e-5 <= value <= top + 1e-5


@pytest.mark.parametrize("form", ["paper", "released"])
def test_gradients_match_float64(form):
    student = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(4, 6, dtype=torch.float64)

    def exact(s):
        p = s.softmax(1) if form == "released" else s
        return -(teacher.softmax(1) * p.log_softmax(1)).sum(1).mean()

    assert torch.autograd.gradcheck(exact, student)
    exact(student).backward()
    wanted, student.grad = student.grad, None
    code_cross_entropy(student, teacher, form).backward()
    torch.testing.assert_close(student.grad, wanted, rtol=1e-4, atol=1e-7)


def test_no_gradient_reaches_the_teacher():
    teacher = torch.randn(3, 4, requires_grad=True)
    code_cross_entropy(torch.randn(3, 4, requires_grad=True), teacher).backward()
    assert teacher.grad is None


def test_far_away_codes_stay_finite():
    student = torch.tensor([[0.0, -1e5], [-1e5, 0.0]], requires_grad=True)
    loss = code_cross_entropy(student, torch.tensor([[-1e5, 0.0], [-1e5, 0.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(5e4)
    assert torch.isfinite(student.grad).all()


def test_errors():
    with pytest.raises(ValueError, match="one shape"):
        code_cross_entropy(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="'paper' or 'released'"):
        build_loss({"type": "DistributionLoss", "form": "printed"})


def test_the_papers_constants_are_the_defaults():
    loss = DistributionLoss()
    assert (loss.loss_weight, loss.form) == (0.001, "paper")


def test_built_from_options():
    logits = torch.zeros(2, 8)
    loss = build_loss({"type": "DistributionLoss", "loss_weight": 0.5})
    assert loss(logits, logits).item() == pytest.approx(0.5 * math.log(8))
