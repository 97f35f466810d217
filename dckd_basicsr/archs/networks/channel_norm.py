"""Layer normalization over the channels of every pixel, which U-shaped restoration networks share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["BiasFreeNorm2d", "LayerNorm2d"]


class LayerNorm2d(nn.Module):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` per pixel over its channels (Ba et al., 2016).

    Mean and (biased) variance are accumulated in float32 at least, whatever the input's type. The memory format of the
    input is kept.

    Args:
        channels: C of the input (B, C, H, W).
        eps: added to the variance.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        # The fused kernel wants channels last: a view of channels_last tensors. For others two copies are still
        # cheaper than the formula's separate passes, and the copy back keeps the convolutions after it in one format.
        y = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps)
        y = y.permute(0, 3, 1, 2)
        return y if x.is_contiguous(memory_format=torch.channels_last) else y.contiguous()


class BiasFreeNorm2d(nn.Module):
    """``x / sqrt(var + eps) * weight`` per pixel over its channels: no mean is taken off and nothing is added.

    The network then scales with its input (Mohan et al., ICLR 2020). The variance itself is about the mean, and is
    computed in float32 at least.

    Args:
        channels: C of the input (B, C, H, W).
        eps: added to the variance.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        deviation = torch.sqrt(wide.var(dim=1, correction=0, keepdim=True) + self.eps)
        return (wide / deviation * self.weight.view(-1, 1, 1)).to(x.dtype)
