"""Spatial affinity: how the features of any two places of an image go together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...features import unit_columns
from ..base import register_term
from .feature import POSITIONS, FeatureTerm, Normalize

__all__ = ["AffinityTerm", "affinity_distance", "automatic_pool", "pooled"]

Pooling = Literal["avg", "max"]

_MOST_POSITIONS = 48 * 48
_AT_ONCE = 2**24
"""Entries of affinities that are there at a time, unless one image has more: 64 MiB."""


class _AffinityDistance(torch.autograd.Function):
    """``mean |S^T S - T^T T|`` of columns (B, C, n) and (B, D, n), with a gradient to S.

    Affinities are n x n and by far the largest tensors here; autograd would keep three of them for each position. The
    gradient, ``2 / (B n n) S sign(S^T S - T^T T)``, is taken while the difference is there, so that nothing of that
    size stays.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor) -> Tensor:
        batch, _, count = student.shape
        total, gradients = student.new_zeros(()), []
        images = max(1, _AT_ONCE // count**2)
        for ours, theirs in zip(student.split(images), teacher.split(images)):
            difference = torch.bmm(theirs.mT, theirs)
            difference.baddbmm_(ours.mT, ours, beta=-1)
            total += difference.abs().sum()  # not vector_norm, which on CPUs is 1 % off with so many entries
            if ctx.needs_input_grad[0]:
                gradients.append(torch.bmm(ours, difference.sign_()))
        entries = batch * count**2
        if gradients:
            ctx.save_for_backward(torch.cat(gradients).mul_(2 / entries))
        return total / entries

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (found,) = ctx.saved_tensors
        return found * gradient, None


def affinity_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Return ``mean |A_S - A_T|`` over batch and all pairs of positions (FAKD, He et al., ICIP 2020).

    ``A = F^T F`` of a map (C, h w) whose positions are divided by (their L2 norm + 1e-8): the cosines between any two
    positions. A position without features, all 0, has the affinity 0 to all and gets no gradient; in the published code
    its gradient is not a number.

    Args:
        student: (B, C, h, w).
        teacher: (B, D, h, w), taken without gradient.
    """
    ours, theirs = (unit_columns(each.flatten(2)) for each in (student, teacher.detach()))
    return _AffinityDistance.apply(ours, theirs)


def automatic_pool(height: int, width: int) -> int:
    """Return the smallest side of windows that leave at most 48 x 48 of them.

    >>> automatic_pool(48, 48), automatic_pool(64, 64), automatic_pool(256, 256)
    (1, 2, 6)
    """
    side = 1
    while -(-height // side) * -(-width // side) > _MOST_POSITIONS:
        side += 1
    return side


def pooled(features: Tensor, side: int, pooling: Pooling) -> Tensor:
    """Return (B, C, h, w) pooled in windows of ``side`` x ``side``; those that the border cuts count what they have."""
    if side == 1:
        return features
    pool = F.avg_pool2d if pooling == "avg" else F.max_pool2d
    return pool(features, side, ceil_mode=True)


@register_term("affinity")
class AffinityTerm(FeatureTerm):
    """Spatial affinity: cosines between the features of any two positions, of S and of T (FAKD, He et al., ICIP 2020).

    Widths may differ. Time and memory grow with the square of the number of positions, hence ``pool``.

    Args:
        student: positions of the student's maps: shares of the depth (``1/3``), ``end``, module paths.
        teacher: positions of the teacher's, one for each of the student's; the student's by default.
        normalize: scale every position to a root mean square of 1 over its channels before pooling, without which it
            changes nothing; auto does so with the maps of a network with layer normalization, S and T each for itself.
        taught_by: name of the teacher, of several; the first by default.
        pool: side of the windows in which maps are pooled first; 1 for none. By default the smallest side that leaves
            at most 48 x 48 positions, the size that the paper trains on.
        pooling: avg: mean of a window; max: its largest value. The published code has both.
    """

    def __init__(
        self,
        student: Sequence[str] = POSITIONS,
        teacher: Sequence[str] | None = None,
        normalize: Normalize = "auto",
        taught_by: str | None = None,
        pool: int | None = None,
        pooling: Pooling = "avg",
    ) -> None:
        super().__init__(student, teacher, normalize, taught_by)
        if pool is not None and pool < 1:
            raise ValueError(f"pool must be at least 1, which does not pool, got {pool}")
        if pooling not in get_args(Pooling):
            raise ValueError(f"pooling must be one of {', '.join(get_args(Pooling))}, got {pooling!r}")
        self.pool = pool
        self.pooling: Pooling = pooling

    def distance(self, index: int, student: Tensor, teacher: Tensor) -> Tensor:
        side = self.pool or automatic_pool(*student.shape[-2:])
        return affinity_distance(*(pooled(each, side, self.pooling) for each in (student, teacher)))
