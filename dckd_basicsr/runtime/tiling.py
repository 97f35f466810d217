"""Running a network on an image larger than memory allows: in overlapping tiles, of which the middle is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ..errors import ConfigError

__all__ = ["TileSettings", "run_tiled"]


@dataclass(frozen=True)
class TileSettings:
    """``val.tile``: tile side and overlap of neighbours, in input pixels."""

    size: int
    overlap: int = 32

    def __post_init__(self) -> None:
        if self.size < 1 or not 0 <= self.overlap < self.size:
            raise ConfigError(
                f"val.tile needs size >= 1 and 0 <= overlap < size, got size {self.size}, overlap {self.overlap}"
            )


def run_tiled(run: Callable[[Tensor], Tensor], x: Tensor, scale: int, tile: TileSettings) -> Tensor:
    """Apply ``run`` tile by tile.

    Neighbouring tiles share ``overlap`` pixels, and each half of what they share is taken from the nearer tile, so no
    output pixel lies closer than ``overlap / 2`` to an inner edge. With an overlap of twice the network's reach the
    result equals the untiled one.

    Args:
        run: images (B, C, h, w) to (B, C', scale h, scale w).
        x: images (B, C, H, W); smaller than a tile: one pass.
        scale: of ``run``.
        tile: sizes.
    """
    height, width = x.shape[-2:]
    if height <= tile.size and width <= tile.size:
        return run(x)
    out: Tensor | None = None
    for top, bottom, keep_top, keep_bottom in _spans(height, tile):
        for left, right, keep_left, keep_right in _spans(width, tile):
            piece = run(x[..., top:bottom, left:right])
            if out is None:
                out = piece.new_empty((*piece.shape[:-2], height * scale, width * scale))
            out[..., keep_top * scale : keep_bottom * scale, keep_left * scale : keep_right * scale] = piece[
                ...,
                (keep_top - top) * scale : (keep_bottom - top) * scale,
                (keep_left - left) * scale : (keep_right - left) * scale,
            ]
    assert out is not None
    return out


def _spans(length: int, tile: TileSettings) -> list[tuple[int, int, int, int]]:
    """Along one axis: (start, end) of each tile, and (start, end) of what is kept of it."""
    if length <= tile.size:
        return [(0, length, 0, length)]
    step = tile.size - tile.overlap
    starts = [*range(0, length - tile.size, step), length - tile.size]
    # the border between two tiles runs through the middle of what they share
    cuts = [0, *((a + tile.size + b) // 2 for a, b in zip(starts, starts[1:])), length]  # noqa: RUF007
    return [(start, start + tile.size, cuts[i], cuts[i + 1]) for i, start in enumerate(starts)]
