"""How many images pass a frozen network at once."""

from __future__ import annotations

from torch import Tensor

__all__ = ["images_at_once"]

_CACHED = 5 << 20
"""Bytes of a layer's output that a CPU's cache still holds in the next layer; measured, see docs/performance.md."""


def images_at_once(images: Tensor, chunk: int | None, width: int = 32) -> int:
    """Return ``chunk`` if it is given; else all of them on a GPU, and as many as fit into the cache on a CPU.

    Every layer treats samples independently, so this changes the time and (but for rounding) nothing else.

    Args:
        images: (N, C, H, W), what will be cut.
        chunk: what the options ask for.
        width: channels of the layers at the images' own size.
    """
    if chunk:
        return chunk
    if images.device.type != "cpu":
        return max(1, len(images))
    layer = 4 * width * images.shape[2] * images.shape[3]
    return max(1, _CACHED // layer)
