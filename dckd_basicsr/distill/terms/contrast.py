"""L_dcl: towards the teacher and away from the student's own past, in the encoder's feature maps."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...losses import ContrastiveLoss
from ..needs import Need
from .base import Term, register_term
from .output import built_loss

if TYPE_CHECKING:
    from ..step import DistillStep

__all__ = ["ContrastTerm"]


@register_term("contrast")
class ContrastTerm(Term):
    """A loss of the taps of S, T and every negative (Zhou et al., AAAI 2025, Eq. 5).

    Args:
        loss: the block of a ``ContrastiveLoss``, or of another one that takes the same taps; or such a loss.
    """

    log_name = "l_contrast"

    def __init__(self, loss: Mapping[str, Any] | nn.Module = {"type": "ContrastiveLoss"}) -> None:  # noqa: B006
        super().__init__()
        self.loss = built_loss(loss)

    @property
    def needs(self) -> frozenset[Hashable]:
        return frozenset({Need.TEACHER, Need.TAPS})

    @property
    def tap_weights(self) -> tuple[float, ...] | None:
        """One weight for each level of the encoder; None of a loss of another make."""
        return self.loss.weights if isinstance(self.loss, ContrastiveLoss) else None

    @property
    def tap_levels(self) -> int | None:
        return self.loss.levels if type(self.loss) is ContrastiveLoss else None  # what derives may look at all of them

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile the terms, which read whole feature maps."""
        if isinstance(self.loss, ContrastiveLoss):
            self.loss.terms = torch.compile(self.loss.terms, *args, **options)  # type: ignore[method-assign]

    def forward(self, step: DistillStep) -> Tensor:
        # First what needs no gradient: what it takes in passing is free before the student's graph is there to stay.
        teacher, negatives = step.teacher_taps, step.negative_taps
        if not isinstance(self.loss, ContrastiveLoss):
            return self.loss(step.student_taps, teacher, negatives)
        terms = self.loss.terms(step.student_taps, teacher, negatives)
        own = "" if self.label == self.log_name else f"_{self.label.removeprefix('l_')}"  # of several contrasts
        step.measure(f"d_teacher{own}", terms.positive)
        step.measure(f"d_negative{own}", terms.negative)
        return terms.loss
