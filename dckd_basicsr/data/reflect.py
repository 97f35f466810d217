"""Making an image as large as a patch."""

from __future__ import annotations

import cv2
import numpy as np

from .images import Image

__all__ = ["at_least"]


def at_least(image: Image, size: int) -> Image:
    """Reflect at the right and bottom up to ``size`` pixels; reflections repeat where one is not enough.

    Args:
        image: uint8, H x W x 3.
        size: least height and width of the result.
    """
    while image.shape[0] < size or image.shape[1] < size:
        down = min(max(0, size - image.shape[0]), max(1, image.shape[0] - 1))
        right = min(max(0, size - image.shape[1]), max(1, image.shape[1] - 1))
        image = cv2.copyMakeBorder(image, 0, down, 0, right, cv2.BORDER_REFLECT).astype(np.uint8, copy=False)
    return image
