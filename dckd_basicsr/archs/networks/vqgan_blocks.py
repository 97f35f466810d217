"""Building blocks of the VQGAN encoder and decoder, with the official parameter names."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..frozen_layers import norm_and_swish

__all__ = ["AttnBlock", "Downsample", "ResnetBlock", "Upsample", "activated", "group_norm"]


def activated(x: Tensor, norm: nn.GroupNorm, fused: bool = False) -> Tensor:
    """Return ``swish(norm(x))``, swish being ``x * sigmoid(x)``.

    Args:
        x: (B, C, H, W).
        norm: GroupNorm.
        fused: as one operation that keeps less for the backward pass, see :func:`.norm_and_swish`; ``norm`` is frozen.
    """
    return norm_and_swish(x, norm) if fused else F.silu(norm(x))


def group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm as the official weights were trained: 32 groups, eps 1e-6."""
    return nn.GroupNorm(32, channels, eps=1e-6)


class ResnetBlock(nn.Module):
    """Twice (GroupNorm, swish, conv 3x3) with a residual; a 1x1 convolution where the width changes."""

    fused_norms = False
    """Of a frozen block: see :func:`activated`."""

    def __init__(self, width_in: int, width_out: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1 = group_norm(width_in)
        self.conv1 = nn.Conv2d(width_in, width_out, 3, padding=1)
        self.norm2 = group_norm(width_out)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, padding=1)
        if width_in != width_out:
            self.nin_shortcut = nn.Conv2d(width_in, width_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(activated(x, self.norm1, self.fused_norms))
        h = self.conv2(self.dropout(activated(h, self.norm2, self.fused_norms)))
        return (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x) + h


class AttnBlock(nn.Module):
    """Single-head self-attention over all positions, scale C^-1/2, with a residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        # (B, C, H, W) -> (B, 1 head, H * W, C): the layout scaled_dot_product_attention takes
        q, k, v = (conv(h).flatten(2).transpose(1, 2).unsqueeze(1) for conv in (self.q, self.k, self.v))
        out = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(out.squeeze(1).transpose(1, 2).reshape(x.shape))


class Downsample(nn.Module):
    """Halve height and width: zero pad right and bottom by one, then conv 3x3 with stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Double height and width: nearest neighbour, then conv 3x3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
