"""What terms have in common that compare feature maps of images: the choice of what measures them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from ....errors import CheckpointError, ConfigError
from ...features.vgg import VGGS, FrozenVGG, Inputs, vgg_problem
from ...needs import Need
from ..base import Term

if TYPE_CHECKING:
    from ...sources import Sources
    from ...step import DistillStep

__all__ = ["ImageFeatures", "PerceptualTerm"]

ImageFeatures = Literal["vqgan", "vgg16", "vgg19"]


class PerceptualTerm(Term):
    """A term of the feature maps of images, which the run's VQGAN encoder takes or a VGG of the term's own.

    Args:
        features: ``vqgan`` for the run's encoder, ``vgg16`` or ``vgg19``.
        weights: of a VGG: torchvision's file.
        layers: of a VGG: names of the ReLUs that are compared; the method's own by default.
        inputs: of a VGG: what it is given, see :class:`.FrozenVGG`; the method's own by default.
        level_weights: one for each level, shallow to deep; by default those of the method for a VGG, and for the
            encoder 1 for the deepest level, 1/4 for the one before, then half as much each.
    """

    vgg_layers: ClassVar[tuple[str, ...]]
    """The layers of a VGG in the method's paper or code."""
    vgg_level_weights: ClassVar[tuple[float, ...]]
    """Their weights."""
    vgg_inputs: ClassVar[Inputs]
    """What the VGG is given there."""
    files = ("weights",)

    def __init__(
        self,
        features: ImageFeatures = "vqgan",
        weights: str | None = None,
        layers: Sequence[str] | None = None,
        inputs: Inputs | None = None,
        level_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if features not in get_args(ImageFeatures):
            raise ValueError(f"features must be one of {', '.join(get_args(ImageFeatures))}, got {features!r}")
        if inputs not in (None, *get_args(Inputs)):
            raise ValueError(f"inputs must be one of {', '.join(get_args(Inputs))}, or null, got {inputs!r}")
        if level_weights is not None and (min(level_weights, default=0) < 0 or not any(level_weights)):
            raise ValueError(f"level_weights must be at least 0, and one of them more, got {list(level_weights)}")
        self.features: ImageFeatures = features
        self.weights, self.inputs = weights, inputs or self.vgg_inputs
        self.layers = tuple(layers) if layers is not None else self.vgg_layers
        self.level_weights = None if level_weights is None else tuple(level_weights)
        self.vgg: FrozenVGG | None = None
        if self.measures_by_encoder:
            given = {"weights": weights, "layers": layers, "inputs": inputs}
            if wrong := [key for key, value in given.items() if value is not None]:
                raise ValueError(f"{', '.join(wrong)} mean something of a VGG only; set features: vgg16 or vgg19")
            return
        if weights is None:
            raise ValueError(f"features: {features} needs `weights`: the path of {VGGS[features].source}")
        if problem := vgg_problem(features, self.layers):
            raise ValueError(problem)
        if self.level_weights is None and self.layers == self.vgg_layers:
            self.level_weights = self.vgg_level_weights
        if self.level_weights is None or len(self.level_weights) != len(self.layers):
            count = "none" if self.level_weights is None else str(len(self.level_weights))
            raise ValueError(f"level_weights must have one entry for each of {len(self.layers)} layers, has {count}")

    @property
    def measures_by_encoder(self) -> bool:
        """Whether the run's encoder takes the features."""
        return self.features == "vqgan"

    @property
    def needs(self) -> frozenset[Hashable]:
        return frozenset({Need.STUDENT_TAPS}) if self.measures_by_encoder else frozenset()

    def join(self, student: nn.Module, sources: Sources) -> None:
        """Read the VGG's weights, or see how many levels the encoder has.

        Raises:
            ConfigError: the file is missing or another one, or there are more or fewer weights than levels.
        """
        if not self.measures_by_encoder:
            try:
                self.vgg = FrozenVGG(self.features, self.layers, self.weights, self.inputs, sources.frozen_region)
            except CheckpointError as error:
                raise ConfigError(f"{self.label}: `weights` of features: {self.features}: {error}") from error
            return
        assert sources.encoder is not None  # the needs ask for it
        levels = sources.encoder.vqgan.num_taps
        if self.level_weights is None:
            self.level_weights = (*(2.0 ** (level - levels) for level in range(levels - 1)), 1.0)
        if len(self.level_weights) != levels:
            raise ConfigError(
                f"{self.label}: level_weights has {len(self.level_weights)} entries, but the VQGAN has {levels} "
                "levels; give one weight for each, shallow to deep, or leave it out"
            )

    def of_student(self, step: DistillStep) -> tuple[Tensor, ...]:
        """Return the levels of S, with gradient to S."""
        return step.student_taps if self.vgg is None else self.vgg(step.student)

    def of_teacher_and(self, step: DistillStep, images: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return the levels of T and of other images in [0, 1], (N, C, H, W), without gradient."""
        if self.vgg is None:
            return step.teacher_taps, step.reference_taps(images)
        count = len(step.teacher)
        levels = self.vgg.reference(torch.cat([step.teacher, images]))
        return tuple(level[:count] for level in levels), tuple(level[count:] for level in levels)

    def of_images(self, step: DistillStep, images: Tensor) -> tuple[Tensor, ...]:
        """Return the levels of images in [0, 1], (N, C, H, W), without gradient."""
        return step.reference_taps(images) if self.vgg is None else self.vgg.reference(images)
