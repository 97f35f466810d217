"""Dynamic contrastive regularization (Zhou et al., AAAI 2025, Eq. 5; arXiv 2412.08939)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from ..install import register

__all__ = [
    "DEFAULT_WEIGHTS",
    "ContrastTerms",
    "ContrastiveLoss",
    "contrast_terms",
    "contrastive_ratio",
    "mean_distances",
]

Taps = Sequence[Tensor]

DEFAULT_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
"""Weight per encoder level, shallow to deep (paper, section 4.1)."""


class ContrastTerms(NamedTuple):
    """The loss and the two distances it balances, all float32 scalars.

    Attributes:
        loss: the weighted sum of ratios.
        positive: sum_i w_i d(f_i(S), f_i(T)).
        negative: sum_i w_i mean_j d(f_i(S), f_i(Neg_j)); the mean over negatives, so that it compares with
            ``positive`` whatever their number.
    """

    loss: Tensor
    positive: Tensor
    negative: Tensor


class _Distances(torch.autograd.Function):
    """Mean absolute differences of one tensor to several others, with a gradient to that one.

    The backward pass takes the signs anew: autograd would keep a float32 difference for each of the others, which at
    full resolution is most of a step's memory, and would walk over each of them several times.
    """

    @staticmethod
    def forward(ctx: Any, one: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(one, *others)
        exact = one.to(torch.promote_types(one.dtype, torch.float32))
        return tuple((exact - other).abs_().mean() for other in others)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        one, *others = ctx.saved_tensors
        found = torch.zeros_like(one)
        for other, gradient in zip(others, gradients):
            found.add_(torch.sub(one, other).sign_().mul_(gradient / one.numel()))
        return (found, *[None] * len(others))


def mean_distances(one: Tensor, others: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the mean absolute difference of ``one`` to each of ``others``, all of one shape.

    Scalars, in float32 at least; the gradient reaches ``one`` alone, and no difference is kept for it.
    """
    return _Distances.apply(one, *others)


def _check(student: Taps, teacher: Taps, negatives: Sequence[Taps], weights: Sequence[float]) -> None:
    if not negatives:
        raise ValueError("contrastive loss needs at least one negative")
    counts = {len(student), len(teacher), len(weights), *(len(taps) for taps in negatives)}
    if len(counts) != 1:
        raise ValueError(
            f"contrastive loss needs one weight per tap: student has {len(student)} taps, teacher {len(teacher)}, "
            f"negatives {sorted({len(taps) for taps in negatives})}, and there are {len(weights)} weights"
        )


def contrast_terms(
    student_taps: Taps,
    teacher_taps: Taps,
    negative_taps: Sequence[Taps],
    weights: Sequence[float] = DEFAULT_WEIGHTS,
    eps: float = 1e-7,
) -> ContrastTerms:
    """Like :func:`contrastive_ratio`, with the two distances for the log."""
    _check(student_taps, teacher_taps, negative_taps, weights)
    loss = positive = negative = torch.zeros((), device=student_taps[0].device)
    for i, weight in enumerate(weights):
        references = [taps[i].detach() for taps in (teacher_taps, *negative_taps)]
        to_teacher, *distances = mean_distances(student_taps[i], references)
        to_negatives = torch.stack(distances).sum()
        loss = loss + weight * to_teacher / (to_negatives + eps)
        positive = positive + weight * to_teacher.detach()
        negative = negative + weight * to_negatives.detach() / len(negative_taps)
    return ContrastTerms(loss, positive, negative)


def contrastive_ratio(
    student_taps: Taps,
    teacher_taps: Taps,
    negative_taps: Sequence[Taps],
    weights: Sequence[float] = DEFAULT_WEIGHTS,
    eps: float = 1e-7,
) -> Tensor:
    r"""Ratio of the distance to the teacher over the summed distances to the negatives.

    .. math:: L_{dcl} = \sum_i w_i \frac{d(f_i(S), f_i(T))}{\sum_j d(f_i(S), f_i(Neg_j)) + \epsilon}

    with ``d`` the mean absolute difference over the whole batch tensor: a ratio of means, not a mean of per-sample
    ratios. The gradient reaches the student through numerator and denominator.

    Args:
        student_taps: features per level, each (B, C_i, H_i, W_i).
        teacher_taps: as ``student_taps``.
        negative_taps: per negative such a list.
        weights: one per level.
        eps: added to the denominator.

    Returns:
        float32 scalar, >= 0.

    Raises:
        ValueError: the numbers of levels and weights differ, or there is no negative.

    >>> s, t, n = [torch.zeros(1, 1, 2, 2)], [torch.ones(1, 1, 2, 2)], [[torch.full((1, 1, 2, 2), 4.0)]]
    >>> round(float(contrastive_ratio(s, t, n, weights=[1.0])), 4)
    0.25
    """
    return contrast_terms(student_taps, teacher_taps, negative_taps, weights, eps).loss


@register(LOSS_REGISTRY)
class ContrastiveLoss(nn.Module):
    """:func:`contrastive_ratio` times ``loss_weight`` (0.1 on every task of the paper)."""

    def __init__(self, loss_weight: float = 0.1, weights: Sequence[float] = DEFAULT_WEIGHTS, eps: float = 1e-7) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.weights = tuple(weights)
        self.eps = eps

    @property
    def levels(self) -> int:
        """How many levels, from the first, have a weight that is not zero behind them or on them."""
        return max((i for i, weight in enumerate(self.weights, start=1) if weight), default=1)

    def terms(self, student_taps: Taps, teacher_taps: Taps, negative_taps: Sequence[Taps]) -> ContrastTerms:
        """Weighted loss with the unweighted distances, for logging.

        Taps beyond the last level that has a weight may be left out, of all images alike.
        """
        if self.levels < len(self.weights):
            student_taps, teacher_taps = student_taps[: self.levels], teacher_taps[: self.levels]
            negative_taps = [taps[: self.levels] for taps in negative_taps]
        weights = self.weights[: self.levels]
        terms = contrast_terms(student_taps, teacher_taps, negative_taps, weights, self.eps)
        return terms._replace(loss=self.loss_weight * terms.loss)

    def forward(self, student_taps: Taps, teacher_taps: Taps, negative_taps: Sequence[Taps]) -> Tensor:
        """See :func:`contrastive_ratio`."""
        return self.terms(student_taps, teacher_taps, negative_taps).loss
