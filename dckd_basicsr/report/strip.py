"""Comparison strips: the same crop of several restorations, enlarged and labelled, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..weight_files import atomic_write

__all__ = ["Box", "Panel", "comparison_strip", "stack_strips", "write_png"]

Image = NDArray[np.uint8]

_LABEL_HEIGHT = 40
_GAP = 6


@dataclass(frozen=True)
class Box:
    """A square crop in pixels of the ground truth."""

    top: int
    left: int
    size: int


@dataclass(frozen=True)
class Panel:
    """One column: an image (H, W, 3) uint8 BGR of any scale relative to the ground truth, a title and a subtitle."""

    title: str
    image: Image
    subtitle: str = ""


def comparison_strip(panels: Sequence[Panel], box: Box, reference: Image, side: int = 320) -> Image:
    """Draw one row of panels, each showing ``box`` of the ground truth ``reference`` at ``side`` x ``side`` pixels.

    An image smaller than the reference (an LQ input) is cropped at the matching place. Pixels are enlarged without
    interpolation, so what is seen is what the network wrote.
    """
    height, width = reference.shape[:2]
    if box.top < 0 or box.left < 0 or box.top + box.size > height or box.left + box.size > width:
        raise ValueError(f"crop {box} does not fit the ground truth of {height}x{width} pixels")
    return _join([_panel(panel, box, height, side) for panel in panels], axis=1)


def stack_strips(strips: Sequence[Image]) -> Image:
    """Put strips of equal width under each other."""
    return _join(list(strips), axis=0)


def write_png(image: Image, path: Path) -> None:
    """Write a PNG atomically."""
    ok, data = cv2.imencode(".png", image)
    if not ok:
        raise OSError(f"cannot encode {path}")
    atomic_write(path, lambda temporary: temporary.write_bytes(data.tobytes()))


def _panel(panel: Panel, box: Box, reference_height: int, side: int) -> Image:
    ratio = panel.image.shape[0] / reference_height
    top, left, size = (round(v * ratio) for v in (box.top, box.left, box.size))
    crop = panel.image[top : top + size, left : left + size]
    canvas = np.full((side + _LABEL_HEIGHT, side, 3), 255, np.uint8)
    canvas[:side] = cv2.resize(crop, (side, side), interpolation=cv2.INTER_NEAREST)
    _write(canvas, panel.title, side + 16, scale=0.5, bold=True)
    _write(canvas, panel.subtitle, side + 33, scale=0.42)
    return canvas


def _write(canvas: Image, text: str, baseline: int, scale: float, bold: bool = False) -> None:
    thickness = 1
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    origin = (max(0, (canvas.shape[1] - width) // 2), baseline)
    color = (0, 0, 0) if bold else (90, 90, 90)
    cv2.putText(canvas, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, color, thickness, cv2.LINE_AA)


def _join(images: list[Image], axis: int) -> Image:
    parts: list[Image] = []
    for image in images:
        if parts:
            shape = list(image.shape)
            shape[axis] = _GAP
            parts.append(np.full(shape, 255, np.uint8))
        parts.append(image)
    return np.concatenate(parts, axis=axis)
