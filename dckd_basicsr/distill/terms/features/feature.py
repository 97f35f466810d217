"""What terms have in common that compare feature maps of S and T, position by position."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from ....errors import ConfigError
from ...features import as_map, has_layer_norm, positions_of, unit_positions
from ...needs import STUDENT, FeatureMap
from ..base import Term

if TYPE_CHECKING:
    from ...sources import Sources
    from ...step import DistillStep

__all__ = ["POSITIONS", "FeatureTerm", "Normalize"]

Normalize = bool | Literal["auto"]

POSITIONS = ("1/3", "2/3", "end")
"""Where feature maps are compared: FAKD's three positions (He et al., ICIP 2020), as shares of the depth."""


class FeatureTerm(Term):
    """A sum of distances between feature maps of S and T, unweighted, one for each position.

    A class that derives from it says what :meth:`distance` is, and builds in :meth:`build` what that needs of layers.

    Args:
        student: positions of the student's maps, see ``distill/features/positions.py``: shares of the depth, ``end``,
            module paths.
        teacher: positions of the teacher's, one for each of the student's; the student's by default.
        normalize: take the magnitude off the maps; ``auto`` does so with those of a network with layer normalization,
            S and T each for itself.
        taught_by: name of the teacher, of several; the first by default.

    Raises:
        ValueError: no positions, or not as many of T as of S; another word for ``normalize``.
    """

    def __init__(
        self,
        student: Sequence[str] = POSITIONS,
        teacher: Sequence[str] | None = None,
        normalize: Normalize = "auto",
        taught_by: str | None = None,
    ) -> None:
        super().__init__()
        ours, theirs = _positions("student", student), _positions("teacher", student if teacher is None else teacher)
        if len(ours) != len(theirs):
            raise ValueError(
                f"teacher must have one position for each of student, which has {len(ours)}, got {len(theirs)}"
            )
        if normalize not in (True, False, "auto"):
            raise ValueError(f"normalize must be true, false or auto, got {normalize!r}")
        self.normalize = normalize
        self.taught_by = taught_by
        self.pairs = tuple(
            (FeatureMap(STUDENT, one), FeatureMap(taught_by or "teacher", other)) for one, other in zip(ours, theirs)
        )
        """The maps of S and T that are compared."""
        self.normalized = (normalize is True, normalize is True)
        """Whether the magnitude is taken off those of S, and of T."""

    @property
    def needs(self) -> frozenset[Hashable]:
        return frozenset(need for pair in self.pairs for need in pair)

    def join(self, student: nn.Module, sources: Sources) -> None:
        """See which of the two networks leaves the magnitude of its features free."""
        if self.normalize == "auto":
            teacher = sources.teachers[sources.meant(self.taught_by)]
            self.normalized = has_layer_norm(student), has_layer_norm(teacher)

    def setup(self, shapes: Mapping[FeatureMap, torch.Size]) -> None:
        """Check that maps are of one size, and build layers.

        Raises:
            ConfigError: a map of S and one of T differ in size; names both.
        """
        for ours, theirs in self.pairs:
            self._check(ours, theirs, shapes[ours], shapes[theirs])
        self.build([(_width(shapes[ours]), _width(shapes[theirs])) for ours, theirs in self.pairs])

    def build(self, widths: Sequence[tuple[int, int]]) -> None:
        """Build layers that depend on the numbers of channels, of S and T, for each position; here none."""

    def distance(self, index: int, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the scalar distance of two maps, float32.

        Args:
            index: of the position.
            student: (B, C, h, w), with its graph.
            teacher: (B, D, h, w), without gradient.
        """
        raise NotImplementedError

    def without_magnitude(self, features: Tensor) -> Tensor:
        """Return a map (B, C, h, w) with its magnitude taken off; here that of every position."""
        return unit_positions(features)

    def forward(self, step: DistillStep) -> Tensor:
        found = []
        with torch.autocast(step.lq.device.type, enabled=False):
            for index, (ours, theirs) in enumerate(self.pairs):
                teacher = as_map(step.feature(theirs), step.lq)  # first, while the student's graph need not be there
                student = as_map(step.feature(ours), step.lq)
                self._check(ours, theirs, student.shape, teacher.shape)
                of_student, of_teacher = self.normalized
                student = self.without_magnitude(student) if of_student else student
                teacher = self.without_magnitude(teacher) if of_teacher else teacher
                found.append(self.distance(index, student, teacher))
        return torch.stack(found).sum()

    def _check(self, ours: FeatureMap, theirs: FeatureMap, one: torch.Size, other: torch.Size) -> None:
        maps = len(one) == len(other) == 4
        if one[2:] != other[2:] if maps else positions_of(one) != positions_of(other):
            raise ConfigError(
                f"the term {self.label} compares feature maps of one size, but the student's '{ours.path}' is "
                f"{tuple(one)} and the teacher's '{theirs.path}' is {tuple(other)}; name positions of equal height and "
                "width under student and teacher"
            )


def _positions(key: str, given: Sequence[str]) -> tuple[str, ...]:
    if isinstance(given, str) or not given or not all(isinstance(each, str) for each in given):
        raise ValueError(f"{key} must be a list of positions, for instance [1/3, 2/3, end], got {given!r}")
    return tuple(given)


def _width(shape: torch.Size) -> int:
    return shape[1] if len(shape) == 4 else shape[2]
