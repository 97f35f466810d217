"""The tables of a comparison's page."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from ..compare import ALL, Comparison, Row, Verdict
from ..compare.cells import heading, marks
from ..compare.record import TEACHER
from .tables import MISSING, Cell, Table, decimals_of, figure, fixed, signed, unit_of, whole

__all__ = ["best_variant", "cost_table", "dataset_title", "difference_table", "ranked", "result_table", "wins_table"]

_KINDS = {"better": "better", "worse": "worse"}
_LEFT_OUT = {"name", "manual_seed"}
_EXTREMES = 3


def dataset_title(name: str) -> str:
    return "all test sets together" if name == ALL else name


def result_table(comparison: Comparison, base: str, dataset: str) -> Table:
    """Return values, gains and verdicts of one set."""
    rows = comparison.rows(base, dataset)
    metrics, references = comparison.metrics(base, dataset), comparison.references(base)
    sweep = comparison.sweep
    header = [Cell("method"), Cell("seeds", number=True), *(Cell(heading(name), number=True) for name in metrics)]
    unit = unit_of(metrics[0]) if metrics else ""
    for name in references:
        of = sweep.title_of(name)
        header += [Cell(f"gain over {of}" + (f" ({unit})" if unit else ""), number=True), Cell("verdict")]
    best = {name: marks(comparison, base, dataset, name) for name in metrics}
    decimals = {name: decimals_of([row.values[name].mean for row in rows]) for name in metrics}
    body = []
    for row in rows:
        cells = [Cell(row.title), Cell(str(len(row.seeds)) if row.seeds else MISSING, number=True)]
        cells += [_value(row, name, decimals[name], best[name].get(row.variant) == "best") for name in metrics]
        for name in references:
            cells += _gain(row.gains.get(name), decimals[metrics[0]])
        body.append(cells)
    count = len(comparison.images(base, dataset))
    verdicts = [verdict for row in rows for verdict in row.gains.values() if verdict.word == "cannot be told"]
    notes = [f"Cannot be told: {reason}." for reason in dict.fromkeys(verdict.reason for verdict in verdicts)]
    return Table(f"{dataset_title(dataset)}, {count} image{'' if count == 1 else 's'}", header, body, notes)


def ranked(comparison: Comparison, base: str) -> list[str]:
    """Return the variants by their mean over all sets in the first metric, the best first, those without one last."""
    dataset = comparison.datasets(base)[-1]
    metrics, names = comparison.metrics(base, dataset), comparison.variants(base)
    if not metrics:
        return list(names)
    sign = -1 if comparison.higher_is_better(base, metrics[0]) else 1
    means = {name: sign * comparison.row(base, dataset, name).values[metrics[0]].mean for name in names}
    return sorted(names, key=lambda name: math.inf if math.isnan(means[name]) else means[name])


def best_variant(comparison: Comparison, base: str) -> str | None:
    """Return the variant that is best over all sets by the first metric, baselines only where there is nothing else."""
    if not comparison.metrics(base, comparison.datasets(base)[-1]):
        return None
    order = ranked(comparison, base)
    return next((name for name in order if name not in comparison.references(base)), order[0] if order else None)


def wins_table(comparison: Comparison, base: str, gains: Mapping[str, Mapping[str, float]], reference: str) -> Table:
    """Return the images on which each method gains and loses most.

    Args:
        comparison: with this base.
        base: its key.
        gains: variant -> image -> gain over the reference, positive where it is better.
        reference: key of the variant that it is compared with.
    """
    of, title = comparison.sweep.title_of(reference), comparison.sweep.title_of
    header = [Cell("method"), Cell("images gained", number=True), Cell("gains most on"), Cell("loses most on")]
    rows = []
    for variant, values in gains.items():
        order = sorted(values, key=lambda image: -values[image])
        best = [image for image in order if values[image] > 0][:_EXTREMES]
        worst = [image for image in reversed(order) if values[image] < 0][:_EXTREMES]
        won = sum(value > 0 for value in values.values())
        rows.append(
            [Cell(title(variant)), Cell(f"{won} of {len(values)}", number=True)]
            + [Cell(", ".join(f"{i} {signed(values[i], 3)}" for i in each) or MISSING) for each in (best, worst)]
        )
    metric = comparison.metrics(base, comparison.datasets(base)[-1])[0]
    lower = not comparison.higher_is_better(base, metric)
    notes = (f"Here a gain is by how much {heading(metric)} is lower, which is better.",) if lower else ()
    return Table(f"Against {of}, image by image", header, rows, notes)


def cost_table(comparison: Comparison, base: str) -> Table:
    """Return what networks and trainings cost, medians over seeds."""
    rows = [comparison.row(base, comparison.datasets(base)[0], name) for name in _names(comparison, base)]
    header = [Cell("method"), Cell("parameters", number=True), Cell("multiply-adds (G)", number=True)]
    header += [Cell("s / iteration", number=True), Cell("training (h)", number=True)]
    header += [Cell("teachers' share", number=True), Cell("frozen networks' share", number=True)]
    places = 2 if any((row.cost.hours or 0) >= 1 for row in rows) else 4
    body = []
    for row in rows:
        cost = row.cost
        texts = [whole(cost.parameters), fixed(cost.multiply_adds and cost.multiply_adds / 1e9, 2)]
        texts += [fixed(cost.seconds_per_iteration, 3), fixed(cost.hours, places)]
        texts += [
            MISSING if share is None else f"{100 * share:.0f} %" for share in (cost.teacher_share, cost.frozen_share)
        ]
        body.append([Cell(row.title), *(Cell(text, number=True) for text in texts)])
    notes = (
        "Multiply-adds are those of one output image of 1280 × 720 pixels. The shares are of the multiply-adds of a "
        "training step, forward and backward; frozen are teachers, history model and encoder.",
    )
    return Table("Networks and trainings", header, body, notes)


def difference_table(comparison: Comparison, base: str) -> Table | None:
    """Return the options in which the variants differ, or None where they do not; those of each variant's first run."""
    names = comparison.variants(base)
    options = {name: dict(_leaves(comparison.runs(base, name)[0].options)) for name in names}
    keys = dict.fromkeys(key for found in options.values() for key in found)
    rows = []
    for key in keys:
        values = [options[name].get(key, MISSING) for name in names]
        if key.split(":")[0] not in _LEFT_OUT and len(set(values)) > 1:
            rows.append([Cell(key), *(Cell(value) for value in values)])
    if not rows:
        return None
    return Table("First run of each method", [Cell("key"), *(Cell(comparison.sweep.title_of(n)) for n in names)], rows)


