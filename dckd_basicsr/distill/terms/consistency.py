"""L_lcr of DCKD*: the student's output against the teacher's for a transformed input, transformed back."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from torch import Tensor

from ..needs import Need
from .base import register_term
from .output import OutputTerm

if TYPE_CHECKING:
    from ..step import DistillStep

__all__ = ["ConsistencyTerm"]


@register_term("consistency")
class ConsistencyTerm(OutputTerm):
    """An image loss between S and g^-1(T(g(LQ))), for a random g per sample (DUKD, arXiv 2309.14162, Eq. 5).

    Args:
        loss: a loss block, or a loss.
        gate: ``teacher_better``: only where that image is nearer to GT than S.
    """

    log_name = "l_consist"

    @property
    def needs(self) -> frozenset[Hashable]:
        return super().needs | {Need.TEACHER, Need.CONSISTENCY}

    def target(self, step: DistillStep) -> Tensor:
        return step.consistent_teacher
