"""Where pictures differ: the window that is worth showing, maps of errors, and pictures inside a page."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ...report.strip import Box

__all__ = ["around", "as_data", "cropped", "error_map", "errors_of", "telling_box"]

Image = NDArray[np.uint8]
"""(H, W, 3), BGR, 0..255."""
Errors = NDArray[np.float32]
"""(H, W), absolute error, mean over the colours, 0..255."""


def errors_of(image: Image, truth: NDArray[Any]) -> Errors:
    """Return the absolute error of each pixel, mean over the colours; both images are of one size."""
    return np.abs(image.astype(np.float32) - truth.astype(np.float32)).mean(axis=2)


def telling_box(errors: Mapping[str, Errors], size: int) -> Box:
    """Return the square in which methods differ most: with the largest variance, between them, of the absolute error.

    The variance is taken at each pixel over the methods, and averaged over the square. Of one method it is the square
    with the largest mean error. Of equals the uppermost counts, then the leftmost.

    Args:
        errors: of each method, (H, W) of one size.
        size: of the square in pixels; smaller where the image is.
    """
    stack = np.stack(list(errors.values()))
    worth = stack.var(axis=0) if len(stack) > 1 else stack[0]
    height, width = worth.shape
    size = min(size, height, width)
    total = np.pad(worth.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    sums = total[size:, size:] - total[:-size, size:] - total[size:, :-size] + total[:-size, :-size]
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return Box(int(top), int(left), size)


def around(box: Box, shape: tuple[int, int], height: int, width: int) -> tuple[slice, slice]:
    """Return rows and columns of a larger window with the square near its middle, inside an image of ``shape``."""
    sides = []
    for start, whole, wanted in ((box.top, shape[0], height), (box.left, shape[1], width)):
        wanted = min(wanted, whole)
        first = max(0, min(start + (box.size - wanted) // 2, whole - wanted))
        sides.append(slice(first, first + wanted))
    return sides[0], sides[1]


def cropped(image: Image, rows: slice, columns: slice, height: int) -> Image:
    """Cut a window out of an image that may be smaller than the ground truth of ``height`` rows, as an LQ input is."""
    ratio = image.shape[0] / height
    top, bottom, left, right = (round(v * ratio) for v in (rows.start, rows.stop, columns.start, columns.stop))
    return image[top : max(bottom, top + 1), left : max(right, left + 1)]


def error_map(errors: Errors, most: float) -> Image:
    """Return errors as colours, from black (none) to pale yellow (``most`` or more)."""
    scaled = np.clip(errors * (255 / max(most, 1e-6)), 0, 255).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(scaled, cv2.COLORMAP_INFERNO), np.uint8)


def as_data(image: Image) -> str:
    """Return an image as the address of itself (``data:``), without loss."""
    ok, data = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 101])  # above 100 is lossless
    if not ok:
        raise OSError("cannot encode a picture for the page")
    return f"data:image/webp;base64,{base64.b64encode(data.tobytes()).decode('ascii')}"
