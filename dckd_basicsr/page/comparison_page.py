"""The page of a comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ..compare import ALL, Comparison
from ..compare.cells import heading
from ..compare.record import TEACHER
from .charts import Chart
from .comparison_charts import cost_charts, gain_charts, image_gains, named, term_charts, validation_charts
from .comparison_tables import best_variant, cost_table, difference_table, result_table, wins_table
from .pictures import Pictures, Scene, make_scene
from .tables import decimals_of, fixed, signed, unit_of
from .writing import draw, write_page

__all__ = ["telling_images", "write_comparison_page", "write_figures"]

_PAGE = 4_600_000
"""Characters that all charts and pictures of a page may take."""
_SETS = 4


@dataclass(frozen=True)
class _Subject:
    """What the pictures of a base are about."""

    best: str
    reference: str | None
    gains: Mapping[str, float]


def write_comparison_page(comparison: Comparison, file: Path, pictures: Mapping[str, Pictures] | None = None) -> None:
    """Write the page of a comparison: one HTML file that loads nothing.

    Args:
        comparison: of at least one record.
        file: to write.
        pictures: base -> pictures, as :func:`~dckd_basicsr.page.gather_pictures` finds those of the images that
            :func:`telling_images` names.
    """
    bases = [_base(comparison, base, i, (pictures or {}).get(base)) for i, base in enumerate(comparison.bases)]
    costs = draw(cost_charts(comparison), "cost")
    drawn = [chart for base in bases for key in ("curves", "gains", "terms") for chart in base[key]]
    _make_room(bases, _PAGE - sum(len(chart.svg) for chart in [*drawn, *costs]))
    sweep = comparison.sweep
    write_page(
        "comparison.html",
        file,
        title=sweep.heading,
        facts=_facts(comparison),
        finished=len(comparison.records),
        asked=len(comparison.records) + len(comparison.missing),
        missing=[_run_title(comparison, *run) for run in comparison.missing],
        bases=bases,
        differences=comparison.differences(),
        costs=costs,
        environment=comparison.environment(),
        commands=_commands(comparison),
    )


def telling_images(comparison: Comparison, base: str) -> dict[str, tuple[str, ...]]:
    """Return the images that the page shows: set -> those on which the best method gains and loses most."""
    subject = _subject(comparison, base)
    found: dict[str, tuple[str, ...]] = {}
    datasets = [name for name in comparison.datasets(base) if name != ALL][:_SETS]
    several = len(comparison.datasets(base)) > 1
    for dataset in datasets if subject else ():
        assert subject is not None
        names = comparison.images(base, dataset)
        gains = {n: subject.gains[key] for n in names if (key := f"{dataset}/{n}" if several else n) in subject.gains}
        if gains:
            order = sorted(gains, key=lambda name: -gains[name])
            found[dataset] = tuple(dict.fromkeys((order[0], order[-1])))
    return found


def write_figures(comparison: Comparison, folder: Path) -> list[Path]:
    """Write the figures for a paper, each as SVG and PDF, and return their files.

    ``curves`` (the first validation set), ``gains`` (of the best method over the first reference) and ``cost``; with
    several bases one of each, its key behind. A figure without data is left out.
    """
    charts: dict[str, Chart] = {}
    for base in comparison.bases:
        end = f"_{base}" if len(comparison.bases) > 1 else ""
        subject = _subject(comparison, base)
        for chart in validation_charts(comparison, base)[:1]:
            charts[f"curves{end}"] = chart
        if subject and subject.reference:
            for chart in gain_charts(comparison, base, {subject.best: subject.gains}, subject.reference):
                charts[f"gains{end}"] = chart
    for i, chart in enumerate(cost_charts(comparison)):
        charts["cost" if i == 0 else f"cost_{i + 1}"] = chart
    files = [folder / f"{name}.{kind}" for name in charts for kind in ("svg", "pdf")]
    for file in files:
        charts[file.stem].write(file)
    return files


def _base(comparison: Comparison, base: str, number: int, pictures: Pictures | None) -> dict[str, Any]:
    references = comparison.references(base)
    gains: dict[str, dict[str, float]] = {}
    if references and comparison.metrics(base, comparison.datasets(base)[-1]):
        others = [name for name in comparison.variants(base) if name != references[0]]
        gains = {name: image_gains(comparison, base, name, references[0]) for name in others}
    datasets = comparison.datasets(base)
    order = [ALL, *(name for name in datasets if name != ALL)] if ALL in datasets else datasets
    return {
        "title": comparison.sweep.base_title(base),
        "before": named(comparison, base),
        "id": f"base{number}",
        "tables": [result_table(comparison, base, name) for name in order if comparison.metrics(base, name)],
        "curves": draw(validation_charts(comparison, base), f"val{number}-"),
        "gains": draw(gain_charts(comparison, base, gains, references[0]), f"gain{number}-") if gains else [],
        "wins": wins_table(comparison, base, gains, references[0]) if gains else None,
        "terms": draw(term_charts(comparison, base), f"term{number}-"),
        "scenes": _scenes(comparison, base, pictures) if pictures else [],
        "left_out": 0,
        "judged": any(row.gains for row in comparison.rows(base, datasets[0])),
        "differences": difference_table(comparison, base),
        "cost": cost_table(comparison, base),
    }


def _make_room(bases: list[dict[str, Any]], room: int) -> None:
    """Leave out the scenes for which there is no room; the bases take turns, and each says how many."""
    kept: list[list[Scene]] = [[] for _ in bases]
    for turn in zip_longest(*(base["scenes"] for base in bases)):
        for scenes, scene in zip(kept, turn, strict=True):
            if scene is not None and scene.size <= room:
                scenes.append(scene)
                room -= scene.size
    for base, scenes in zip(bases, kept, strict=True):
        base["left_out"], base["scenes"] = len(base["scenes"]) - len(scenes), scenes


def _subject(comparison: Comparison, base: str) -> _Subject | None:
    best = best_variant(comparison, base)
    if best is None:
        return None
    reference = next((name for name in comparison.references(base) if name != best), None)
    if reference:
        return _Subject(best, reference, image_gains(comparison, base, best, reference))
    dataset = comparison.datasets(base)[-1]
    metric = comparison.metrics(base, dataset)[0]
    values = comparison.values(base, dataset, best, metric).mean(axis=0)
    pairs = zip(comparison.images(base, dataset), map(float, values), strict=True)
    return _Subject(best, None, {image: value for image, value in pairs if math.isfinite(value)})


def _scenes(comparison: Comparison, base: str, pictures: Pictures) -> list[Scene]:
    subject, sweep = _subject(comparison, base), comparison.sweep
    names = [*((TEACHER,) if comparison.runs(base, TEACHER) else ()), *comparison.variants(base)]
    titles = {name: sweep.title_of(name) for name in names if name != TEACHER}
    titles |= {name: sweep.title_of(name) for name in names if name == TEACHER}  # last, beside GT
    found = []
    for dataset, images in telling_images(comparison, base).items():
        for i, image in enumerate(images):
            sources = pictures.images.get(dataset, {}).get(image)
            if not sources or subject is None:
                continue
            pair = (subject.reference or subject.best, subject.best)
            details = _details(comparison, base, dataset, image, names)
            why = _why(comparison, base, subject, dataset, image, i == 0)
            scene = make_scene(f"{dataset}/{image}", why, sources, titles, details, pair)
            found += [scene] if scene else []
    return found


def _why(comparison: Comparison, base: str, subject: _Subject, dataset: str, image: str, most: bool) -> str:
    key = f"{dataset}/{image}" if len(comparison.datasets(base)) > 1 else image
    best, value = comparison.sweep.title_of(subject.best), subject.gains[key]
    metric = comparison.metrics(base, dataset)[0]
    unit = unit_of(metric)
    if subject.reference is None:
        end = "highest" if most else "lowest"
        return f"Of {dataset}, the image with the {end} {heading(metric)} of {best}: {fixed(value, 3)}."
    of, gain = comparison.sweep.title_of(subject.reference), f"{signed(value, 3)}{unit and ' ' + unit}"
    does = ("loses least against", "gains most over") if most else ("loses most against", "gains least over")
    return f"Of {dataset}, the image on which {best} {does[value >= 0]} {of}: {gain}, mean over seeds."


def _details(comparison: Comparison, base: str, dataset: str, image: str, names: list[str]) -> dict[str, str]:
    """Return the first metric of the very pictures that are shown: those of the first seed."""
    metric = comparison.metrics(base, dataset)[0]
    values = {name: comparison.runs(base, name)[0].images[dataset][image][metric] for name in names}
    decimals = decimals_of(list(values.values()))
    unit = unit_of(metric)
    return {name: f"{fixed(value, decimals)}{unit and ' ' + unit}" for name, value in values.items()}


def _facts(comparison: Comparison) -> dict[str, str]:
    """Return what was compared, for the head of the page."""
    sweep, records = comparison.sweep, list(comparison.records.values())
    totals = dict.fromkeys((r.options.get("train") or {}).get("total_iter") for r in records if r.seed is not None)
    seeds = dict.fromkeys(record.seed for record in records if record.seed is not None)
    sets = dict.fromkeys(
        f"{name} ({len(comparison.images(base, name))})"
        for base in comparison.bases
        for name in comparison.datasets(base)
        if name != ALL
    )
    facts = {
        "bases": ", ".join(sweep.base_title(base) for base in comparison.bases),
        "methods": ", ".join(sweep.title_of(name) for name in sweep.variants),
        "seeds": ", ".join(map(str, seeds)),
        "iterations": ", ".join(f"{total:,.0f}" for total in totals if total),
        "test sets (images)": ", ".join(sets),
        "gains are given over": ", ".join(sweep.title_of(name) for name in sweep.references()),
    }
    return {name: text for name, text in facts.items() if text}


def _run_title(comparison: Comparison, base: str, variant: str, seed: int | None) -> str:
    where = f"{comparison.sweep.base_title(base)}, {comparison.sweep.title_of(variant)}"
    return where if seed is None else f"{where}, seed {seed}"


def _commands(comparison: Comparison) -> list[tuple[str, str]]:
    """Return the commands of each variant's first run: title, lines."""
    found = []
    for base in comparison.bases:
        for name in comparison.variants(base):
            run = comparison.runs(base, name)[0]
            if run.commands:
                found.append((_run_title(comparison, base, name, run.seed), "\n".join(run.commands)))
    return found
