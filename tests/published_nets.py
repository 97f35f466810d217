"""EDSR-PyTorch's EDSR and the authors' RCAN in small, by the structure that their published files show.

Images come as 0 to ``rgb_range``; the mean is subtracted and added by layers, which are in the state dict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["ResidualNet", "published_edsr", "published_rcan"]

MEAN = (0.4488, 0.4371, 0.4040)


class _Mean(nn.Conv2d):
    def __init__(self, shift: float, mean: Sequence[float]) -> None:
        super().__init__(3, 3, 1)
        self.weight.data = torch.eye(3).view(3, 3, 1, 1)
        self.bias.data = shift * torch.tensor(mean)


class _Residual(nn.Module):
    def __init__(self, *layers: nn.Module, scale: float = 1.0) -> None:
        super().__init__()
        self.body, self.scale = nn.Sequential(*layers), scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.body(x)


class _Attention(nn.Module):
    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        narrow = width // reduction
        self.conv_du = nn.Sequential(nn.Conv2d(width, narrow, 1), nn.ReLU(), nn.Conv2d(narrow, width, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv_du(x.mean((2, 3), keepdim=True))


def _conv(width_in: int, width_out: int) -> nn.Conv2d:
    return nn.Conv2d(width_in, width_out, 3, padding=1)


class ResidualNet(nn.Module):
    """Head, body with a skip, tail; the mean outside."""

    def __init__(
        self, blocks: Sequence[nn.Module], width: int, scale: int, rgb_range: float, mean: Sequence[float]
    ) -> None:
        super().__init__()
        self.rgb_range = rgb_range
        factors = [3] if scale == 3 else [2] * int(math.log2(scale))
        up = (layer for f in factors for layer in (_conv(width, width * f * f), nn.PixelShuffle(f)))
        self.sub_mean, self.add_mean = _Mean(-rgb_range, mean), _Mean(rgb_range, mean)
        self.head = nn.Sequential(_conv(3, width))
        self.body = nn.Sequential(*blocks, _conv(width, width))
        self.tail = nn.Sequential(nn.Sequential(*up), _conv(width, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(self.sub_mean(x))
        return self.add_mean(self.tail(x + self.body(x)))

    @torch.no_grad()
    def answer(self, x: Tensor) -> Tensor:
        """The answer to an image of 0 to 1, as one of 0 to 1."""
        return self(x * self.rgb_range) / self.rgb_range


def published_edsr(
    width: int = 8, blocks: int = 2, scale: int = 2, rgb_range: float = 255, mean: Sequence[float] = MEAN
) -> ResidualNet:
    body = [_Residual(_conv(width, width), nn.ReLU(), _conv(width, width)) for _ in range(blocks)]
    return ResidualNet(body, width, scale, rgb_range, mean)


def published_rcan(
    width: int = 8,
    groups: int = 2,
    blocks: int = 2,
    scale: int = 2,
    rgb_range: float = 255,
    mean: Sequence[float] = MEAN,
) -> ResidualNet:
    def block() -> nn.Module:
        return _Residual(_conv(width, width), nn.ReLU(), _conv(width, width), _Attention(width, 4))

    body = [_Residual(*(block() for _ in range(blocks)), _conv(width, width)) for _ in range(groups)]
    return ResidualNet(body, width, scale, rgb_range, mean)
