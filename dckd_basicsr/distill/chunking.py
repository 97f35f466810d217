"""How many images pass a frozen network at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..archs.frozen import all_modules
from ..archs.valueless import without_values

__all__ = ["images_at_once", "widest_layer"]

_CACHED = 12 << 20
"""Bytes of the widest layer's output up to which a CPU gets faster with more images; see docs/guide/performance.md."""


def images_at_once(images: Tensor, chunk: int | None, width: float = 32, dtype: torch.dtype = torch.float32) -> int:
    """Return ``chunk`` if it is given; else all of them on a GPU, and as many as fit into the cache on a CPU.

    Every layer treats samples independently, so this changes the time and (but for rounding) nothing else.

    Args:
        images: (N, C, H, W), what will be cut.
        chunk: what the options ask for.
        width: numbers that the widest layer gives for each pixel of an image.
        dtype: of these numbers.

    Returns:
        at least 1. On a CPU pieces are equal where that costs little, since compiled code is made for each size.
    """
    count = max(1, len(images))
    if chunk:
        return chunk
    if images.device.type != "cpu":
        return count
    fitting = int(_CACHED / (dtype.itemsize * width * images.shape[2] * images.shape[3]))
    limit = min(count, max(1, fitting))
    equal = max(n for n in range(1, limit + 1) if count % n == 0)
    return equal if 2 * equal > limit else limit


def widest_layer(net: nn.Module, side: int = 64, channels: int = 3) -> float:
    """Return how many numbers the widest layer of ``net`` gives for each pixel of its input.

    Found with tensors that have no values, so it costs milliseconds. A network that cannot be followed that way
    counts as 32, a usual width.

    Args:
        net: a network that is not compiled.
        side: of a square input that the network takes.
        channels: of the input.
    """
    largest = 0

    def watch(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal largest
        if isinstance(output, Tensor):
            largest = max(largest, output.numel())

    handles = [module.register_forward_hook(watch) for module in all_modules(net) if not list(module.children())]
    try:
        with without_values(net):
            net(torch.empty(1, channels, side, side, device="meta"))
    except Exception:  # somebody else's network
        largest = 0
    finally:
        for handle in handles:
            handle.remove()
    return largest / side**2 or 32.0
