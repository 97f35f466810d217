"""Two images that are to be compared: brought to one order, cropped, and refused if they cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
from basicsr.metrics.metric_util import reorder_image
from numpy.typing import NDArray

from ..errors import ConfigError, DatasetError

__all__ = ["Image", "image_pair"]

Image = NDArray[Any]


def image_pair(img: Image, img2: Image, crop_border: int, input_order: str = "HWC") -> tuple[Image, Image]:
    """Return both images H x W x C, without ``crop_border`` pixels on each side.

    Raises:
        DatasetError: their shapes differ, or nothing is left after cropping.
        ConfigError: ``crop_border`` is negative, or ``input_order`` neither HWC nor CHW.
    """
    if input_order not in ("HWC", "CHW"):
        raise ConfigError(f"metric option input_order must be 'HWC' or 'CHW', got {input_order!r}")
    if crop_border < 0:
        raise ConfigError(f"metric option crop_border must be 0 or more pixels, got {crop_border}")
    if img.shape != img2.shape:
        raise DatasetError(
            f"images of shapes {img.shape} and {img2.shape} cannot be compared; check that the GT belongs to the "
            "output, and `scale`"
        )
    first, second = (np.asarray(reorder_image(image, input_order)) for image in (img, img2))
    height, width = first.shape[:2]
    if min(height, width) <= 2 * crop_border:
        raise DatasetError(f"nothing is left of a {height}x{width} image after cropping {crop_border} pixels a side")
    inner = np.s_[crop_border : height - crop_border, crop_border : width - crop_border]
    return first[inner], second[inner]
