"""MTKD: the student's output against what several teachers give together (Jiang et al., ECCV 2024)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ...errors import ConfigError
from ..needs import Need, TeacherOutput
from .base import register_term
from .output import L1, Gate, OutputTerm

if TYPE_CHECKING:
    from ..sources import Sources
    from ..step import DistillStep

__all__ = ["MTKDTerm", "mean_of_teachers"]


def mean_of_teachers(images: Sequence[Tensor], weights: Sequence[float] | None = None) -> Tensor:
    r"""Return :math:`\sum_i w_i T_i / \sum_i w_i`, an image like each of them; equal weights by default.

    Args:
        images: what the teachers made of one batch, of one shape and range.
        weights: positive, one for each.
    """
    first, *others = images
    if not others:
        return first
    shares = [weight / math.fsum(weights) for weight in weights] if weights else [1 / len(images)] * len(images)
    mean = first * shares[0]
    for image, share in zip(others, shares[1:], strict=True):
        mean = mean + image * share
    return mean


@register_term("mtkd")
class MTKDTerm(OutputTerm):
    """An image loss between S and the weighted mean of several teachers' outputs.

    MTKD (arXiv 2404.09571, Eq. 5) has the image of a trained network in the place of the mean: a teacher of type
    ``TeacherAggregation``, which this term, or ``logits``, takes like any other. Each teacher runs once in a step,
    whatever else asks for it.

    Args:
        loss: a loss block, or a loss; MTKD's own is ``{type: HaarLoss, levels: 4}``.
        gate: ``teacher_better``: only where the mean is nearer to GT than S.
        taught_by: names of teachers; every one of the option file by default.
        weights: positive, one for each teacher in that order; their sum counts for nothing. Equal by default.
    """

    def __init__(
        self,
        loss: Mapping[str, Any] | nn.Module = L1,
        gate: Gate = None,
        taught_by: Sequence[str] | None = None,
        weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__(loss, gate)
        if taught_by is not None:
            if isinstance(taught_by, str) or not taught_by or len(set(taught_by)) != len(taught_by):
                raise ValueError(
                    f"taught_by must be a list of different teachers, for instance [one, other], got {taught_by!r}"
                )
            _check_count(weights, len(taught_by), "taught_by")
        if weights is not None and not all(0 < each < math.inf for each in weights):
            raise ValueError(
                f"weights must be positive numbers, got {list(weights)}; leave a teacher out of taught_by instead"
            )
        self.taught_by = None if taught_by is None else tuple(taught_by)
        self.weights = None if weights is None else tuple(float(each) for each in weights)

    @property
    def needs(self) -> frozenset[Hashable]:
        return super().needs | frozenset(
            {Need.TEACHERS} if self.taught_by is None else map(TeacherOutput, self.taught_by)
        )

    def join(self, student: nn.Module, sources: Sources) -> None:
        """Look which teachers there are.

        Raises:
            ConfigError: there is another number of weights, or two names mean one teacher.
        """
        names = [sources.meant(name) for name in self.taught_by or sources.teachers]
        if len(set(names)) != len(names):
            raise ConfigError(
                f"the term {self.label}: taught_by names {sources.first_teacher} twice, which 'teacher' means too; "
                "leave one of them out, or give weights"
            )
        try:
            _check_count(self.weights, len(names), "network_teachers")
        except ValueError as error:
            raise ConfigError(f"the term {self.label}: {error}") from error

    def target(self, step: DistillStep) -> Tensor:
        names = self.taught_by or tuple(step.sources.teachers)
        return mean_of_teachers([step.taught_by(name) for name in names], self.weights)


def _check_count(weights: Sequence[float] | None, count: int, where: str) -> None:
    if weights is not None and len(weights) != count:
        raise ValueError(
            f"weights has {len(weights)} entries, but {where} has {count}; give one weight for each teacher"
        )
