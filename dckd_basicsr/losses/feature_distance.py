"""How far two images are apart in the feature maps of a classifier."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

__all__ = ["feature_distance"]


def feature_distance(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Return the mean distance of directions of features (Zhang et al., CVPR 2018, arXiv 1801.03924, without weights).

    At every position the channels are brought to length 1, and the squared distance of the two is taken: 0 for the
    same direction, 2 for features that have nothing in common. The mean is over positions, images and levels.

    Args:
        found: feature maps (B, C_i, H_i, W_i), one for each level.
        wanted: as ``found``, of the other images.

    Returns:
        float32 scalar in [0, 4].

    Raises:
        ValueError: there are other numbers of levels.

    >>> import torch
    >>> feature_distance([torch.tensor([[[[3.0]], [[0.0]]]])], [torch.tensor([[[[0.0]], [[5.0]]]])]).item()
    2.0
    """
    if len(found) != len(wanted) or not found:
        raise ValueError(f"both images must have as many feature maps, got {len(found)} and {len(wanted)}")
    pairs = zip(found, wanted, strict=True)
    levels = [(F.normalize(a.float()) - F.normalize(b.float())).pow(2).sum(1).mean() for a, b in pairs]
    return sum(levels[1:], levels[0]) / len(levels)
