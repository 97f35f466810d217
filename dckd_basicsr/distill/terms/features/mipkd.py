"""MiPKD: feature maps of S and T are mixed, and both networks go on with the mixture (arXiv 2404.02573)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...features import Replacement, as_map
from ...needs import STUDENT, Need, TeacherOutput
from ..base import register_term
from .feature import POSITIONS, FeatureTerm
from .prior_mixer import Mixed, PriorMixer

if TYPE_CHECKING:
    from ...sources import Sources
    from ...step import DistillStep

__all__ = ["MiPKDTerm", "students_part"]


def students_part(batch: int, share: float) -> int:
    """Return how many of ``batch`` samples go on through the student: at least one, and not all of two or more."""
    return 1 if batch == 1 else min(max(round(batch * share), 1), batch - 1)


@register_term("mipkd")
class MiPKDTerm(FeatureTerm):
    """Multi-granularity mixture of priors: L_feat and L_block of MiPKD, approximately (ICLR 2025, arXiv 2404.02573).

    The authors' code is not public, and what their text leaves open is chosen here; all of it is an option. At each
    position, encoders of S and T give latent maps, a random mask takes each entry from one of them, and the mixture is
    decoded to F^ (:class:`.PriorMixer`). The term is::

        feature_weight     * sum over positions of mean |F^ - F_T|
        autoencoder_weight * sum over positions of mean |Dec(Enc(F)) - F|
        block_weight       * sum over block positions of mean |O - T|

    O is the image when a network goes on from the position with F^ in its own width, the student or the teacher. Which
    one is drawn per image: the first part of the batch, which is shuffled, goes through the student, the rest through
    the teacher, so that every layer gets a gradient in each step. A batch of one goes through the student.

    The layers train with the student and are saved with the training state, never with the student. Beside the passes
    that other terms share, each block position costs one pass of every sample through one of the networks.

    Args:
        student: positions of the student's maps: shares of the depth (``1/3``), ``end``, module paths.
        teacher: positions of the teacher's, one for each of the student's; the student's by default.
        block_positions: those of ``student`` from which networks go on; by default the last but one.
        width: channels of the latent maps.
        mask_ratio: probability, of each entry of a latent map, of being the student's.
        student_share: share of the batch that goes on through the student.
        feature_weight: of the distance of F^ to the teacher's map; the paper's best is 1.
        autoencoder_weight: of the distance of what is decoded of a network's own latent map to its map, of T at all
            positions and, for the decoder alone, of S at block positions.
        block_weight: of the distance of O to T; the paper's best is 0.1. With 0 networks do not go on.
        relative: divide distances of feature maps by the mean magnitude of the map that they are to, so that weights
            mean the same in networks with small and with large features.
        taught_by: name of the teacher, of several; the first by default.
    """

    def __init__(
        self,
        student: Sequence[str] = POSITIONS,
        teacher: Sequence[str] | None = None,
        block_positions: Sequence[str] | None = None,
        width: int = 64,
        mask_ratio: float = 0.5,
        student_share: float = 0.5,
        feature_weight: float = 1.0,
        autoencoder_weight: float = 1.0,
        block_weight: float = 0.1,
        relative: bool = False,
        taught_by: str | None = None,
    ) -> None:
        super().__init__(student, teacher, normalize=False, taught_by=taught_by)
        blocks = tuple(student[-2:][:1] if block_positions is None else block_positions)
        if other := [each for each in blocks if each not in student]:
            raise ValueError(f"block_positions must be among those of student, {', '.join(student)}; got {other[0]!r}")
        if block_weight and not blocks:
            raise ValueError("block_positions is empty, so no network goes on; name one, or set block_weight to 0")
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        if not 0 < mask_ratio <= 1:  # with 0 there is nothing of the student in a mixture
            raise ValueError(f"mask_ratio must be a probability, more than 0 and at most 1, got {mask_ratio}")
        if not 0 < student_share < 1:
            raise ValueError(f"student_share must be more than 0 and less than 1, got {student_share}")
        if feature_weight <= 0:  # the encoders would be without a gradient
            raise ValueError(f"feature_weight must be more than 0, got {feature_weight}")
        for key, value in (("autoencoder_weight", autoencoder_weight), ("block_weight", block_weight)):
            if value < 0:
                raise ValueError(f"{key} must be at least 0, got {value}")
        self.continued = frozenset(i for i, each in enumerate(student) if block_weight and each in blocks)
        """The indices of the positions from which networks go on."""
        self.width = width
        self.mask_ratio = mask_ratio
        self.student_share = student_share
        self.feature_weight = feature_weight
        self.autoencoder_weight = autoencoder_weight
        self.block_weight = block_weight
        self.relative = relative
        self.mixers = nn.ModuleList()
        self._replacements: dict[int, tuple[Replacement, Replacement]] = {}

    @property
    def needs(self) -> frozenset[Hashable]:
        output = TeacherOutput(self.taught_by) if self.taught_by else Need.TEACHER
        return super().needs | {output} if self.continued else super().needs

    def join(self, student: nn.Module, sources: Sources) -> None:
        teacher = sources.teachers[sources.meant(self.taught_by)]
        for i in sorted(self.continued):
            ours, theirs = self.pairs[i]
            self._replacements[i] = (
                Replacement(student, ours.path, STUDENT),
                Replacement(teacher, theirs.path, "teacher"),
            )

    def build(self, widths: Sequence[tuple[int, int]]) -> None:
        self.mixers = nn.ModuleList(
            PriorMixer(ours, theirs, self.width, i in self.continued) for i, (ours, theirs) in enumerate(widths)
        )

    def forward(self, step: DistillStep) -> Tensor:
        features, again, blocks = [], [], []
        for i, (one, other) in enumerate(self.pairs):
            theirs = as_map(step.feature(other), step.lq)
            ours = as_map(step.feature(one), step.lq)
            mixed = self.mixers[i](ours, theirs, self._mask(step, ours))
            features.append(self._distance(mixed.for_teacher, theirs))
            again.append(self._distance(mixed.teacher_again, theirs))
            if mixed.student_again is not None:
                again.append(self._distance(mixed.student_again, ours.detach()))
                blocks.append(F.l1_loss(self._continued(i, step, mixed), step.taught_by(self.taught_by)))
        total = self.feature_weight * self._logged(step, "features", features)
        if self.autoencoder_weight:
            total = total + self.autoencoder_weight * self._logged(step, "autoencoder", again)
        return total + self.block_weight * self._logged(step, "blocks", blocks) if blocks else total

    def _mask(self, step: DistillStep, features: Tensor) -> Tensor:
        shape = (len(features), self.width, *features.shape[2:])
        generator = step.sources.generators.on(features.device)
        return torch.rand(shape, generator=generator, device=features.device) < self.mask_ratio

    def _distance(self, found: Tensor, target: Tensor) -> Tensor:
        distance = F.l1_loss(found, target)
        return distance / target.abs().mean().clamp(min=1e-8) if self.relative else distance

    def _continued(self, index: int, step: DistillStep, mixed: Mixed) -> Tensor:
        """Return O: both networks' images when they go on with the mixture, (B, C, H, W), the student's part first."""
        (ours, theirs), (in_student, in_teacher) = self.pairs[index], self._replacements[index]
        assert mixed.for_student is not None
        count = students_part(len(step.lq), self.student_share)
        with in_student.by(_as_given(mixed.for_student[:count], step.feature(ours))):
            outputs = [step.restore(step.lq[:count])]
        if count < len(step.lq):
            teacher = step.sources.teachers[step.sources.meant(self.taught_by)]
            given = _as_given(mixed.for_teacher[count:], step.feature(theirs))
            with in_teacher.by(given), step.sources.frozen_region():  # with a gradient through it, to the mixture
                outputs.append(teacher(step.lq[count:]).float())
        return torch.cat(outputs)

    def _logged(self, step: DistillStep, name: str, parts: list[Tensor]) -> Tensor:
        total = torch.stack(parts).sum()
        step.measure(f"{self.label.removeprefix('l_')}_{name}", total)
        return total


def _as_given(features: Tensor, like: Tensor) -> Tensor:
    """Return a map (B, C, h, w) in the layout of ``like``."""
    return features if like.dim() == 4 else features.flatten(2).mT.contiguous()
