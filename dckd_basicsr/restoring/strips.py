"""What an image was and what it became, enlarged side by side."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from ..data.photos.images import Image, encode_png
from ..data.photos.pictures import Picture, Pixels
from ..report.strip import Box, Panel, comparison_strip

__all__ = ["strip_of"]

_SIDE = 480
_CROP = 160


def strip_of(before: Picture, after: Picture) -> bytes:
    """Return a PNG: a crop of the input, enlarged bicubically, beside that of its restoration, as they are in pixels.

    The crop is the part of the restoration that has most detail, of 160 px or the whole shorter side.
    """
    result = _eight_bit(after.pixels)
    height, width = result.shape[:2]
    enlarged = cv2.resize(_eight_bit(before.pixels), (width, height), interpolation=cv2.INTER_CUBIC)
    box = _box(result)
    title = "input" if result.shape[0] == before.pixels.shape[0] else "input, bicubic"
    panels = [Panel(title, np.asarray(enlarged, np.uint8)), Panel("restored", result)]
    return encode_png(comparison_strip(panels, box, result, _SIDE))


def _eight_bit(pixels: Pixels) -> Image:
    values: Any = pixels if pixels.dtype == np.uint8 else np.round(pixels / 257.0).astype(np.uint8)
    return np.repeat(values[..., None], 3, axis=2) if values.ndim == 2 else values


def _box(image: Image) -> Box:
    height, width = image.shape[:2]
    size = min(_CROP, height, width)
    grey = image.mean(axis=2)
    best, place = -1.0, (0, 0)
    for top in range(0, height - size + 1, size):
        for left in range(0, width - size + 1, size):
            detail = float(grey[top : top + size, left : left + size].std())
            if detail > best:
                best, place = detail, (top, left)
    return Box(*place, size)
