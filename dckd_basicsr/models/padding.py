"""Running a network on an image whose size is no multiple of what it needs."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from ..archs.facts import ArchFacts

__all__ = ["pad_to", "run_padded"]


def pad_to(x: Tensor, facts: ArchFacts) -> Tensor:
    """Reflect-pad right and bottom so that height and width are multiples of ``facts.multiple_of``.

    Args:
        x: images (B, C, H, W). Where an image is too small to reflect, the border is repeated.
    """
    pads = [_target(size, facts) - size for size in (x.shape[-1], x.shape[-2])]
    if not any(pads):
        return x
    reflectable = pads[0] < x.shape[-1] and pads[1] < x.shape[-2]
    return F.pad(x, (0, pads[0], 0, pads[1]), mode="reflect" if reflectable else "replicate")


def run_padded(net: nn.Module, x: Tensor, facts: ArchFacts) -> Tensor:
    """Pad, run, and crop the output back to ``facts.scale`` times the input's size."""
    height, width = x.shape[-2:]
    return net(pad_to(x, facts))[..., : height * facts.scale, : width * facts.scale]


def _target(size: int, facts: ArchFacts) -> int:
    return math.ceil(max(size, facts.minimum) / facts.multiple_of) * facts.multiple_of
