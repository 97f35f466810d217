"""Running a network on an image whose size is no multiple of what it needs."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..archs.facts import ArchFacts

__all__ = ["pad_to", "run_padded"]


def pad_to(x: Tensor, facts: ArchFacts) -> Tensor:
    """Reflect-pad right and bottom to the size that ``facts`` ask for: multiples, a least side, a square.

    Args:
        x: images (B, C, H, W). Where an image is too small to reflect, the border is repeated.
        facts: of the network that takes them.
    """
    height, width = facts.padded(x.shape[-2], x.shape[-1])
    pads = [width - x.shape[-1], height - x.shape[-2]]
    if not any(pads):
        return x
    reflectable = pads[0] < x.shape[-1] and pads[1] < x.shape[-2]
    return F.pad(x, (0, pads[0], 0, pads[1]), mode="reflect" if reflectable else "replicate")


def run_padded(net: nn.Module, x: Tensor, facts: ArchFacts) -> Tensor:
    """Pad, run, and crop the output back to ``facts.scale`` times the input's size."""
    height, width = x.shape[-2:]
    return net(pad_to(x, facts))[..., : height * facts.scale, : width * facts.scale]
