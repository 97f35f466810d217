"""Geometric self-ensemble: the mean of a network's outputs for the eight flips and transpositions of its input."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["run_ensembled"]

_FLIPS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))
"""The four flips that keep height and width; with a transposition before each there are eight."""


def run_ensembled(run: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Average ``run`` over the eight symmetries of the square, each output flipped back first.

    Lim et al., Enhanced Deep Residual Networks for Single Image Super-Resolution, CVPRW 2017, section 3.3. Outputs are
    averaged as they come, before anything clamps or rounds them. The four flips that keep the shape pass ``run`` as
    one batch, the four that swap height and width as another, so ``run`` sees batches of 4 B images.

    Args:
        run: images (B, C, h, w) to (B, C', s h, s w), for any B, h, w; images of a batch must not affect each other.
        x: images (B, C, H, W) of any value range.

    Returns:
        (B, C', s H, s W). Where ``run`` commutes with all flips this is ``run(x)``, bit by bit.
    """
    straight = _sum_of_four(run, x)
    crossed = _sum_of_four(run, x.transpose(-1, -2)).transpose(-1, -2)
    return (straight + crossed) / 8


def _sum_of_four(run: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    outputs = run(torch.cat([x.flip(turn) if turn else x for turn in _FLIPS])).split(len(x))
    a, b, c, d = (y.flip(turn) if turn else y for y, turn in zip(outputs, _FLIPS, strict=True))
    # In pairs every sum of equal numbers is exact.
    return (a + b) + (c + d)
