"""From the numbers of runs to curves: those of several seeds become one line with a band."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..tables import figure
from .drawing import Line

__all__ = ["coarser", "curve_points", "seed_line", "validation_points"]

_MANY = 40
"""Points from which on they are shown under the pointer alone."""

Points = Mapping[float, float]
"""Iteration -> value."""


def seed_line(label: str, number: int, runs: Sequence[Points], unit: str = "", *, quiet: bool = False) -> Line | None:
    """Return the mean over runs at each iteration that any of them has, with the lowest and highest as its band.

    Args:
        label: of the line.
        number: of its colour.
        runs: of one method, one of each seed.
        unit: of the values.
        quiet: draw it behind the others, thin and grey.

    Returns:
        None where there is no finite value. A line of one run has no band.
    """
    found: dict[float, list[float]] = {}
    for run in runs:
        for at, value in run.items():
            if math.isfinite(value):
                found.setdefault(at, []).append(value)
    if not found:
        return None
    x = sorted(found)
    y = [sum(found[each]) / len(found[each]) for each in x]
    low, high = [min(found[each]) for each in x], [max(found[each]) for each in x]
    several = any(len(values) > 1 for values in found.values())
    names = [_point_name(label, at, value, found[at], unit) for at, value in zip(x, y, strict=True)]
    return Line(label, x, y, low if several else None, high if several else None, number, names, len(x) <= _MANY, quiet)


def validation_points(validations: Iterable[Mapping[str, Any]], dataset: str, metric: str) -> dict[float, float]:
    """Return one metric of one set by iteration, from the validations of a run."""
    return {
        float(each["iteration"]): float(each["metrics"][metric])
        for each in validations
        if each["dataset"] == dataset and metric in each["metrics"]
    }


def curve_points(curve: Mapping[str, Sequence[float | None]], term: str) -> dict[float, float]:
    """Return what the log printed of one term by iteration."""
    pairs = zip(curve.get("iter", ()), curve.get(term, ()), strict=False)
    return {float(x): float(y) for x, y in pairs if x is not None and y is not None}


def coarser(points: Points, count: int) -> Points:
    """Return about ``count`` points at most: means of as many neighbours as that takes, each at the last's place."""
    places = sorted(points)
    size = -(-len(places) // count) or 1
    parts = [places[i : i + size] for i in range(0, len(places), size)]
    return {part[-1]: sum(points[x] for x in part) / len(part) for part in parts}


def _point_name(label: str, at: float, value: float, values: Sequence[float], unit: str) -> str:
    spread = f", {len(values)} seeds from {figure(min(values))} to {figure(max(values))}" if len(values) > 1 else ""
    return f"{label}, iteration {at:,.0f}: {figure(value)}{unit and ' ' + unit}{spread}"
