"""The charts of a comparison."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ..compare import Comparison, RunRecord
from ..compare.cells import heading
from ..compare.record import TEACHER
from .charts import (
    Chart,
    Dot,
    Line,
    coarser,
    curve_chart,
    curve_points,
    dot_chart,
    gain_chart,
    seed_line,
    validation_points,
)
from .comparison_tables import dataset_title, ranked
from .tables import figure, fixed, unit_of

__all__ = ["cost_charts", "gain_charts", "image_gains", "named", "term_charts", "terms_in", "validation_charts"]

NO_TERMS = {"iter", "epoch", "lr", "time", "data_time"}
"""Columns of a curve that are no loss terms."""
_POINTS, _LEAST, _MOST = 6000, 20, 200
"""Of all curves of loss terms in a page, and of each: a point takes some 200 bytes."""
_BARS = 5000
"""Of all gains in a page."""
_COLOURS, _LOUD, _GREY = 7, 6, 6
"""Colours there are; methods that have one where there are more methods; number of the grey, the teacher's too."""
_LABELS = 16
"""Dots from which on those in grey have no label."""
_BAND = "Lines are means over seeds; bands run from the lowest to the highest seed."


def validation_charts(comparison: Comparison, base: str) -> list[Chart]:
    """Return the first metric of each validation set against iterations."""
    runs = [run for name in comparison.variants(base) for run in comparison.runs(base, name)]
    pairs: dict[str, str] = {}
    for run in runs:
        for each in run.validations:
            if each["metrics"]:
                pairs.setdefault(each["dataset"], next(iter(each["metrics"])))
    charts = []
    for dataset, metric in pairs.items():
        lines = _lines(comparison, base, partial(_validated, dataset, metric), unit_of(metric))
        if lines:
            text = f"Measured while training, on {dataset}."
            charts.append(curve_chart(lines, f"{heading(metric)} against iterations", _explained(text, lines),
                                      "iteration", heading(metric)))  # fmt: skip
    return charts


