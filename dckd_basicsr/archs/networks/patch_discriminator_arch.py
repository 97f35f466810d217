"""A discriminator of patches (Isola et al., CVPR 2017, arXiv 1611.07004)."""

from __future__ import annotations

from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from ...errors import ConfigError
from ...install import register

__all__ = ["PatchDiscriminator"]

_GROUPS = 32


@register(ARCH_REGISTRY)
class PatchDiscriminator(nn.Module):
    """Judge every patch of an image by itself: one score for each, high for real ones.

    A 4x4 convolution of stride 2 for each level and two of stride 1 after them; with three levels a score sees 70x70
    pixels. It normalises by groups, where the paper does by batches: a score depends on its own image alone then, on
    however many processes, and there are no running means.

    Args:
        num_in_ch: channels of the images.
        num_feat: channels of the first level, a multiple of 32; they double with each up to eight times as many.
        num_levels: how often the resolution is halved.

    Raises:
        ConfigError: channels that do not divide into groups, or no level.
    """

    def __init__(self, num_in_ch: int = 3, num_feat: int = 64, num_levels: int = 3) -> None:
        super().__init__()
        if num_feat < 1 or num_feat % _GROUPS or num_levels < 1:
            raise ConfigError(
                f"PatchDiscriminator needs a num_feat that is a multiple of {_GROUPS} and at least one of num_levels, "
                f"got {num_feat} and {num_levels}"
            )
        layers: list[nn.Module] = [nn.Conv2d(num_in_ch, num_feat, 4, 2, 1), nn.LeakyReLU(0.2)]
        width = num_feat
        for level in range(1, num_levels + 1):
            before, width = width, num_feat * min(2**level, 8)
            stride = 2 if level < num_levels else 1
            layers += [nn.Conv2d(before, width, 4, stride, 1, bias=False)]
            layers += [nn.GroupNorm(_GROUPS, width), nn.LeakyReLU(0.2)]
        layers.append(nn.Conv2d(width, 1, 4, 1, 1))
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores of images (B, num_in_ch, H, W), (B, 1, h, w) of about H / 2^num_levels pixels a side."""
        return self.layers(images)
