"""The SSIM of published GoPro tables: one three-dimensional filter over height, width *and* colour.

MATLAB's ``ssim`` takes an H x W x 3 array for a volume, and NAFNet's evaluation does the same: an 11x11x11 Gaussian of
sigma 1.5, every axis continued with its border values. Along the colour axis, of length 3, the window reaches past both
ends, so it mixes the channels rather than averaging three 2-D results. BasicSR's ``calculate_ssim`` is the latter and
reads far lower (0.70 for 0.86): neither may stand in a table of the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.utils.registry import METRIC_REGISTRY
from scipy.ndimage import correlate1d

from ..install import register
from .image_pair import Image, image_pair

__all__ = ["calculate_ssim_3d"]

_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_WINDOW = cv2.getGaussianKernel(11, 1.5)[:, 0]


@register(METRIC_REGISTRY)
def calculate_ssim_3d(
    img: Image, img2: Image, crop_border: int, input_order: str = "HWC", single: bool = False, **kwargs: Any
) -> float:
    """Mean of the 3-D SSIM map; 1 for equal images.

    Args:
        img, img2: H x W x C, values 0 to 255. The order of the channels does not matter, if it is the same.
        crop_border: pixels left out on each side; 0 in GoPro tables.
        input_order: ``HWC`` or ``CHW``.
        single: sum the whole window's 1331 products in float32, as NAFNet's code does, to repeat its value digit by
            digit. Its rounding amounts to 1e-5, and it takes some ten times as long as the exact float64 result.
        **kwargs: ignored, as in BasicSR.

    Raises:
        DatasetError: the shapes differ, or nothing is left after cropping.
        ConfigError: wrong ``crop_border`` or ``input_order``.

    Source: Wang et al., "Image quality assessment", TIP 2004; the window as in megvii-research/NAFNet.
    """
    kind, blur = (np.float32, _blur_single) if single else (np.float64, _blur)
    first, second = (image.astype(kind) for image in image_pair(img, img2, crop_border, input_order))
    return _ssim(first, second, blur)


def _ssim(first: Image, second: Image, blur: Callable[[Image], Image]) -> float:
    mean, mean2 = blur(first), blur(second)
    product = mean * mean2
    squares = mean**2 + mean2**2
    variances = blur(first**2) + blur(second**2) - squares
    covariance = blur(first * second) - product
    ssim_map = (2 * product + _C1) * (2 * covariance + _C2) / ((squares + _C1) * (variances + _C2))
    return float(ssim_map.mean(dtype=np.float64))


def _blur(volume: Image) -> Image:
    """Filter one axis after the other: the window is a product of three, and 33 products a pixel replace 1331."""
    for axis in range(3):
        volume = correlate1d(volume, _WINDOW, axis=axis, mode="nearest")
    return volume


def _blur_single(volume: Image) -> Image:
    window = torch.from_numpy(np.einsum("i,j,k->ijk", _WINDOW, _WINDOW, _WINDOW)).float()[None, None]
    padded = torch.nn.functional.pad(torch.from_numpy(volume)[None, None], (5,) * 6, mode="replicate")
    return torch.nn.functional.conv3d(padded, window)[0, 0].numpy()
