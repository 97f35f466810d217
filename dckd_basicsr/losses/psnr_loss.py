"""PSNR as a loss (NAFNet's training loss; Chen et al., ECCV 2022)."""

from __future__ import annotations

import math

from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from ..install import register

__all__ = ["PSNRLoss", "psnr_loss"]


def psnr_loss(restored: Tensor, target: Tensor, eps: float = 1e-8) -> Tensor:
    r"""Minus the mean PSNR in dB of images in [0, 1].

    .. math:: L = \frac{10}{\ln 10} \operatorname{mean}_b \ln(\mathrm{MSE}_b + \epsilon)

    Args:
        restored: (B, C, H, W).
        target: as ``restored``.
        eps: keeps identical images finite: at 1e-8 the loss is -80 dB.

    Returns:
        float32 scalar, negative for all but hopeless images.

    Raises:
        ValueError: shapes differ.

    >>> round(psnr_loss(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.1)).item(), 3)
    -20.0
    """
    if restored.shape != target.shape:
        raise ValueError(f"images must have one shape, got {tuple(restored.shape)} and {tuple(target.shape)}")
    mse = (restored.float() - target.float()).pow(2).mean(dim=(1, 2, 3))
    return 10.0 / math.log(10.0) * (mse + eps).log().mean()


@register(LOSS_REGISTRY)
class PSNRLoss(nn.Module):
    """:func:`psnr_loss` times ``loss_weight``. Its gradient is some hundred times that of an L1 loss of weight 1."""

    def __init__(self, loss_weight: float = 1.0, eps: float = 1e-8) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.eps = eps

    def forward(self, restored: Tensor, target: Tensor) -> Tensor:
        """See :func:`psnr_loss`."""
        return self.loss_weight * psnr_loss(restored, target, self.eps)
