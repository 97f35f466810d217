"""What a loss term may ask of a step beside student output; known beforehand, so that passes are shared."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["OF_ENCODER", "OF_FIRST_TEACHER", "OF_TAPS", "STUDENT", "FeatureMap", "Need", "TeacherOutput"]

STUDENT = "student"
"""What feature maps call the student; teachers go by their names."""


class Need:
    """Needs without a parameter.

    Attributes:
        GT: the ground truth, which a training set of inputs alone has not.
        TEACHER: T(LQ) of the first teacher.
        TEACHERS: T(LQ) of every teacher that the option file has.
        CONSISTENCY: its output for a transformed LQ, transformed back.
        TAPS: the encoder's feature maps of S, T and the negatives, which the history model makes.
        STUDENT_TAPS: the encoder's feature maps of S alone.
        TEACHER_TAPS: those of T.
        CODES: the encoder's code logits of S and T.
    """

    GT = "gt"
    TEACHER = "teacher"
    TEACHERS = "teachers"
    CONSISTENCY = "consistency"
    TAPS = "taps"
    STUDENT_TAPS = "student taps"
    TEACHER_TAPS = "teacher taps"
    CODES = "codes"


OF_FIRST_TEACHER = frozenset({Need.TEACHER, Need.TEACHERS, Need.CONSISTENCY, Need.TAPS, Need.TEACHER_TAPS, Need.CODES})
"""The needs that stand for an output of the first teacher."""

OF_TAPS = frozenset({Need.TAPS, Need.STUDENT_TAPS, Need.TEACHER_TAPS})
"""The needs that stand for feature maps of the encoder."""

OF_ENCODER = OF_TAPS | {Need.CODES}
"""The needs that stand for a measurement of the encoder."""


@dataclass(frozen=True)
class TeacherOutput:
    """T(LQ) of one of several teachers."""

    teacher: str


@dataclass(frozen=True)
class FeatureMap:
    """What a module inside a network gives for LQ.

    Attributes:
        network: :data:`STUDENT`, or a teacher's name; "teacher" is the first of them.
        path: of the module, as ``named_modules`` has it: ``body.15``; or what else ``positions.py`` understands.
    """

    network: str
    path: str
