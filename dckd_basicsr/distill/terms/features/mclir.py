"""MCLIR's model contrast: away from what several older states of the student make of the same image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ....losses import mean_distances
from ...features.vgg import Inputs
from ...history import HistoryModel
from ...settings import HistorySettings
from ..base import register_term
from .perceptual import ImageFeatures, PerceptualTerm

if TYPE_CHECKING:
    from ...sources import Sources
    from ...step import DistillStep

__all__ = ["MCLIRTerm", "mclir_loss"]

Levels = Sequence[Tensor]


def mclir_loss(student: Levels, negatives: Sequence[Levels], weights: Sequence[float]) -> Tensor:
    r"""MCLIR's subtracted distance to the negatives (Wu et al., AAAI 2024, arXiv 2309.06023), without its weight.

    .. math:: L = -\frac{1}{M} \sum_m \sum_l c_l\, d(f_l(S), f_l(N_m))

    with ``d`` the mean absolute difference over the batch. Image by image: no image is compared with another one.
    **It has no lower bound.**

    Args:
        student: levels of S, each (B, C_l, H_l, W_l).
        negatives: of every negative model such levels; they get no gradient.
        weights: one for each level.

    Returns:
        float32 scalar, <= 0.

    >>> s, n = [torch.zeros(1, 1, 2, 2)], [[torch.ones(1, 1, 2, 2)], [torch.full((1, 1, 2, 2), 4.0)]]
    >>> float(mclir_loss(s, n, [0.5]))
    -1.25
    """
    found = torch.zeros((), device=student[0].device)
    for weight, mine, *theirs in zip(weights, student, *negatives, strict=True):
        distances = mean_distances(mine, [each.detach() for each in theirs])
        found = found - weight * torch.stack(distances).mean()
    return found


@register_term("mclir")
class MCLIRTerm(PerceptualTerm):
    """Away from M older states of the student, each of another age (Wu et al., AAAI 2024, arXiv 2309.06023).

    No teacher is needed. What is minimised is minus a distance, which has no lower bound: the weight must stay so small
    that the term never outweighs those that pull the student towards its target (docs/method/terms.md).

    Each negative model starts as ``decay`` times weights drawn at random and the rest the student's: modules that have
    ``reset_parameters`` are drawn anew by it, other parameters start as the student's. The published adaptive form,
    which updates one model in turn whenever the student's error exceeds a bound, is left out.

    Args:
        features: what measures images: ``vqgan``, the run's encoder, or ``vgg16``, as published, or ``vgg19``.
        weights: of a VGG: the path of torchvision's file.
        layers: of a VGG: the ReLUs that are compared, relu1_2, relu2_2, relu3_3 by default.
        inputs: of a VGG: ``imagenet``, as published, for normalised images; ``bytes`` for [0, 255]; ``unit`` for
            [0, 1]. null is ``imagenet``.
        level_weights: one for each level, shallow to deep; of a VGG 0.2, 0.3, 0.5 by default, of the encoder the
            contrast's.
        intervals: one for each negative model: it follows the student every so many iterations.
        decay: what a negative model keeps of itself then; the rest is the student's.
    """

    vgg_layers = ("relu1_2", "relu2_2", "relu3_3")
    vgg_level_weights = (0.2, 0.3, 0.5)
    vgg_inputs = "imagenet"
    remembered = ("past.",)
    bounded = False

    def __init__(
        self,
        features: ImageFeatures = "vqgan",
        weights: str | None = None,
        layers: Sequence[str] | None = None,
        inputs: Inputs | None = None,
        level_weights: Sequence[float] | None = None,
        intervals: Sequence[int] = (1000, 500, 200, 100),
        decay: float = 0.1,
    ) -> None:
        super().__init__(features, weights, layers, inputs, level_weights)
        if not intervals or min(intervals) < 1:
            raise ValueError(f"intervals must be numbers of iterations, one for each model, got {list(intervals)}")
        self.settings = [HistorySettings(decay=decay, schedule=((every, every),)) for every in intervals]
        self.past = nn.ModuleList()

    def join(self, student: nn.Module, sources: Sources) -> None:
        super().join(student, sources)
        for index, settings in enumerate(self.settings):
            model = HistoryModel(student, settings)
            _draw_anew(model.net, sources.generators.seed + index)
            model.update(student)
            self.past.append(model)

    def follow(self, iteration: int, student: nn.Module) -> None:
        for model in self.past:
            assert isinstance(model, HistoryModel)
            if model.is_due(iteration):
                model.update(student)

    def forward(self, step: DistillStep) -> Tensor:
        assert self.level_weights is not None  # since it joined the networks
        with step.sources.frozen_region():
            outputs = [model(step.lq).float() for model in self.past]
        levels = [level.split(len(step.lq)) for level in self.of_images(step, torch.cat(outputs))]
        return mclir_loss(self.of_student(step), list(zip(*levels)), self.level_weights)


def _draw_anew(net: nn.Module, seed: int) -> None:
    """Draw a network's parameters by the layers' own rules, in place; no stream of random numbers is touched."""
    device = next(net.parameters()).device
    net.cpu()  # the device's stream stays where it is, and the numbers are the same everywhere
    with torch.random.fork_rng(devices=()):
        torch.random.default_generator.manual_seed(seed)
        for module in net.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
    net.to(device)