def _value(row: Row, metric: str, decimals: int, best: bool) -> Cell:
    value = row.values[metric]
    spread = f"± {fixed(value.spread, decimals)}" if value.spread is not None else ""
    return Cell(fixed(value.mean, decimals), number=True, best=best, small=spread)


def _gain(verdict: Verdict | None, decimals: int) -> list[Cell]:
    if verdict is None:
        return [Cell("", number=True), Cell("")]
    interval = ""
    if verdict.paired is not None:
        interval = f"[{signed(verdict.paired.low, decimals)}, {signed(verdict.paired.high, decimals)}]"
    ps = [("images", verdict.paired.p_value if verdict.paired else None)]
    ps += [("seeds", verdict.seeds.p_value if verdict.seeds else None)]
    small = ", ".join(f"{what} {_p(p)}" for what, p in ps if p is not None)
    small = small and f"p: {small}"
    return [
        Cell(signed(verdict.difference, decimals), number=True, small=interval),
        Cell(verdict.word, small="" if verdict.word == "cannot be told" else small,
             kind=_KINDS.get(verdict.word, "open")),
    ]  # fmt: skip


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _names(comparison: Comparison, base: str) -> tuple[str, ...]:
    teacher = (TEACHER,) if comparison.runs(base, TEACHER) else ()
    return (*teacher, *comparison.variants(base))


def _leaves(block: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield every value of an option file with its key as ``--force_yml`` has it: ``train:total_iter``."""
    if isinstance(block, Mapping) and block:
        for key, value in block.items():
            yield from _leaves(value, f"{place}:{key}" if place else str(key))
    else:
        is_float = isinstance(block, float)
        yield place, figure(block) if is_float else block if isinstance(block, str) else json.dumps(block, default=str)
