"""A feature term of the tests' own, with a layer that trains, as somebody who writes one would have it."""

from __future__ import annotations

from typing import Any

from torch import nn

from dckd_basicsr.distill import STUDENT, TERMS, FeatureMap, Term, register_term

EDSR = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 2, "upscale": 2}
WIDE = {**EDSR, "num_feat": 12, "num_block": 3}


def network(options: dict[str, Any]) -> nn.Module:
    """Build a network with weights of chance."""
    from basicsr.archs import build_network

    return build_network(options)


@register_term("regressed")
class RegressedTerm(Term):
    """The squared distance between a feature map of S, through a 1x1 layer, and one of a teacher.

    Args:
        student: path of a module of S.
        teacher: path of a module of the teacher.
        taught_by: name of the teacher.
    """

    def __init__(self, student: str = "body.1", teacher: str = "body.2", taught_by: str = "teacher") -> None:
        super().__init__()
        self.student, self.teacher = FeatureMap(STUDENT, student), FeatureMap(taught_by, teacher)

    @property
    def needs(self):
        return frozenset({self.student, self.teacher})

    def setup(self, shapes):
        one, other = shapes[self.student], shapes[self.teacher]
        self.regressor = nn.Conv2d(one[1], other[1], 1) if len(one) == 4 else nn.Linear(one[2], other[2])

    def forward(self, step):
        found = self.regressor(step.feature(self.student))
        step.measure("d_student", found.abs().mean())
        return (found - step.feature(self.teacher)).square().mean()


del TERMS["regressed"]  # tests that want it there take the fixture `regressed`
