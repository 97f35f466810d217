"""The objective: named loss terms from a config, each a function of a :class:`DistillStep`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..losses import ContrastiveLoss
from .step import DistillStep, Need

__all__ = ["TERM_KEYS", "Objective", "ObjectiveValues"]

BuildLoss = Callable[[Mapping[str, Any]], nn.Module]


@dataclass(frozen=True)
class ObjectiveValues:
    """Values of one step, all scalars on the device.

    Attributes:
        losses: weighted terms by name; their sum is what is minimised.
        measures: detached quantities for the log only.
    """

    losses: dict[str, Tensor]
    measures: dict[str, Tensor]

    @property
    def total(self) -> Tensor:
        """Sum of the terms."""
        return sum(self.losses.values())  # type: ignore[return-value]


@dataclass(frozen=True)
class _Term:
    name: str
    needs: frozenset[str]
    evaluate: Callable[[nn.Module, DistillStep, dict[str, Tensor]], Tensor]


def _pixel(loss: nn.Module, step: DistillStep, measures: dict[str, Tensor]) -> Tensor:
    return loss(step.student, step.gt)


def _logits(loss: nn.Module, step: DistillStep, measures: dict[str, Tensor]) -> Tensor:
    return loss(step.student, step.teacher)


def _contrast(loss: nn.Module, step: DistillStep, measures: dict[str, Tensor]) -> Tensor:
    # First what needs no gradient: what it takes in passing is free again before the student's graph is there to stay.
    teacher, negatives = step.teacher_taps, step.negative_taps
    if not isinstance(loss, ContrastiveLoss):
        return loss(step.student_taps, teacher, negatives)
    terms = loss.terms(step.student_taps, teacher, negatives)
    measures["d_teacher"] = terms.positive
    measures["d_negative"] = terms.negative
    return terms.loss


def _distribution(loss: nn.Module, step: DistillStep, measures: dict[str, Tensor]) -> Tensor:
    teacher = step.teacher_logits  # first, as above
    return loss(step.student_logits, teacher)


def _consistency(loss: nn.Module, step: DistillStep, measures: dict[str, Tensor]) -> Tensor:
    return loss(step.student, step.consistent_teacher)


# Option key -> term. The paper's L_rec, L_kd, L_dcl, L_ce and, for DCKD*, L_lcr.
_TERMS = {
    "pixel_opt": _Term("l_pix", frozenset(), _pixel),
    "logits_opt": _Term("l_logits", frozenset({Need.TEACHER}), _logits),
    "contrastive_opt": _Term("l_contrast", frozenset({Need.TEACHER, Need.TAPS}), _contrast),
    "distribution_opt": _Term("l_dist", frozenset({Need.TEACHER, Need.CODES}), _distribution),
    "consistency_opt": _Term("l_consist", frozenset({Need.TEACHER, Need.CONSISTENCY}), _consistency),
}

TERM_KEYS = tuple(_TERMS)
"""Option keys that switch a term on."""


def _build(options: Mapping[str, Any]) -> nn.Module:
    from basicsr.losses import build_loss

    return build_loss(dict(options))


class Objective(nn.Module):
    """Weighted sum of the terms that a config switches on.

    Args:
        options: maps option keys of :data:`TERM_KEYS` to loss blocks (``type`` and constructor arguments); None and
            missing keys switch a term off, other keys are ignored.
        build_loss: how a block becomes a module; BasicSR's registry by default.

    Raises:
        ValueError: no term is on.
    """

    def __init__(self, options: Mapping[str, Any], build_loss: BuildLoss = _build) -> None:
        super().__init__()
        self._losses = nn.ModuleDict({key: build_loss(options[key]) for key in _TERMS if options.get(key)})
        if not self._losses:
            raise ValueError(f"no loss term is switched on; set at least one of {', '.join(TERM_KEYS)}")

    @property
    def needs(self) -> frozenset[str]:
        """All that the terms ask of a step."""
        return frozenset[str]().union(*(_TERMS[key].needs for key in self._losses))

    @property
    def tap_weights(self) -> tuple[float, ...] | None:
        """The contrast's weights, one for each level of the encoder; None without that term."""
        loss = dict(self._losses.items()).get("contrastive_opt")
        return loss.weights if isinstance(loss, ContrastiveLoss) else None

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile the contrast, whose terms read whole feature maps; the others read images."""
        for loss in self._losses.values():
            if isinstance(loss, ContrastiveLoss):
                loss.terms = torch.compile(loss.terms, *args, **options)  # type: ignore[method-assign]

    def forward(self, step: DistillStep) -> ObjectiveValues:
        """Evaluate every term on one batch."""
        measures: dict[str, Tensor] = {}
        losses = {_TERMS[key].name: _TERMS[key].evaluate(loss, step, measures) for key, loss in self._losses.items()}
        return ObjectiveValues(losses, measures)
