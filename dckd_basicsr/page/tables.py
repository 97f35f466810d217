"""Tables of a page as plain data, and how numbers are written in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Cell", "Table", "best_of", "decimals_of", "figure", "fixed", "signed", "unit_of", "whole"]

MISSING = "–"


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: what stands there; escaped by the template.
        number: aligned to the right, with figures of equal width.
        best: marked as the best of its column.
        small: below the text, in small letters.
        kind: of a verdict, which has a colour: ``better``, ``worse`` or ``open``; empty for none.
    """

    text: str
    number: bool = False
    best: bool = False
    small: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table with a caption; the first cell of a row names the row."""

    caption: str
    header: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = field(default_factory=tuple)


def decimals_of(values: Sequence[float]) -> int:
    """Return how many decimals show what matters: four of an SSIM, three of a PSNR in dB.

    >>> decimals_of([0.81, 0.9]), decimals_of([28.1, 31.0])
    (4, 3)
    """
    finite = [abs(value) for value in values if math.isfinite(value)]
    return 4 if finite and max(finite) < 2 else 3


def fixed(value: float | None, decimals: int) -> str:
    """Write a number with so many decimals; a dash where there is none."""
    return MISSING if value is None or math.isnan(value) else f"{value:,.{decimals}f}".replace("-", "−")


def signed(value: float | None, decimals: int) -> str:
    """Write a difference with its sign.

    >>> signed(-0.0714, 3), signed(0.02, 3)
    ('−0.071', '+0.020')
    """
    return MISSING if value is None or math.isnan(value) else f"{value:+,.{decimals}f}".replace("-", "−")


def figure(value: float) -> str:
    """Write a number of unknown size with about five digits.

    >>> figure(28.91734), figure(0.000123456)
    ('28.917', '0.00012346')
    """
    return f"{value:.5g}".replace("-", "−") if math.isfinite(value) else str(value)


def whole(value: float | None) -> str:
    """Write a large whole number.

    >>> whole(1517571)
    '1,517,571'
    """
    return MISSING if value is None else f"{value:,.0f}"


def best_of(values: Sequence[float | None], *, higher: bool = True) -> float | None:
    """Return the best finite value, or None where there are fewer than two to choose from."""
    found = [value for value in values if value is not None and math.isfinite(value)]
    return (max if higher else min)(found) if len(found) > 1 else None


def unit_of(metric: str) -> str:
    """Return the unit of a metric, empty for most."""
    return "dB" if "psnr" in metric.lower() else ""
