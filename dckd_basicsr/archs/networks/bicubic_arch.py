"""Bicubic interpolation as a network, so that the baseline of every table runs through the same test pipeline."""

from __future__ import annotations

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from ...bicubic import bicubic_matrix
from ...install import register
from ..facts import ArchFacts

__all__ = ["Bicubic"]


@register(ARCH_REGISTRY)
class Bicubic(nn.Module):
    """MATLAB's bicubic interpolation (a = -0.5, symmetric border), without rounding in between.

    Args:
        upscale: integer factor.
    """

    def __init__(self, upscale: int = 4) -> None:
        super().__init__()
        self.upscale = upscale
        self.facts = ArchFacts(scale=upscale)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, upscale * H, upscale * W)."""
        height, width = x.shape[-2:]
        rows = torch.from_numpy(bicubic_matrix(height, height * self.upscale)).to(x)
        columns = torch.from_numpy(bicubic_matrix(width, width * self.upscale)).to(x)
        return rows @ x @ columns.t()
