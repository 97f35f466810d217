"""Where sub-images are cut: BasicSR's grid, laid so that GT and every LQ stay aligned."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import DatasetError

__all__ = ["check_crop", "crop_grid", "crop_positions", "subimage_key"]


def check_crop(crop: int, step: int, scales: Sequence[int]) -> None:
    """Raise DatasetError unless crop and step (GT pixels) are positive multiples of every scale."""
    for name, value in (("crop", crop), ("step", step)):
        wrong = [scale for scale in scales if value < 1 or value % scale]
        if wrong:
            raise DatasetError(
                f"{name} {value} is not a positive multiple of scale {' and '.join(map(str, wrong))}, so its LQ crop "
                f"would fall between pixels; choose a multiple of {' and '.join(map(str, scales))}"
            )


def crop_positions(length: int, crop: int, step: int, thresh: int = 0) -> list[int]:
    """Return the starts of the crops along one side: 0, step, 2 step, ... while they fit, then one flush with the end.

    The last is added if more than ``thresh`` pixels would otherwise be left over. Empty if ``length < crop``.

    >>> crop_positions(1000, 480, 240)
    [0, 240, 480, 520]
    """
    starts = list(range(0, length - crop + 1, step))
    if starts and length - (starts[-1] + crop) > thresh:
        starts.append(length - crop)
    return starts


def crop_grid(height: int, width: int, crop: int, step: int, thresh: int = 0) -> list[tuple[int, int]]:
    """Return (top, left) of every crop, row by row, in GT pixels.

    If height, width, crop and step are multiples of a scale, so is every position: LQ positions are exact quotients.
    """
    lefts = crop_positions(width, crop, step, thresh)
    return [(top, left) for top in crop_positions(height, crop, step, thresh) for left in lefts]


def subimage_key(key: str, number: int) -> str:
    """Return the key of a photo's sub-image, ``number`` from 1: ``0001_s001``."""
    return f"{key}_s{number:03d}"
