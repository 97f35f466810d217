"""Running a network on an image larger than memory allows: in overlapping tiles, of which the middle is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import ConfigError

__all__ = ["TileSettings", "run_tiled"]


@dataclass(frozen=True)
class TileSettings:
    """``val.tile``: overlapping tiles, in pixels of the input.

    Attributes:
        size: side of a tile.
        overlap: what neighbours share; with twice the network's reach the result equals the untiled one.
        batch: tiles that pass the network at once, for each image of ``val.batch``.
    """

    size: int
    overlap: int = 32
    batch: int = 1

    def __post_init__(self) -> None:
        if self.size < 1 or not 0 <= self.overlap < self.size:
            raise ConfigError(
                f"val.tile needs size >= 1 and 0 <= overlap < size, got size {self.size}, overlap {self.overlap}"
            )
        if self.batch < 1:
            raise ConfigError(f"val.tile needs batch >= 1 (tiles that pass the network at once), got {self.batch}")


class _Span(NamedTuple):
    """One tile along one axis: ``start`` to ``end`` pass the network, ``first`` to ``last`` are kept of them."""

    start: int
    end: int
    first: int
    last: int


def run_tiled(
    run: Callable[[Tensor], Tensor], x: Tensor, scale: int, tile: TileSettings, device: torch.device | None = None
) -> Tensor:
    """Apply ``run`` tile by tile.

    Neighbouring tiles share ``overlap`` pixels or more, and each half of what they share is taken from the nearer tile,
    so no output pixel lies closer than ``overlap // 2`` to an inner edge. With an overlap of twice the network's reach
    the result equals the untiled one. Memory: the input, the output, and what ``tile.batch`` tiles need.

    Args:
        run: images (B, C, h, w) to (B, C', scale h, scale w).
        x: images (B, C, H, W); smaller than a tile: one pass.
        scale: of ``run``.
        tile: sizes.
        device: where the output is put together, tile by tile; by default where ``run`` leaves it.
    """
    height, width = x.shape[-2:]
    if height <= tile.size and width <= tile.size:
        return run(x).to(device=device)
    places = [(v, h) for v in _spans(height, tile) for h in _spans(width, tile)]
    out: Tensor | None = None
    for i in range(0, len(places), tile.batch):
        chosen = places[i : i + tile.batch]
        done = run(torch.cat([x[..., v.start : v.end, h.start : h.end] for v, h in chosen]))
        if out is None:
            out = done.new_empty((len(x), done.shape[1], height * scale, width * scale), device=device)
        for piece, (v, h) in zip(done.split(len(x)), chosen, strict=True):
            out[..., v.first * scale : v.last * scale, h.first * scale : h.last * scale] = piece[
                ...,
                (v.first - v.start) * scale : (v.last - v.start) * scale,
                (h.first - h.start) * scale : (h.last - h.start) * scale,
            ]
    assert out is not None
    return out


def _spans(length: int, tile: TileSettings) -> list[_Span]:
    """Cover one axis; all tiles of it have the same length."""
    if length <= tile.size:
        return [_Span(0, length, 0, length)]
    starts = [*range(0, length - tile.size, tile.size - tile.overlap), length - tile.size]
    # the border between two tiles runs through the middle of what they share
    cuts = [0, *((a + tile.size + b) // 2 for a, b in pairwise(starts)), length]
    return [_Span(start, start + tile.size, *cut) for start, cut in zip(starts, pairwise(cuts), strict=True)]
