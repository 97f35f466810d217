"""PSD's loss in Haar bands: towards the teacher where a band of it is nearer to the truth than the student's."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ...losses import haar_bands
from ..needs import Need, TeacherOutput
from .base import Term, register_term

if TYPE_CHECKING:
    from ..step import DistillStep

__all__ = ["PSDParts", "PSDTerm", "gated_bands"]


class PSDParts(NamedTuple):
    """Scalars.

    Attributes:
        low: the gated squared error of the approximation.
        high: that of the details, levels weighted.
        low_share: share of the approximation's positions that the gate lets through; no gradient.
        high_share: that of the details', all levels together.
    """

    low: Tensor
    high: Tensor
    low_share: Tensor
    high_share: Tensor


def gated_bands(student: Tensor, teacher: Tensor, gt: Tensor, levels: int = 2, rho: float = 0.5) -> PSDParts:
    r"""Squared errors between Haar bands of S and T where T's are nearer to GT's (PSD, 2026).

    .. math:: L_{LL} = \operatorname{mean} M (LL^S - LL^T)^2, \quad
        L_{HF} = \frac{\sum_l \rho^{l-1} \operatorname{mean} \frac{M_l}{2} \sum_b (H_{l,b}^S - H_{l,b}^T)^2}
        {\sum_l \rho^{l-1}}

    LL is the approximation divided by 2^J, H_l the three details divided by 2^l, so that both have the images' range.
    M = 1 where (LL^T - LL^GT)^2 < (LL^S - LL^GT)^2, for each channel and position, without a gradient through it; M_l
    likewise with the mean of the squared errors over the three details, which share it. Means are over all positions.
    The text does not say whether a mask holds for all channels; here each channel has its own.

    Args:
        student: (B, C, H, W) in [0, 1].
        teacher: as ``student``; no gradient flows to it.
        gt: as ``teacher``.
        levels: J; fewer where images are too small, see :func:`.haar_bands`.
        rho: how much less each coarser level of details counts.

    Raises:
        ValueError: images of less than 2 pixels on a side, or no level.
    """
    teacher = teacher.detach()
    # The transform is linear: that of S - GT and of T - GT also give the one of S - T.
    off, taught = haar_bands(student - gt, levels), haar_bands(teacher - gt, levels)
    scale = 2.0 ** len(off.details)
    better = taught.low.square() < off.low.detach().square()
    low = (better * ((off.low - taught.low) / scale).square()).mean()
    high, weights = torch.zeros_like(low), 0.0
    passed, positions = torch.zeros_like(low), 0
    for level, (own, other) in enumerate(zip(off.details, taught.details), start=1):
        mask = other.square().mean(-3) < own.detach().square().mean(-3)
        squares = ((own - other) / 2.0**level).square().sum(-3)
        high = high + rho ** (level - 1) * 0.5 * (mask * squares).mean()
        weights += rho ** (level - 1)
        passed, positions = passed + mask.sum(), positions + mask.numel()
    return PSDParts(low, high / weights, better.float().mean(), passed.detach() / positions)


@register_term("psd")
class PSDTerm(Term):
    """L_LL and L_HF in Haar bands where T is nearer to GT than S, and a plain MSE(S, T) (PSD, 2026).

    Its weights are those of squared errors, beside a task loss against GT (``pixel_opt``).

    Args:
        low_weight: of L_LL.
        high_weight: of L_HF.
        mse_weight: of the mean squared error between S and T, which no gate holds back.
        levels: of the Haar transform; patches of less than 3 pixels have fewer than two.
        rho: how much less each coarser level counts in L_HF.
        taught_by: name of the teacher, of several; the first by default.
    """

    def __init__(
        self,
        low_weight: float = 1.0,
        high_weight: float = 0.1,
        mse_weight: float = 0.25,
        levels: int = 2,
        rho: float = 0.5,
        taught_by: str | None = None,
    ) -> None:
        super().__init__()
        if levels < 1 or rho < 0:
            raise ValueError(f"levels must be at least 1, and rho 0 or more, got levels={levels} and rho={rho}")
        self.low_weight = low_weight
        self.high_weight = high_weight
        self.mse_weight = mse_weight
        self.levels = levels
        self.rho = rho
        self.taught_by = taught_by

    @property
    def needs(self) -> frozenset[Hashable]:
        return frozenset({TeacherOutput(self.taught_by) if self.taught_by else Need.TEACHER})

    def forward(self, step: DistillStep) -> Tensor:
        teacher = step.taught_by(self.taught_by)
        parts = gated_bands(step.student, teacher, step.gt, self.levels, self.rho)
        own = self.label.removeprefix("l_")
        step.measure(f"gate_{own}_low", parts.low_share)
        step.measure(f"gate_{own}_high", parts.high_share)
        plain = (step.student - teacher).square().mean()
        return self.low_weight * parts.low + self.high_weight * parts.high + self.mse_weight * plain
