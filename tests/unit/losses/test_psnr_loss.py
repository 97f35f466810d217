"""PSNR loss by hand, its gradient, its errors."""

from __future__ import annotations

import math

import pytest
import torch
from basicsr.losses import build_loss

from dckd_basicsr.losses import PSNRLoss, psnr_loss


def test_by_hand_the_mean_is_over_images_in_db():
    target = torch.zeros(2, 3, 4, 4)
    restored = torch.stack([torch.full((3, 4, 4), 0.1), torch.full((3, 4, 4), 0.01)])
    assert psnr_loss(restored, target).item() == pytest.approx(-(20 + 40) / 2, abs=1e-3)


def test_identical_images_stay_finite():
    x = torch.rand(1, 3, 4, 4, requires_grad=True)
    loss = psnr_loss(x, x.detach())
    loss.backward()
    assert loss.item() == pytest.approx(-80)
    assert torch.isfinite(x.grad).all()


def test_gradient_by_formula():
    x, y = torch.rand(2, 1, 3, 3, requires_grad=True), torch.rand(2, 1, 3, 3)
    psnr_loss(x, y).backward()
    error = (x - y).detach()
    mse = error.pow(2).mean(dim=(1, 2, 3), keepdim=True)
    expected = 10 / math.log(10) / 2 * 2 * error / 9 / (mse + 1e-8)
    torch.testing.assert_close(x.grad, expected, rtol=1e-5, atol=1e-7)


def test_the_defaults():
    loss = PSNRLoss()
    assert (loss.loss_weight, loss.eps) == (1.0, 1e-8)


def test_built_from_options_and_errors():
    loss = build_loss({"type": "PSNRLoss", "loss_weight": 0.5})
    assert loss(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.1)).item() == pytest.approx(-10, abs=1e-4)
    with pytest.raises(ValueError, match="one shape"):
        psnr_loss(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 3))
