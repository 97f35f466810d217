"""Building blocks of NAFNet, with the official parameter names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .channel_norm import LayerNorm2d

__all__ = ["NAFBlock", "PixelMean", "local_mean", "simple_gate"]


def simple_gate(x: Tensor) -> Tensor:
    """First half of the channels times the second half (Chen et al., ECCV 2022, eq. 4)."""
    a, b = x.chunk(2, dim=1)
    return a * b


def local_mean(x: Tensor, window: int) -> Tensor:
    """Mean over a square window around every pixel (Chu et al., ECCV 2022).

    The window is clipped to the image, and where it would reach over the border it is shifted inside: no pixel counts
    that does not exist, and every mean is over equally many.

    Args:
        x: features (B, C, H, W).
        window: side in pixels.

    Returns:
        Means of the shape and type of ``x``; sums are taken in float32 at least.
    """
    means = x.to(torch.promote_types(x.dtype, torch.float32))
    pads: list[int] = []
    for dim in (3, 2):  # F.pad's order
        size = x.shape[dim]
        side = min(window, size)
        means = _sliding_mean(means, side, dim)
        pads += [(side - 1) // 2, side // 2]
    # Repeating the outermost full windows is what shifting means.
    return F.pad(means.to(x.dtype), pads, mode="replicate")


def _sliding_mean(x: Tensor, side: int, dim: int) -> Tensor:
    # Differences of running sums cost the same for any window. One axis at a time keeps the sums, and with them the
    # cancellation, small; a sum over the whole image would lose digits.
    sums = x.cumsum(dim)
    first = sums.narrow(dim, side - 1, 1)
    rest = sums.narrow(dim, side, x.shape[dim] - side) - sums.narrow(dim, 0, x.shape[dim] - side)
    return torch.cat((first, rest), dim) / side


class PixelMean(nn.Module):
    """Mean over all pixels, (B, C, H, W) to (B, C, 1, 1); in eval mode over a window, if one is given.

    Args:
        window: side of the window in pixels. An image that fits into it has one mean, as in training.
    """

    def __init__(self, window: int | None = None) -> None:
        super().__init__()
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        if self.training or self.window is None or max(x.shape[-2:]) <= self.window:
            return x.mean((2, 3), keepdim=True)
        return local_mean(x, self.window)


class NAFBlock(nn.Module):
    """Gated depthwise convolution with channel attention, then a gated feed-forward; no other nonlinearity.

    Each half is a residual branch scaled per channel by ``beta`` and ``gamma``, which start at zero: a fresh block is
    the identity.

    Args:
        channels: C of input and output (B, C, H, W).
        window: see :class:`PixelMean`.
    """

    def __init__(self, channels: int, window: int | None = None) -> None:
        super().__init__()
        double = 2 * channels
        self.norm1 = LayerNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, double, 1)
        self.conv2 = nn.Conv2d(double, double, 3, padding=1, groups=double)
        self.sca = nn.Sequential(PixelMean(window), nn.Conv2d(channels, channels, 1))
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.norm2 = LayerNorm2d(channels)
        self.conv4 = nn.Conv2d(channels, double, 1)
        self.conv5 = nn.Conv2d(channels, channels, 1)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = simple_gate(self.conv2(self.conv1(self.norm1(x))))
        x = torch.addcmul(x, self.conv3(h * self.sca(h)), self.beta)
        h = simple_gate(self.conv4(self.norm2(x)))
        return torch.addcmul(x, self.conv5(h), self.gamma)
