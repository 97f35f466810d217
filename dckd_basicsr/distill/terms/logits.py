"""L_kd: the student's output against a teacher's (Zhou et al., AAAI 2025)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ..needs import Need, TeacherOutput
from .base import register_term
from .output import L1, Gate, OutputTerm

if TYPE_CHECKING:
    from ..step import DistillStep

__all__ = ["LogitsTerm"]


@register_term("logits")
class LogitsTerm(OutputTerm):
    """An image loss between S and T.

    Args:
        loss: a loss block, or a loss.
        gate: ``teacher_better``: only where T is nearer to GT than S.
        taught_by: name of the teacher, of several; the first by default.
    """

    log_name = "l_logits"

    def __init__(
        self, loss: Mapping[str, Any] | nn.Module = L1, gate: Gate = None, taught_by: str | None = None
    ) -> None:
        super().__init__(loss, gate)
        self.taught_by = taught_by

    @property
    def needs(self) -> frozenset[Hashable]:
        return super().needs | {TeacherOutput(self.taught_by) if self.taught_by else Need.TEACHER}

    def target(self, step: DistillStep) -> Tensor:
        return step.taught_by(self.taught_by)
