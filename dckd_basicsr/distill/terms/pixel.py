"""L_rec: the student's output against the ground truth (Zhou et al., AAAI 2025)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ..needs import Need
from .base import register_term
from .output import L1, OutputTerm

if TYPE_CHECKING:
    from ..step import DistillStep

__all__ = ["PixelTerm"]


@register_term("pixel")
class PixelTerm(OutputTerm):
    """An image loss between S and GT.

    Args:
        loss: a loss block, or a loss.
    """

    log_name = "l_pix"

    def __init__(self, loss: Mapping[str, Any] | nn.Module = L1) -> None:
        super().__init__(loss)

    @property
    def needs(self) -> frozenset[Hashable]:
        return frozenset({Need.GT})

    def target(self, step: DistillStep) -> Tensor:
        return step.gt
