"""SwinIR for every size of image: attention in shifted windows, with nothing that was computed for one size."""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["make_dynamic"]


def make_dynamic(net: nn.Module) -> nn.Module:
    """Let the Swin blocks in ``net`` (BasicSR's or spandrel's) be recorded for any batch and size; changes ``net``.

    The usual forward pass keeps a mask for the size it was trained at, makes others by writing into slices, and turns
    the batch size into a Python number; a recording would keep all three as they were.
    """
    for module in net.modules():
        if type(module).__name__ == "SwinTransformerBlock" and hasattr(module, "shift_size"):
            module.forward = MethodType(_forward, module)
    return net


def _forward(block: Any, x: Tensor, x_size: tuple[int, int]) -> Tensor:
    """Tokens (B, H W, C) of a map of ``x_size``, whose sides are multiples of the window, to tokens of that shape."""
    height, width = x_size
    side, shift, channels = block.window_size, block.shift_size, x.shape[-1]
    h = block.norm1(x).view(-1, height, width, channels)
    if shift:
        h = torch.roll(h, (-shift, -shift), (1, 2))
    rows, columns = height // side, width // side
    windows = h.view(-1, rows, side, columns, side, channels).transpose(2, 3).reshape(-1, side * side, channels)
    windows = block.attn(windows, mask=_mask(height, width, side, shift, x) if shift else None)
    h = windows.view(-1, rows, columns, side, side, channels).transpose(2, 3).reshape(-1, height, width, channels)
    if shift:
        h = torch.roll(h, (shift, shift), (1, 2))
    x = x + block.drop_path(h.reshape(-1, height * width, channels))
    return x + block.drop_path(block.mlp(block.norm2(x)))


def _mask(height: int, width: int, side: int, shift: int, x: Tensor) -> Tensor:
    """Return (windows, N, N): 0 between pixels that are neighbours in the image, -100 where the shift joined them."""

    def regions(size: int) -> Tensor:  # 0 inside, 1 and 2 on both sides of the seam
        place = torch.arange(size, device=x.device)
        return (place >= size - side).to(torch.int64) + (place >= size - shift).to(torch.int64)

    region = 3 * regions(height).unsqueeze(1) + regions(width).unsqueeze(0)
    region = region.view(height // side, side, width // side, side).transpose(1, 2).reshape(-1, side * side)
    return (region.unsqueeze(1) != region.unsqueeze(2)).to(x.dtype) * -100.0
