"""CSD's contrast: towards the teacher and away from the other images of the batch, as bicubic upsampling shows them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ....errors import ConfigError
from ....losses import mean_distances
from ....losses.contrastive_loss import ContrastTerms
from ...features.vgg import Inputs
from ...needs import Need
from ..base import register_term
from .perceptual import ImageFeatures, PerceptualTerm

if TYPE_CHECKING:
    from ...step import DistillStep

__all__ = ["CSDTerm", "bicubic_negatives", "csd_terms", "distance_to_others"]

Levels = Sequence[Tensor]


def bicubic_negatives(lq: Tensor, size: Sequence[int]) -> Tensor:
    """Return LQ images enlarged as CSD does it: PyTorch's bicubic (a = -0.75), not clamped; as they are at scale 1.

    Args:
        lq: (B, C, h, w).
        size: (H, W) of the output.
    """
    if tuple(size) == tuple(lq.shape[-2:]):
        return lq
    return F.interpolate(lq, size=tuple(size), mode="bicubic", align_corners=False)


class _DistanceToOthers(torch.autograd.Function):
    """The summed distances of each image to those that stand 1, 2, ... places behind it, with a gradient to the image.

    The images behind are views of one tensor, and the backward pass takes the signs anew: copies of the whole batch
    and differences for each place would be most of a step's memory at full resolution.
    """

    @staticmethod
    def forward(ctx: Any, one: Tensor, others: Tensor, count: int) -> Tensor:
        ctx.save_for_backward(one, others)
        ctx.count = count
        exact = one.to(torch.promote_types(one.dtype, torch.float32))
        total = exact.new_zeros(())
        for mine, theirs in _shifted(exact, others, count):
            total = total + (mine - theirs).abs_().sum()
        return total / one.numel()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        one, others = ctx.saved_tensors
        found = torch.zeros_like(one)
        for (target, _), (mine, theirs) in zip(
            _shifted(found, others, ctx.count), _shifted(one, others, ctx.count), strict=True
        ):
            target.add_(torch.sub(mine, theirs).sign_())
        return found.mul_(gradients[0] / one.numel()), None, None


def _shifted(one: Tensor, others: Tensor, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield views that pair image b with image b + k, counted round, for k = 1 to ``count``."""
    for shift in range(1, count + 1):
        rest = len(one) - shift
        yield one[:rest], others[shift:]
        yield one[rest:], others[:shift]


def distance_to_others(one: Tensor, others: Tensor, count: int) -> Tensor:
    """Return sum_k mean |one_b - others_(b + k)| for k = 1 to ``count``, the mean over batch and features.

    Args:
        one: (B, ...).
        others: of the same shape; gets no gradient.
        count: 1 to B - 1, so that no image meets the other at its own place.
    """
    if not 0 < count < len(one):
        raise ValueError(f"{len(one)} images have 1 to {len(one) - 1} others each, not {count}")
    found: Tensor = _DistanceToOthers.apply(one, others, count)
    return found


def csd_terms(
    student: Levels, teacher: Levels, others: Levels, weights: Sequence[float], num: int = 10, eps: float = 1e-7
) -> ContrastTerms:
    r"""CSD's contrastive loss (Wang et al., IJCAI 2021, arXiv 2105.11683) with the other images' features as negatives.

    .. math:: L = \sum_i w_i \frac{d(f_i(S), f_i(T))}{\sum_k d(f_i(S), f_i(n_k)) + \epsilon}

    with ``d`` the mean absolute difference over the batch, and ``n_k`` of an image the one that stands k places behind
    it. The published code sums over K negatives that are the same for all images, so that one may meet its own. Where
    the batch has fewer than ``num`` others, the sum is scaled up to ``num``: the weight then means the same.

    Args:
        student: levels of S, each (B, C_i, H_i, W_i), B at least 2.
        teacher: levels of T, of these shapes; they get no gradient.
        others: levels of the bicubic images, in the batch's order.
        weights: one for each level.
        num: negatives of each image, K.
        eps: added to the denominator.

    Returns:
        loss, distance to the teacher, mean distance to a negative: float32 scalars, >= 0.
    """
    used = min(num, len(student[0]) - 1)
    loss = positive = negative = torch.zeros((), device=student[0].device)
    for weight, mine, theirs, behind in zip(weights, student, teacher, others, strict=True):
        (to_teacher,) = mean_distances(mine, [theirs.detach()])
        to_others = distance_to_others(mine, behind.detach(), used) * (num / used)
        loss = loss + weight * to_teacher / (to_others + eps)
        positive = positive + weight * to_teacher.detach()
        negative = negative + weight * to_others.detach() / num
    return ContrastTerms(loss, positive, negative)


@register_term("csd")
class CSDTerm(PerceptualTerm):
    """Contrast with the batch's other images, bicubic, as fixed negatives (Wang et al., IJCAI 2021, arXiv 2105.11683).

    In CSD the student is a part of its teacher and both train; here the teacher is given and frozen. The log has the
    distance to the teacher as ``d_csd_teacher`` and the mean one to a negative as ``d_csd_negative``.

    Args:
        features: what measures images: ``vqgan``, the run's encoder, or ``vgg19``, as published, or ``vgg16``.
        weights: of a VGG: the path of torchvision's file.
        layers: of a VGG: the ReLUs that are compared, relu1_1, relu2_1, relu3_1, relu4_1, relu5_1 by default.
        inputs: of a VGG: ``bytes``, as published, for images in [0, 255]; ``imagenet`` for normalised ones; ``unit``
            for [0, 1]. null is ``bytes``.
        level_weights: one for each level, shallow to deep; 1/32, 1/16, 1/8, 1/4, 1 by default.
        num: negatives of each image, K; at most as many as the batch has other images.
    """

    vgg_layers = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    vgg_level_weights = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
    vgg_inputs = "bytes"
    least_images = 2

    def __init__(
        self,
        features: ImageFeatures = "vqgan",
        weights: str | None = None,
        layers: Sequence[str] | None = None,
        inputs: Inputs | None = None,
        level_weights: Sequence[float] | None = None,
        num: int = 10,
    ) -> None:
        super().__init__(features, weights, layers, inputs, level_weights)
        if num < 1:
            raise ValueError(f"num must be at least 1, got {num}")
        self.num = num

    @property
    def needs(self) -> frozenset[Hashable]:
        return super().needs | {Need.TEACHER_TAPS if self.measures_by_encoder else Need.TEACHER}

    def forward(self, step: DistillStep) -> Tensor:
        if len(step.lq) < 2:
            raise ConfigError(
                f"{self.label} takes its negatives from the other images of a batch, but this part of a batch has one "
                "image; raise batch_size_per_gpu or lower train.accumulate, so that each part has two or more"
            )
        assert self.level_weights is not None  # since it joined the networks
        # First what needs no gradient: what it takes in passing is free before the student's graph is there to stay.
        teacher, others = self.of_teacher_and(step, bicubic_negatives(step.lq, step.teacher.shape[-2:]))
        terms = csd_terms(self.of_student(step), teacher, others, self.level_weights, self.num)
        own = self.label.removeprefix("l_")
        step.measure(f"d_{own}_teacher", terms.positive)
        step.measure(f"d_{own}_negative", terms.negative)
        return terms.loss
