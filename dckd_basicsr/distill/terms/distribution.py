"""L_ce: the code distributions of the student's output towards the teacher's."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ..needs import Need
from .base import Term, register_term
from .output import built_loss

if TYPE_CHECKING:
    from ..step import DistillStep

__all__ = ["DistributionTerm"]


@register_term("distribution")
class DistributionTerm(Term):
    """A loss of the code logits of S and T (Zhou et al., AAAI 2025, Eq. 8).

    Args:
        loss: the block of a ``DistributionLoss``, or of another one that takes the same logits; or such a loss.
    """

    log_name = "l_dist"

    def __init__(self, loss: Mapping[str, Any] | nn.Module = {"type": "DistributionLoss"}) -> None:  # noqa: B006
        super().__init__()
        self.loss = built_loss(loss)

    @property
    def needs(self) -> frozenset[Hashable]:
        return frozenset({Need.TEACHER, Need.CODES})

    def forward(self, step: DistillStep) -> Tensor:
        teacher = step.teacher_logits  # first what needs no gradient, as in the contrast
        return self.loss(step.student_logits, teacher)
