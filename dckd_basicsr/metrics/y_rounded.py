"""PSNR and SSIM on the rounded Y channel, as MATLAB scripts measured deraining (MPRNet, Restormer).

MATLAB's ``rgb2ycbcr`` of a uint8 image is a uint8 image. BasicSR's Y keeps its fraction, which reads up to 0.09 dB
higher. The rest is BasicSR's: PSNR with peak 255, SSIM with an 11x11 Gaussian (sigma 1.5) where it fits in the image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from basicsr.metrics.psnr_ssim import calculate_psnr, calculate_ssim
from basicsr.utils.registry import METRIC_REGISTRY

from ..errors import DatasetError
from ..install import register
from .image_pair import Image, image_pair

__all__ = ["calculate_psnr_y_rounded", "calculate_ssim_y_rounded", "rounded_y"]

# ITU-R BT.601 in thousandths, for B, G, R: whole numbers, so that a tie is a tie on every machine.
_WEIGHTS = np.array([24966, 128553, 65481], np.int64)


@register(METRIC_REGISTRY)
def calculate_psnr_y_rounded(
    img: Image, img2: Image, crop_border: int, input_order: str = "HWC", **kwargs: Any
) -> float:
    """PSNR in dB on the Y channel rounded to uint8; infinite for equal images.

    Args:
        img, img2: uint8, H x W x 3, BGR, 0 to 255 (or H x W, taken as Y).
        crop_border: pixels left out on each side; 0 in deraining tables.
        input_order: ``HWC`` or ``CHW``.
        **kwargs: ignored, as in BasicSR.

    Raises:
        DatasetError: the shapes differ, or an image is not uint8 with 1 or 3 channels.
        ConfigError: wrong ``crop_border`` or ``input_order``.
    """
    pair = image_pair(img, img2, crop_border, input_order)
    return float(calculate_psnr(*map(rounded_y, pair), crop_border=0))


@register(METRIC_REGISTRY)
def calculate_ssim_y_rounded(
    img: Image, img2: Image, crop_border: int, input_order: str = "HWC", **kwargs: Any
) -> float:
    """SSIM, at most 1, on the Y channel rounded to uint8. See :func:`calculate_psnr_y_rounded`.

    Raises:
        DatasetError: as there, or the cropped images are smaller than the 11x11 window.
        ConfigError: as there.
    """
    pair = image_pair(img, img2, crop_border, input_order)
    height, width = pair[0].shape[:2]
    if min(height, width) < 11:
        raise DatasetError(f"SSIM needs images of at least 11x11 pixels, got {height}x{width} (after cropping)")
    return float(calculate_ssim(*map(rounded_y, pair), crop_border=0))


def rounded_y(image: Image) -> Image:
    """Return Y of a uint8 H x W x 3 BGR image as MATLAB's ``rgb2ycbcr`` does: uint8, H x W x 1, 16 to 235.

    The few colours whose Y lies halfway between two values go to the even one. (MATLAB's own sum is off by an ulp
    there, either way; on a photo the choice is worth some 1e-5 dB.) One channel is returned as it is.

    Raises:
        DatasetError: not uint8, or neither 1 nor 3 channels.
    """
    if image.dtype != np.uint8 or image.shape[2] not in (1, 3):
        raise DatasetError(
            f"the rounded Y channel is of uint8 images with 1 or 3 channels, got {image.dtype} of shape {image.shape}"
        )
    if image.shape[2] == 1:
        return image
    y = np.rint(image @ _WEIGHTS / 255_000) + 16
    return y.astype(np.uint8)[..., None]
