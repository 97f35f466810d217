"""Building blocks of Restormer, with the official parameter names."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import ConfigError, near_miss
from .channel_norm import BiasFreeNorm2d, LayerNorm2d

__all__ = ["ChannelAttention", "GatedFeedForward", "TransformerBlock", "channel_norm", "cosines", "named"]


def named(**modules: nn.Module) -> nn.Sequential:
    """``nn.Sequential`` whose parts are called like the keywords, where the official layout has one more name."""
    return nn.Sequential(OrderedDict(modules))


def channel_norm(channels: int, kind: str) -> nn.Module:
    """Layer normalization over the channels, ``WithBias`` or ``BiasFree``; another name raises ConfigError."""
    kinds: dict[str, type[nn.Module]] = {"WithBias": LayerNorm2d, "BiasFree": BiasFreeNorm2d}
    if kind not in kinds:
        raise ConfigError(f"unknown LayerNorm_type '{kind}', one of {', '.join(kinds)}{near_miss(kind, kinds)}")
    return named(body=kinds[kind](channels, eps=1e-5))


def cosines(q: Tensor, k: Tensor) -> Tensor:
    """Cosine of the angle between every row of ``q`` and every row of ``k``.

    Args:
        q: (..., C, N), any floating type.
        k: (..., D, N).

    Returns:
        (..., C, D) in [-1, 1] up to rounding, float32 at least; 0 for a row of zeros.
    """
    wide = torch.promote_types(q.dtype, torch.float32)
    # N is the number of pixels and C that of a head's channels: dividing the small product by the lengths, instead of
    # the long rows, saves both normalized copies. Autocast would copy the rows to float32 for their lengths.
    with torch.autocast(q.device.type, enabled=False):
        if q.dtype == torch.float16:  # sums over that many pixels leave its range
            q, k = q.float(), k.float()
        lengths = [torch.linalg.vector_norm(rows, dim=-1, dtype=wide).clamp_min(1e-12) for rows in (q, k)]
        return q @ k.transpose(-2, -1) / (lengths[0].unsqueeze(-1) * lengths[1].unsqueeze(-2))


class ChannelAttention(nn.Module):
    """Multi-Dconv head transposed attention (Zamir et al., CVPR 2022, eq. 1): channels attend to channels.

    Per head, ``softmax(temperature * cosines(q, k)) v`` with q, k, v of shape (C / heads, H * W), so the cost grows
    linearly with the image. The rows are far longer than any fused attention kernel takes, hence plain products.

    Args:
        channels: C of input and output (B, C, H, W), a multiple of ``heads``.
        heads: number of heads.
        bias: give the convolutions a bias.
    """

    def __init__(self, channels: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=bias)
        self.qkv_dwconv = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=bias)
        self.project_out = nn.Conv2d(channels, channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.qkv_dwconv(self.qkv(x)).chunk(3, dim=1)
        q, k, v = (part.unflatten(1, (self.heads, -1)).flatten(3) for part in parts)
        weights = (self.temperature * cosines(q, k)).softmax(-1)
        mixed = weights.to(v.dtype) @ v
        return self.project_out(mixed.reshape(x.shape))


class GatedFeedForward(nn.Module):
    """Gated-Dconv feed-forward network (Zamir et al., CVPR 2022, eq. 2): one half opens the gate for the other.

    Args:
        channels: C of input and output (B, C, H, W).
        expansion: hidden channels / C.
        bias: give the convolutions a bias.
    """

    def __init__(self, channels: int, expansion: float, bias: bool) -> None:
        super().__init__()
        hidden = int(channels * expansion)
        self.project_in = nn.Conv2d(channels, 2 * hidden, 1, bias=bias)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=bias)
        self.project_out = nn.Conv2d(hidden, channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        gate, content = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.gelu(gate) * content)


class TransformerBlock(nn.Module):
    """Attention over channels, then the gated feed-forward, each on normalized input and with a residual."""

    def __init__(self, channels: int, heads: int, expansion: float, bias: bool, norm: str) -> None:
        super().__init__()
        self.norm1 = channel_norm(channels, norm)
        self.attn = ChannelAttention(channels, heads, bias)
        self.norm2 = channel_norm(channels, norm)
        self.ffn = GatedFeedForward(channels, expansion, bias)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.ffn(self.norm2(x))
