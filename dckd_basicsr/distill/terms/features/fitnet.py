"""FitNet: the features themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from ....errors import ConfigError
from ..base import register_term
from .feature import POSITIONS, FeatureTerm, Normalize

if TYPE_CHECKING:
    from ...sources import Sources

__all__ = ["FitnetTerm"]

Form = Literal["regressor", "channel_mean", "raw"]
Distance = Literal["l1", "l2"]


@register_term("fitnet")
class FitnetTerm(FeatureTerm):
    """Feature maps of S towards those of T (FitNets, Romero et al., ICLR 2015, arXiv 1412.6550).

    Args:
        student: positions of the student's maps: shares of the depth (``1/3``), ``end``, module paths.
        teacher: positions of the teacher's, one for each of the student's; the student's by default.
        normalize: scale every position to a root mean square of 1 over its channels; auto does so with the maps of a
            network with layer normalization, S and T each for itself, but with both where no regressor is in between.
        taught_by: name of the teacher, of several; the first by default.
        form: regressor: a 1x1 convolution of each position, which trains and is no part of the student, takes its map
            to the teacher's width; channel_mean: the mean over channels of either (DUKD's code, arXiv 2309.14162); raw:
            the maps as they are, of one width (FAKD's code, He et al., ICIP 2020).
        distance: l1: mean absolute difference, as both of these codes have it; l2: mean squared one, the original's.
    """

    def __init__(
        self,
        student: Sequence[str] = POSITIONS,
        teacher: Sequence[str] | None = None,
        normalize: Normalize = "auto",
        taught_by: str | None = None,
        form: Form = "regressor",
        distance: Distance = "l1",
    ) -> None:
        super().__init__(student, teacher, normalize, taught_by)
        for key, value, known in (("form", form, get_args(Form)), ("distance", distance, get_args(Distance))):
            if value not in known:
                raise ValueError(f"{key} must be one of {', '.join(known)}, got {value!r}")
        self.form = form
        self.loss = F.l1_loss if distance == "l1" else F.mse_loss
        self.regressors = nn.ModuleList()

    def join(self, student: nn.Module, sources: Sources) -> None:
        super().join(student, sources)
        if self.form != "regressor":  # without a layer in between both maps have one scale, or none
            self.normalized = (any(self.normalized), any(self.normalized))

    def build(self, widths: Sequence[tuple[int, int]]) -> None:
        if self.form == "regressor":
            self.regressors = nn.ModuleList(nn.Conv2d(ours, theirs, 1) for ours, theirs in widths)
        for (ours, theirs), (one, other) in zip(self.pairs, widths):
            if self.form == "raw" and one != other:
                raise ConfigError(
                    f"the term {self.label} with form raw compares feature maps of one width, but the student's "
                    f"'{ours.path}' has {one} channels and the teacher's '{theirs.path}' {other}; use form: regressor"
                )

    def distance(self, index: int, student: Tensor, teacher: Tensor) -> Tensor:
        if self.form == "regressor":
            student = self.regressors[index](student)
        elif self.form == "channel_mean":
            student, teacher = student.mean(1), teacher.mean(1)
        return self.loss(student, teacher)