def term_charts(comparison: Comparison, base: str) -> list[Chart]:
    """Return one chart for each loss term that the log printed, against iterations."""
    runs = [run for name in comparison.variants(base) for run in comparison.runs(base, name)]
    terms = terms_in([run.curve for run in runs])
    several = max(1, len(terms) * len(comparison.variants(base)) * len(comparison.bases))
    count = max(_LEAST, min(_MOST, _POINTS // several))
    charts: list[Chart] = []
    for term in terms:
        lines = _lines(comparison, base, partial(_logged, term, count))
        if lines:
            charts.append(curve_chart(lines, term, "" if charts else _told_grey(lines), "iteration", term))
    return charts


def image_gains(comparison: Comparison, base: str, variant: str, reference: str) -> dict[str, float]:
    """Return the gain on each image of all sets, mean over seeds, in the first metric; positive where it is better.

    Images whose value is not finite are left out.
    """
    dataset = comparison.datasets(base)[-1]
    metric = comparison.metrics(base, dataset)[0]
    a, b = (comparison.values(base, dataset, name, metric).mean(axis=0) for name in (variant, reference))
    sign = 1 if comparison.higher_is_better(base, metric) else -1
    pairs = zip(comparison.images(base, dataset), sign * (a - b), strict=True)
    return {image: float(gain) for image, gain in pairs if math.isfinite(gain)}


def gain_charts(
    comparison: Comparison, base: str, gains: Mapping[str, Mapping[str, float]], reference: str
) -> list[Chart]:
    """Return the gains of each method image by image, sorted.

    Of many methods with many images only the best are drawn, to keep the page small.

    Args:
        comparison: with this base.
        base: its key.
        gains: variant -> image -> gain, as :func:`image_gains` gives it.
        reference: key of the variant that they are compared with.
    """
    dataset = comparison.datasets(base)[-1]
    metric, title = comparison.metrics(base, dataset)[0], comparison.sweep.title_of
    room = _BARS // len(comparison.bases) // max(1, max((len(values) for values in gains.values()), default=1))
    order = sorted(gains, key=lambda name: -sum(gains[name].values()))[: max(1, room)]
    charts = []
    for variant, values in gains.items():
        if values and variant in order:
            won = sum(value > 0 for value in values.values())
            text = f"Better on {won} of {len(values)} images; mean over seeds, {dataset_title(dataset)}."
            names = (variant, reference) if comparison.higher_is_better(base, metric) else (reference, variant)
            shown = " less ".join(map(title, names))
            charts.append(gain_chart(values, shown, text, unit_of(metric) or heading(metric)))
    return charts


def cost_charts(comparison: Comparison) -> list[Chart]:
    """Return quality against hours of training of each base, then against multiply-adds of all bases together."""
    charts = []
    for base in comparison.bases:
        dots = _dots(comparison, base, lambda row: row.cost.hours, comparison.variants(base), "h")
        if len(dots) > 1:
            charts.append(_against(comparison, base, dots, "training (hours)", "hours of training", False))
    dots, same = [], {comparison.metrics(base, comparison.datasets(base)[-1])[:1] for base in comparison.bases}
    for base in comparison.bases if len(same) == 1 else ():
        names = [*((TEACHER,) if comparison.runs(base, TEACHER) else ()), *comparison.variants(base)]
        dots += _dots(comparison, base, lambda row: row.cost.multiply_adds and row.cost.multiply_adds / 1e9, names, "G",
                      len(comparison.bases) > 1)  # fmt: skip
    if len({dot.x for dot in dots}) > 1:
        wide = max(dot.x for dot in dots) > 8 * min(dot.x for dot in dots)
        charts.append(_against(comparison, None, dots, "multiply-adds (G)", "multiply-adds", wide))
    return charts


def terms_in(curves: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the loss terms that any of the curves has, in their order."""
    return [key for key in dict.fromkeys(key for curve in curves for key in curve) if not _is_no_term(key)]


def named(comparison: Comparison, base: str) -> str:
    """Return what to put before a heading where there are several bases."""
    return f"{comparison.sweep.base_title(base)}: " if len(comparison.bases) > 1 else ""


def _validated(dataset: str, metric: str, run: RunRecord) -> dict[float, float]:
    return validation_points(run.validations, dataset, metric)


def _logged(term: str, count: int, run: RunRecord) -> Mapping[float, float]:
    return coarser(curve_points(run.curve, term), count)


def _is_no_term(key: str) -> bool:
    return key in NO_TERMS or key.startswith("lr")


def _lines(
    comparison: Comparison, base: str, points: Callable[[RunRecord], Mapping[float, float]], unit: str = ""
) -> list[Line]:
    numbers = _numbers(comparison)
    titles = _apart({name: comparison.sweep.title_of(name) for name in comparison.variants(base)})
    found = [
        seed_line(titles[name], numbers.get(name, _GREY), [points(run) for run in comparison.runs(base, name)], unit,
                  quiet=name not in numbers)
        for name in comparison.variants(base)
    ]  # fmt: skip
    return [line for line in found if line is not None]


def _numbers(comparison: Comparison) -> dict[str, int]:
    """Return the number of each method's colour, the same in all charts of a page.

    More than seven colours cannot be told apart. Of more methods those with one are the baselines and the best over
    all bases, by mean rank in the first metric; the others are grey.
    """
    names = list(comparison.sweep.variants)
    if len(names) > _COLOURS:
        ranks: dict[str, list[int]] = {}
        for base in comparison.bases:
            for rank, name in enumerate(ranked(comparison, base)):
                ranks.setdefault(name, []).append(rank)
        first = comparison.sweep.references()
        best = sorted((n for n in ranks if n not in first), key=lambda n: sum(ranks[n]) / len(ranks[n]))
        names = [name for name in names if name in [*first, *best][:_LOUD]]
    return {name: i for i, name in enumerate(names)}


def _dots(
    comparison: Comparison, base: str, cost: Callable[[Any], float | None], names: Sequence[str], unit: str,
    with_base: bool = False,
) -> list[Dot]:  # fmt: skip
    dataset = comparison.datasets(base)[-1]
    metrics = comparison.metrics(base, dataset)
    numbers = _numbers(comparison)
    behind = f", {comparison.sweep.base_title(base)}" if with_base else ""
    titles = _apart({name: comparison.sweep.title_of(name) + behind for name in names})
    crowded = len(names) * (len(comparison.bases) if with_base else 1) > _LABELS
    found = []
    for name in names if metrics else ():
        row = comparison.row(base, dataset, name)
        x, value = cost(row), row.values[metrics[0]]
        if x is not None and math.isfinite(value.mean):
            text = f"{titles[name]}: {fixed(value.mean, 3)} at {figure(x)} {unit}"
            runs = value.runs
            label = "" if crowded and name not in numbers and name != TEACHER else titles[name]
            found.append(Dot(label, x, value.mean, min(runs), max(runs), numbers.get(name, _GREY), text))
    return found


def _against(
    comparison: Comparison, base: str | None, dots: list[Dot], x_label: str, cost: str, logarithmic: bool
) -> Chart:
    first = base or comparison.bases[0]
    dataset = comparison.datasets(first)[-1]
    metric = heading(comparison.metrics(first, dataset)[0])
    before = named(comparison, base) if base else ""
    text = f"Measured on {dataset_title(dataset)}." + (
        " Dots are means over seeds; their lines run from the lowest to the highest seed."
        if any(dot.high > dot.low for dot in dots)
        else ""
    )
    return dot_chart(dots, f"{before}{metric} against {cost}", text, x_label, metric, logarithmic)


def _explained(text: str, lines: Sequence[Line]) -> str:
    band = _BAND if any(line.low is not None for line in lines) else ""
    return " ".join(filter(None, (text, band, _told_grey(lines))))


def _told_grey(lines: Sequence[Line]) -> str:
    quiet = sum(line.quiet for line in lines)
    return f"Named and coloured are the baselines and the best; the other {quiet} are grey." if quiet else ""


def _apart(titles: Mapping[str, str]) -> dict[str, str]:
    """Return titles of which no two are alike: with their key behind, where they are."""
    known = list(titles.values())
    return {name: title if known.count(title) == 1 else f"{title} ({name})" for name, title in titles.items()}
