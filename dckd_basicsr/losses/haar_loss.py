"""Haar wavelet bands, and the L1 loss between them (MTKD: Jiang et al., ECCV 2024, arXiv 2404.09571)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from ..install import register

__all__ = ["HaarBands", "HaarLoss", "haar_bands", "haar_l1", "haar_step"]


class HaarBands(NamedTuple):
    """The bands of an image, orthonormal: they hold its squares, and each level doubles the range of ``low``.

    Attributes:
        low: approximation of the last level, (..., h, w).
        details: per level, the finest first, (..., 3, h, w): differences along the height, the width, and both.
    """

    low: Tensor
    details: tuple[Tensor, ...]


def haar_step(images: Tensor) -> tuple[Tensor, Tensor]:
    r"""One orthonormal Haar step: on a block of pixels (a b / c d),

    .. math:: L = \tfrac{a+b+c+d}{2}, \quad
        D = \left(\tfrac{a+b-c-d}{2}, \tfrac{a-b+c-d}{2}, \tfrac{a-b-c+d}{2}\right)

    Args:
        images: (..., H, W). An odd size gets a row of zeros at the bottom, or a column at the right.

    Returns:
        L, (..., ceil(H / 2), ceil(W / 2)), and D, (..., 3, ceil(H / 2), ceil(W / 2)).
    """
    height, width = images.shape[-2:]
    images = F.pad(images, (0, width % 2, 0, height % 2))
    top, bottom = images[..., 0::2, :], images[..., 1::2, :]
    above, below = top[..., 0::2] + top[..., 1::2], bottom[..., 0::2] + bottom[..., 1::2]
    across, under = top[..., 0::2] - top[..., 1::2], bottom[..., 0::2] - bottom[..., 1::2]
    details = torch.stack([above - below, across + under, across - under], dim=-3)
    return (above + below) / 2, details / 2


def haar_bands(images: Tensor, levels: int) -> HaarBands:
    """Return the bands of several steps, each on the approximation of the one before.

    Args:
        images: (..., H, W), at least 2 pixels on each side; float32 inside, or float64 where they are.
        levels: how many steps. Where a side has shrunk to one pixel no further one is taken: 16 pixels have four.

    Raises:
        ValueError: no level is asked for, or a side is shorter than 2 pixels.
    """
    height, width = images.shape[-2:]
    if levels < 1 or min(height, width) < 2:
        raise ValueError(
            f"Haar bands need at least one level, and images of 2 pixels on each side, got levels={levels} and "
            f"{height}x{width}"
        )
    low = images if images.dtype == torch.float64 else images.float()
    details = []
    for _ in range(levels):
        if min(low.shape[-2:]) < 2:
            break
        low, found = haar_step(low)
        details.append(found)
    return HaarBands(low, tuple(details))


def haar_l1(student: Tensor, target: Tensor, levels: int = 4) -> Tensor:
    r"""Mean absolute differences of Haar bands, added over levels.

    .. math:: L = \operatorname{mean}|LL_J^S - LL_J^T| + \sum_{l=1}^{J} \operatorname{mean}|D_l^S - D_l^T|

    with one mean over batch, channels, positions and a level's three detail bands together; bands have no weights of
    their own. This is what the published class means: as it stands there, the first term indexes the batch with the
    level, so that of J levels sample J - 1 alone counts.

    Args:
        student: (B, C, H, W).
        target: as ``student``.
        levels: J; fewer where the images are too small, see :func:`haar_bands`.

    Returns:
        scalar, >= 0; float32, or float64 for such images.

    Raises:
        ValueError: shapes differ, or see :func:`haar_bands`.

    >>> round(haar_l1(torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), levels=1).item(), 3)
    2.0
    """
    if student.shape != target.shape:
        raise ValueError(f"images must have one shape, got {tuple(student.shape)} and {tuple(target.shape)}")
    exact = student if student.dtype == torch.float64 else student.float()
    bands = haar_bands(exact - target, levels)  # the transform is linear: one, of the difference, serves for two
    return sum((found.abs().mean() for found in bands.details), bands.low.abs().mean())


@register(LOSS_REGISTRY)
class HaarLoss(nn.Module):
    """:func:`haar_l1` times ``loss_weight``.

    Args:
        loss_weight: factor.
        levels: of the transform; MTKD's published 4, which patches of 9 pixels and more have. Smaller ones have fewer.
    """

    def __init__(self, loss_weight: float = 1.0, levels: int = 4) -> None:
        super().__init__()
        if levels < 1:
            raise ValueError(f"levels must be at least 1, got {levels}")
        self.loss_weight = loss_weight
        self.levels = levels

    def forward(self, student: Tensor, target: Tensor) -> Tensor:
        """See :func:`haar_l1`."""
        return self.loss_weight * haar_l1(student, target, self.levels)
