"""What stands in the cells of all tables, and the notes below them."""

from __future__ import annotations

import math
from typing import Literal

from .comparison import ALL, Comparison
from .record import TEACHER
from .statistics import LEVEL

__all__ = [
    "Mark",
    "decimals",
    "environment_text",
    "heading",
    "marks",
    "notes",
    "p_value",
    "set_title",
    "shown",
    "signed",
]

Mark = Literal["best", "second"]


def decimals(metric: str) -> int:
    """Return how many decimals papers print: 2 for PSNR in dB, 4 for everything else."""
    return 2 if "psnr" in metric.lower() else 4


def heading(metric: str) -> str:
    """Return a metric's column heading, with its unit."""
    return metric.upper() + (" (dB)" if "psnr" in metric.lower() else "")


def shown(metric: str, value: float, more: int = 0) -> str:
    """Return a value as it is printed, with ``more`` decimals than papers have."""
    return f"{value:.{decimals(metric) + more}f}" if math.isfinite(value) else str(value)


def signed(metric: str, value: float) -> str:
    """Return a difference, with its sign and one decimal more than a value has."""
    return f"{value:+.{decimals(metric) + 1}f}" if math.isfinite(value) else "-"


def p_value(value: float | None) -> str:
    """Return a p-value as tables have it."""
    if value is None:
        return "-"
    return "<0.0001" if value < 0.0001 else f"{value:.4f}"


def set_title(dataset: str, images: int) -> str:
    """Return what a table calls a test set."""
    return f"{'all sets' if dataset == ALL else dataset} ({images} {'image' if images == 1 else 'images'})"


def marks(comparison: Comparison, base: str, dataset: str, metric: str) -> dict[str, Mark]:
    """Return which students have the best and the second-best value, by variant.

    Values count as they are printed, so equal ones have equal marks. Where all students have the same value there is
    nothing to mark, and no second of two. The teacher takes no part.
    """
    means = {row.variant: row.values[metric].mean for row in comparison.rows(base, dataset) if not row.is_teacher}
    printed = {name: float(shown(metric, mean)) for name, mean in means.items() if not math.isnan(mean)}
    order = sorted(set(printed.values()), reverse=comparison.higher_is_better(base, metric))
    if len(order) < 2:
        return {}
    found: dict[float, Mark] = {order[0]: "best"}
    if len(printed) > 2:
        found[order[1]] = "second"
    return {name: found[value] for name, value in printed.items() if value in found}


def environment_text(comparison: Comparison) -> str:
    """Return in what environment the runs ran, in one line."""
    found = comparison.environment()
    return "; ".join(f"{key} {' and '.join(values)}" for key, values in found.items()) or "not recorded"


def notes(comparison: Comparison, *, gains: bool = True) -> list[str]:
    """Return what a reader of the tables has to know, one sentence or two each, without markup.

    Args:
        comparison: of which the tables are.
        gains: whether the table shows gains and spreads, which then are explained.
    """
    students = [comparison.runs(base, name) for base in comparison.bases for name in comparison.variants(base)]
    counts = sorted({len(runs) for runs in students}) or [0]
    count = " to ".join(dict.fromkeys([str(counts[0]), str(counts[-1])]))
    told = [f"Values are means over all images of a set and over seeds ({count} of each method)."]
    if gains:
        told += [
            "± is the standard deviation over seeds of a run's mean. Gains are method minus reference, with the 95 % "
            "bootstrap interval over images."
        ]
    told += [
        "A difference is called one (better, worse) if it is beyond the spread over images (two-sided Wilcoxon "
        f"signed-rank test, p < {LEVEL}, and a 95 % bootstrap interval without 0) and over seeds (Welch's t-test of "
        f"the means of runs, p < {LEVEL}).",
        f"The p-values are not corrected for the number of comparisons ({comparison.differences()} here): of many, "
        f"some are below {LEVEL} by chance.",
        f"Environment: {environment_text(comparison)}.",
    ]
    if comparison.missing:
        names = [
            f"{base} {variant}" + ("" if variant == TEACHER else f" seed {seed}")
            for base, variant, seed in comparison.missing
        ]
        named = ", ".join(names[:5]) + (f", and {len(names) - 5} more" if len(names) > 5 else "")
        told += [f"Not there yet: {len(names)} of {len(names) + len(comparison.records)} runs ({named})."]
    return told
