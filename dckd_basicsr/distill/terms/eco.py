"""ECO: training pairs that slide from the teacher's to the real ones (AAAI 2024, arXiv 2312.17526)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn

from ..needs import Need, TeacherOutput
from .base import register_term
from .downscaling import Downscaling, Filter
from .output import L1, OutputTerm

if TYPE_CHECKING:
    from ..step import DistillStep

__all__ = ["ECOTerm", "linear_share", "sigmoid_share"]

Mode = Literal["full", "target"]
Schedule = Literal["linear", "sigmoid"]


def linear_share(iteration: int, total_iter: int, end_ratio: float = 0.75) -> float:
    """Return the share of the real pair: it / end, and exactly 1 from end = int(total_iter * end_ratio) on.

    The schedule of traiNNer-redux; the authors' text has it with ``end_ratio`` 1.

    Args:
        iteration: counted from 1.
        total_iter: length of the run.
        end_ratio: share of the run at which the teacher's pair has gone, in (0, 1].
    """
    end = int(total_iter * end_ratio)
    return iteration / end if iteration < end else 1.0


def sigmoid_share(iteration: int, total_iter: int) -> float:
    r"""Return the share of the real pair as the authors' code has it: 0 up to 26 % of the run, 1 from 74 % on.

    .. math:: a = 0.5 + \operatorname{clamp}(1.2 (\sigma(10 (it / total - 0.5)) - 0.5), -0.5, 0.5)

    Args:
        iteration: counted from 1.
        total_iter: length of the run.
    """
    risen = 1.2 * (1.0 / (1.0 + math.exp(-10.0 * (iteration / total_iter - 0.5))) - 0.5)
    return 0.5 + min(0.5, max(-0.5, risen))


@register_term("eco")
class ECOTerm(OutputTerm):
    """A loss between S(lq') and gt' = (1 - a) T(LQ) + a GT, while a rises from 0 to 1 over the run.

    It stands in the place of ``pixel_opt``, which is off (``~``). T is clamped to [0, 1]. Once a is 1 the teacher is
    not run any more. a follows from the iteration and the run's length alone, and is logged as ``real_eco``.

    Args:
        loss: a loss block, or a loss; the one that ``pixel_opt`` would have.
        mode: ``full``: lq' = (1 - a) down(T(LQ)) + a LQ, clamped to [0, 1] before they are mixed. While a < 1 the
            student then sees lq' alone, and any other term that asks for S(LQ) costs a second pass. ``target``:
            lq' = LQ, so that only the target slides. At scale 1, where nothing is scaled down and lq' would be an
            image that is restored already, ``full`` is the same as ``target``.
        schedule: ``linear``, or ``sigmoid``, the authors' own.
        end_ratio: of the linear schedule: share of the run from which on a is 1; 0.75 by default.
        filter: what scales T(LQ) down: ``antialiased``, PyTorch's bicubic, or ``matlab``, the authors'.
        taught_by: name of the teacher, of several; the first by default.
    """

    scheduled = True
    real: Tensor
    """a, a scalar on the device."""

    def __init__(
        self,
        loss: Mapping[str, Any] | nn.Module = L1,
        mode: Mode = "full",
        schedule: Schedule = "linear",
        end_ratio: float | None = None,
        filter: Filter = "antialiased",
        taught_by: str | None = None,
    ) -> None:
        super().__init__(loss)
        for key, value, known in (("mode", mode, get_args(Mode)), ("schedule", schedule, get_args(Schedule))):
            if value not in known:
                raise ValueError(f"{key} must be {' or '.join(known)}, got {value!r}")
        if end_ratio is not None and schedule != "linear":
            raise ValueError(f"end_ratio belongs to the linear schedule; leave it out with {schedule}")
        if end_ratio is not None and not 0 < end_ratio <= 1:
            raise ValueError(f"end_ratio must be a share of the run in (0, 1], got {end_ratio}")
        self.mode = mode
        self.schedule = schedule
        self.end_ratio = 0.75 if end_ratio is None else end_ratio
        self.down = Downscaling(filter)
        self.taught_by = taught_by
        self.taught = True
        self.register_buffer("real", torch.zeros(()), persistent=False)

    @property
    def needs(self) -> frozenset[Hashable]:
        return frozenset({Need.GT, TeacherOutput(self.taught_by) if self.taught_by else Need.TEACHER})

    @property
    def current_needs(self) -> frozenset[Hashable]:
        return self.needs if self.taught else frozenset({Need.GT})

    def begin(self, iteration: int, total_iter: int | None) -> None:
        assert total_iter is not None, "the distiller asks for it where a term is scheduled"
        linear = self.schedule == "linear"
        share = linear_share(iteration, total_iter, self.end_ratio) if linear else sigmoid_share(iteration, total_iter)
        self.real.fill_(share)
        self.taught = share < 1

    def target(self, step: DistillStep) -> Tensor:
        return torch.lerp(self._teacher(step), step.gt, self.real) if self.taught else step.gt

    def forward(self, step: DistillStep) -> Tensor:
        step.measure(f"real_{self.label.removeprefix('l_')}", self.real.clone())
        target = self.target(step)
        if self.mode == "target" or not self.taught or step.lq.shape[2:] == step.gt.shape[2:]:
            return self.loss(step.student, target)
        return self.loss(step.restore(self._input(step)), target)

    def _input(self, step: DistillStep) -> Tensor:
        small = self.down(self._teacher(step), (step.lq.shape[2], step.lq.shape[3])).clamp(0.0, 1.0)
        return torch.lerp(small, step.lq, self.real)

    def _teacher(self, step: DistillStep) -> Tensor:
        return step.taught_by(self.taught_by).clamp(0.0, 1.0)
