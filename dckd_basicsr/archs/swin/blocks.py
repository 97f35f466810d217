"""Swin blocks (BasicSR's and spandrel's SwinIR): the same numbers with nothing made on the host or for one size only.

Blocks keep the mask of their shifted windows for the size that their network was made for. For every other size the
original makes one on the host in each block, also where nothing is shifted, and copies it to the device: that waits for
the GPU, and cannot be recorded as a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from ..frozen import all_modules

__all__ = ["for_any_size", "kept", "region_sides", "shift_mask", "swin_blocks", "through_windows", "tracing"]

_CLASSES = {
    ("basicsr.archs.swinir_arch", "SwinTransformerBlock"),
    ("spandrel.architectures.SwinIR.__arch.SwinIR", "SwinTransformerBlock"),
}
"""Other networks have blocks of this name too (Swin2SR, DRCT), which compute something else."""

_KEPT_SIZES = 8
_KEPT_NUMBERS = 1 << 22
"""A mask of more numbers than that (LQ of about 256x256 px with windows of 8) is made anew in each block: 16 MB."""
_masks: dict[Any, Tensor] = {}
_recorded: dict[Any, Tensor] = {}
"""Masks that a CUDA graph reads; their memory must stay for as long as it may be replayed."""


def swin_blocks(net: nn.Module) -> Iterator[Any]:
    """Yield the Swin blocks of a network, and of the frozen networks that it holds."""
    for module in all_modules(net):
        if (type(module).__module__, type(module).__name__) in _CLASSES:
            yield module


def for_any_size(net: nn.Module) -> int:
    """Let the Swin blocks of ``net`` run in the same way for every size of image and batch; their values stay.

    Args:
        net: changed in place; its state dict stays as it is. Blocks that have been given another way to run keep that:
            those of frozen networks inside, which copies of a network share.

    Returns:
        How many blocks there are.
    """
    found = list(swin_blocks(net))
    for block in found:
        if "forward" not in vars(block):
            block.forward = MethodType(_forward, block)
    return len(found)


def _forward(block: Any, x: Tensor, x_size: tuple[int, int]) -> Tensor:
    mask = shift_mask(x_size, block.window_size, block.shift_size, x) if block.shift_size else None
    return through_windows(block, x, x_size, mask)


def through_windows(block: Any, x: Tensor, x_size: tuple[int, int], mask: Tensor | None) -> Tensor:
    """Run a Swin block, with its attention in windows of the map.

    Args:
        block: a Swin block.
        x: tokens (B, H W, C) of a map of ``x_size``.
        x_size: height and width, multiples of the window.
        mask: handed to the attention beside the tokens (windows of all images, N, C).

    Returns:
        tokens (B, H W, C).
    """
    height, width = x_size
    side, shift, channels = block.window_size, block.shift_size, x.shape[-1]
    rows, columns = height // side, width // side
    h = block.norm1(x).view(-1, height, width, channels)
    if shift:
        h = torch.roll(h, (-shift, -shift), (1, 2))
    windows = h.view(-1, rows, side, columns, side, channels).transpose(2, 3).reshape(-1, side * side, channels)
    windows = block.attn(windows, mask=mask)
    h = windows.view(-1, rows, columns, side, side, channels).transpose(2, 3).reshape(-1, height, width, channels)
    if shift:
        h = torch.roll(h, (shift, shift), (1, 2))
    x = x + block.drop_path(h.reshape(-1, height * width, channels))
    return x + block.drop_path(block.mlp(block.norm2(x)))


def shift_mask(x_size: tuple[int, int], side: int, shift: int, like: Tensor) -> Tensor:
    """Return the mask of shifted windows, made on the device, and kept for the blocks and passes that follow.

    Args:
        x_size: height and width of the map.
        side: of a window.
        shift: of the windows, more than 0.
        like: a tensor of the device and type wanted.

    Returns:
        (windows, N, N): 0 between tokens that are neighbours in the image, -100 where the shift joined them.
    """

    def make() -> Tensor:
        rows, columns = _behind(x_size, side, shift, like.device)
        region = 2 * rows.to(torch.int64) + columns.to(torch.int64)
        return (region.unsqueeze(1) != region.unsqueeze(2)).to(like.dtype) * -100.0

    return make() if tracing() else kept(("mask", *x_size, side, shift, like.dtype), like.device, make)


def region_sides(x_size: tuple[int, int], side: int, shift: int, like: Tensor) -> Tensor:
    """Return on which side of the image's border a token lies, which the shift has moved into the last windows.

    Inside a window that is all there is to know of an axis: two tokens are neighbours in the image if both of their
    sides are equal.

    Returns:
        (windows, N, 2), by row and by column: 1 before the border, -1 behind it.
    """
    return 1 - 2 * torch.stack(_behind(x_size, side, shift, like.device), -1).to(like.dtype)


def _behind(x_size: tuple[int, int], side: int, shift: int, device: torch.device) -> list[Tensor]:
    """Return whether tokens lie behind the border, by row and by column: (windows, N) each."""
    height, width = x_size
    rows, columns = (torch.arange(size, device=device) >= size - shift for size in x_size)
    return [
        each.view(height // side, side, width // side, side).transpose(1, 2).reshape(-1, side * side)
        for each in (rows.unsqueeze(1).repeat(1, width), columns.repeat(height, 1))
    ]


def tracing() -> bool:
    """Tell whether a compiler or an exporter is looking, which needs operations rather than a tensor that is kept."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def kept(name: Any, device: torch.device, make: Callable[[], Tensor]) -> Tensor:
    """Return what ``make`` gives on a device for a name, and keep it where it is small; a few of the latest are kept.

    What is made during the recording of a CUDA graph has no values yet, and is not kept. What a recording reads is kept
    for good.
    """
    key = (device, name)
    recording = device.type == "cuda" and torch.cuda.is_current_stream_capturing()
    found = _recorded.get(key)
    if found is None:
        found = _masks.get(key)
    if found is None:
        with torch.inference_mode(False), torch.no_grad():
            found = make()
        if recording or found.numel() > _KEPT_NUMBERS:
            return found
        while len(_masks) >= _KEPT_SIZES:
            _masks.pop(next(iter(_masks)), None)
        _masks[key] = found
    if recording:
        _recorded[key] = found
    return found
