"""Making an image as large as a patch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .photos.images import Image

__all__ = ["at_least"]


def at_least(image: Image, size: int) -> Image:
    """Continue an image at the right and bottom up to ``size`` pixels, as between mirrors that stand on its borders.

    The pixels at the border are repeated: of a row ``abc`` comes ``abccbaabc...``, with a period of twice the length.
    So reflecting an image and enlarging it by nearest neighbour may change places, at every size and scale: LQ and GT,
    each continued by itself, go on showing the same. (Mirrors on the pixels, ``abcba``, would not do that.)

    Args:
        image: uint8, H x W x 3.
        size: least height and width of the result.
    """
    height, width = image.shape[:2]
    if height < size:
        image = image.take(_reflected(height, size), axis=0)
    if width < size:
        image = image.take(_reflected(width, size), axis=1)
    return image


def _reflected(length: int, size: int) -> NDArray[np.intp]:
    places = np.arange(size) % (2 * length)
    return np.minimum(places, 2 * length - 1 - places)
