r"""Window attention by ``torch.nn.functional.scaled_dot_product_attention``: the numbers of the original, to rounding.

The original writes the products of all queries and keys to memory several times; PyTorch's fused kernels do not. They
want rows of aligned length, so heads are filled up with zeros to a multiple of 8 channels. The bias of relative
positions goes in as a mask (heads, N, N), which is the same for all windows.

The mask of shifted windows is not: with the bias it would be a tensor of (windows of all images, heads, N, N). It is
carried by two of the free channels instead. Inside a window an axis has at most two regions (:func:`.region_sides`), so
queries and keys get :math:`\pm a` by row and by column. Their products differ by :math:`2 a^2` for each axis on which
two tokens lie in other regions, and softmax does not see what all of a row have in common. :math:`2 a^2` is 100 after
the scale, as far as the original's mask moves them apart: attention that is very sure has scores that differ by more
than half of that, and would look into other regions over a smaller step.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import kept, region_sides, swin_blocks, through_windows, tracing

__all__ = ["fused_attention", "plain_attention", "position_bias"]

_APART = 100.0
_ALIGNED = 8
_AT_ONCE = 65535
"""Windows that PyTorch's kernels take on a GPU; older versions fail with more, as images of 2048x2048 px have."""


def fused_attention(net: nn.Module) -> int:
    """Let the attention of the Swin blocks of ``net`` run in PyTorch's fused kernels.

    Args:
        net: changed in place; its state dict stays as it is.

    Returns:
        How many blocks were changed: those of :func:`plain_attention`.
    """
    found = [block for block in swin_blocks(net) if plain_attention(block)]
    for block in found:
        block.forward = MethodType(_block_forward, block)
        block.attn.forward = MethodType(_attention_forward, block.attn)
    return len(found)


def plain_attention(block: Any) -> bool:
    """Whether a block's attention is nothing but attention: no dropout of weights, and no hook that looks at them."""
    inside = (block.attn.softmax, block.attn.attn_drop)
    hooked = any(module._forward_hooks or module._forward_pre_hooks for module in inside)
    return not hooked and not block.attn.attn_drop.p


def position_bias(attn: Any) -> Tensor:
    """Return the bias of relative positions, (heads, N, N)."""
    pairs: Tensor = attn.relative_position_index  # (N, N)
    table: Tensor = attn.relative_position_bias_table[pairs.view(-1)]
    return table.view(*pairs.shape, -1).permute(2, 0, 1).contiguous()


def _block_forward(block: Any, x: Tensor, x_size: tuple[int, int]) -> Tensor:
    channels = _channels(block, x, x_size) if block.shift_size else None
    return through_windows(block, x, x_size, channels)


def _channels(block: Any, like: Tensor, x_size: tuple[int, int]) -> Tensor:
    """Return what the free channels of a shifted block hold, (windows, N, 3, 1, free): for queries, keys and values."""
    side, shift, attn = block.window_size, block.shift_size, block.attn
    width = attn.dim // attn.num_heads
    free = -(width + 2) % _ALIGNED

    def make() -> Tensor:
        sides = region_sides(x_size, side, shift, like) * (0.5 * _APART / attn.scale) ** 0.5
        filled = F.pad(sides, (0, free)).unsqueeze(2)
        return torch.stack([filled, filled, torch.zeros_like(filled)], 2)

    name = ("channels", *x_size, side, shift, width, attn.scale, like.dtype)
    return make() if tracing() else kept(name, like.device, make)


def _attention_forward(attn: Any, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attend inside windows.

    Args:
        attn: the module.
        x: (windows of all images, N, C).
        mask: of shifted blocks, from :func:`_channels`.

    Returns:
        (windows of all images, N, C).
    """
    count, size, total = x.shape
    width = total // attn.num_heads
    qkv = attn.qkv(x).view(-1, size, 3, attn.num_heads, width)
    if mask is None:
        qkv = F.pad(qkv, (0, -width % _ALIGNED))
    else:
        windows, _, _, _, free = mask.shape
        shape = (count // windows, windows, size, 3, attn.num_heads)
        qkv = torch.cat([qkv.view(*shape, width), mask.to(qkv.dtype).expand(*shape, free)], -1).flatten(0, 1)
    bias = position_bias(attn).to(qkv.dtype).unsqueeze(0)
    parts = []
    for part in qkv.split(_AT_ONCE):
        q, k, v = part.permute(2, 0, 3, 1, 4).unbind(0)
        parts.append(F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=attn.scale))
    out = parts[0] if len(parts) == 1 else torch.cat(parts)
    out = out.transpose(1, 2)[..., :width].reshape(count, size, total)
    return attn.proj_drop(attn.proj(out))
