"""How large an image has to be to be measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["least_side", "wants_larger"]

_WINDOW = 11
_WINDOWED = ("calculate_ssim", "calculate_ssim_y_rounded")
"""Metrics that need a whole window; BasicSR's returns NaN without one."""


def least_side(options: Mapping[str, Any]) -> int:
    """Return the least height and width in pixels that the metric of an option block can measure.

    Args:
        options: ``type`` and arguments; of these ``crop_border``, in pixels a side, counts.
    """
    border = options.get("crop_border", 0)
    inner = _WINDOW if options.get("type") in _WINDOWED else 1
    return inner + 2 * (border if isinstance(border, int) and border > 0 else 0)


def wants_larger(metric: str, options: Mapping[str, Any]) -> str:
    """Return the end of a message on an image that is too small: the metric, what it needs, what to do.

    Args:
        metric: its key in ``val.metrics``.
        options: its block.
    """
    least, border = least_side(options), options.get("crop_border", 0)
    return (
        f"val.metrics.{metric} ({options.get('type')}, crop_border {border}) needs at least {least}x{least} px; take "
        "small images out of the set, or lower crop_border"
        + (f" (its window takes {_WINDOW}x{_WINDOW})" if options.get("type") in _WINDOWED else "")
    )
