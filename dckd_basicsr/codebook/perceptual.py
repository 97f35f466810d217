"""A perceptual loss by torchvision's VGGs, from a weight file: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from ..distill.features.vgg import FrozenVGG
from ..install import register
from ..losses.feature_distance import feature_distance

__all__ = ["VGGFeatureLoss"]

_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")


@register(LOSS_REGISTRY)
class VGGFeatureLoss(nn.Module):
    """:func:`.feature_distance` of two images in the feature maps of a VGG, times ``loss_weight``.

    Args:
        weights: torchvision's file of the network's weights.
        features: which network.
        layers: names of the ReLUs that are compared.
        loss_weight: of the result.

    Raises:
        CheckpointError: the file is missing, damaged or another network's; says which is expected.
        ValueError: there are no such layers.
    """

    def __init__(
        self,
        weights: str,
        features: Literal["vgg16", "vgg19"] = "vgg16",
        layers: Sequence[str] = _LAYERS,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.vgg = FrozenVGG(features, layers, weights)

    def forward(self, made: Tensor, image: Tensor) -> Tensor:
        """Return the loss of images (B, C, H, W) in [0, 1], with gradient to ``made``."""
        return self.loss_weight * feature_distance(self.vgg(made), self.vgg.reference(image))
