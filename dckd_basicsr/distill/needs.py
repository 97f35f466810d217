"""What a loss term may ask of a step beside student output and GT; known beforehand, so that passes are shared."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["OF_FIRST_TEACHER", "STUDENT", "FeatureMap", "Need", "TeacherOutput"]

STUDENT = "student"
"""What feature maps call the student; teachers go by their names."""


class Need:
    """Needs without a parameter.

    Attributes:
        TEACHER: T(LQ) of the first teacher.
        CONSISTENCY: its output for a transformed LQ, transformed back.
        TAPS: the encoder's feature maps of S, T and the negatives, which the history model makes.
        CODES: the encoder's code logits of S and T.
    """

    TEACHER = "teacher"
    CONSISTENCY = "consistency"
    TAPS = "taps"
    CODES = "codes"


OF_FIRST_TEACHER = frozenset({Need.TEACHER, Need.CONSISTENCY, Need.TAPS, Need.CODES})
"""The needs that stand for an answer of the first teacher."""


@dataclass(frozen=True)
class TeacherOutput:
    """T(LQ) of one of several teachers."""

    teacher: str


@dataclass(frozen=True)
class FeatureMap:
    """What a module inside a network gives for LQ.

    Attributes:
        network: :data:`STUDENT`, or a teacher's name; "teacher" is the first of them.
        path: of the module, as ``named_modules`` has it: ``body.15``.
    """

    network: str
    path: str
