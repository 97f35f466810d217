"""A comparison: what the records of a sweep say, as tables and pages show it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache

import numpy as np
import numpy.typing as npt

from ..errors import DatasetError
from .record import TEACHER, Cost, PerImage, RunRecord
from .statistics import Verdict, judge
from .sweep import Sweep

__all__ = ["ALL", "Comparison", "Row", "Value"]

ALL = "all"
"""The name under which the images of all test sets of a base stand together."""


@dataclass(frozen=True)
class Value:
    """One metric of one variant on one test set.

    Attributes:
        mean: over images and seeds, in the metric's unit.
        spread: standard deviation (n - 1) over seeds of the runs' means; None with one seed, or where a mean is not
            finite.
        runs: mean of each run over the images, in the order of ``Row.seeds``.
    """

    mean: float
    spread: float | None
    runs: tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """One variant on one test set of one base.

    Attributes:
        base: key of the base.
        dataset: name of the test set, or :data:`ALL`.
        variant: key of the variant, or ``teacher``.
        title: what tables call it.
        seeds: of the runs that are there; empty for the teacher.
        images: how many the set has.
        values: by metric, in the order of the records; the first is the one that counts.
        gains: by reference, key of a variant: what may be said about the difference in the first metric. Empty for the
            teacher; a reference has gains only over the references before it, so that no difference is told twice.
        cost: medians over the runs.
    """

    base: str
    dataset: str
    variant: str
    title: str
    seeds: tuple[int, ...]
    images: int
    values: Mapping[str, Value]
    gains: Mapping[str, Verdict]
    cost: Cost

    @property
    def is_teacher(self) -> bool:
        return self.variant == TEACHER


class Comparison:
    """What the records of a sweep say.

    Runs without a record are missing, and nothing else: tables have the rows there are. Records that the sweep does not
    ask for (another base, variant or seed) are left out.

    Args:
        sweep: which runs are compared.
        records: by name of the run, as :func:`~dckd_basicsr.compare.read_records` gives them.
        resamples: of the bootstrap.

    Raises:
        DatasetError: the runs of a base were not measured on the same images; names run and image.

    Attributes:
        sweep: as given.
        records: those that belong to the sweep, in its order, each base's teacher before its other runs.
        missing: runs without a record, as (base, variant, seed).
        bases: keys of the bases with a record, in the sweep's order.
    """

    def __init__(self, sweep: Sweep, records: Mapping[str, RunRecord], *, resamples: int = 10_000) -> None:
        self.sweep, self._resamples = sweep, resamples
        by_run = {(each.base, each.variant, each.seed): each for each in records.values()}
        order = [run for base in sweep.bases for run in _runs(sweep, base)]
        self.records = {by_run[run].name: by_run[run] for run in order if run in by_run}
        self.missing = tuple(run for run in order if run not in by_run)
        self.bases = tuple(base for base in sweep.bases if any(base == each.base for each in self.records.values()))
        for base in self.bases:
            _same_images([each for each in self.records.values() if each.base == base])
        self._judge = cache(self._judge_once)  # tables and pages ask for the same rows again and again
        self._row = cache(self._row_once)

    def runs(self, base: str, variant: str) -> tuple[RunRecord, ...]:
        """Return the records of a variant, by the sweep's order of seeds; ``teacher`` has one, or none."""
        return tuple(each for each in self.records.values() if (each.base, each.variant) == (base, variant))

    def variants(self, base: str) -> tuple[str, ...]:
        """Return the variants with a record, in the sweep's order, without the teacher."""
        return tuple(name for name in self.sweep.variants if self.runs(base, name))

    def references(self, base: str) -> tuple[str, ...]:
        """Return the variants with a record to which gains are given."""
        return tuple(name for name in self.sweep.references() if self.runs(base, name))

    def datasets(self, base: str) -> tuple[str, ...]:
        """Return the test sets, and last :data:`ALL` if there are several."""
        own = tuple(self._first(base).images)
        return (*own, ALL) if len(own) > 1 and ALL not in own else own

    def metrics(self, base: str, dataset: str) -> tuple[str, ...]:
        """Return the metrics that every image of a set has; the first is the one that counts."""
        images = list(images_of(self._first(base), dataset).values())
        return tuple(name for name in images[0] if all(name in image for image in images))

    def higher_is_better(self, base: str, metric: str) -> bool:
        """Return a metric's direction, from ``val.metrics.METRIC.better`` of the records; higher where none says."""
        blocks = [each.options.get("val") or {} for each in self.records.values() if each.base == base]
        told = [((block.get("metrics") or {}).get(metric) or {}).get("better") for block in blocks]
        return "lower" not in told

    def values(self, base: str, dataset: str, variant: str, metric: str) -> npt.NDArray[np.float64]:
        """Return every value, shape (runs, images), images in the order of :meth:`images`."""
        names, runs = self.images(base, dataset), self.runs(base, variant)
        found = [images_of(run, dataset) for run in runs]
        return np.array([[images[name][metric] for name in names] for images in found], dtype=np.float64)

    def images(self, base: str, dataset: str) -> tuple[str, ...]:
        """Return the names of a set's images; under :data:`ALL` with the set before them: ``Set5/baby``."""
        return tuple(images_of(self._first(base), dataset))

    def rows(self, base: str, dataset: str) -> tuple[Row, ...]:
        """Return the rows of a table: the teacher, if it was measured, then the variants in the sweep's order."""
        teacher = (TEACHER,) if self.runs(base, TEACHER) else ()
        return tuple(self.row(base, dataset, name) for name in (*teacher, *self.variants(base)))

    def row(self, base: str, dataset: str, variant: str) -> Row:
        """Return one row; the variant must have a record."""
        return self._row(base, dataset, variant)

    def verdict(self, base: str, dataset: str, variant: str, reference: str, metric: str | None = None) -> Verdict:
        """Return what may be said about two variants; ``metric`` is the first one where it is not given."""
        return self._judge(base, dataset, variant, reference, metric or self.metrics(base, dataset)[0])

    def differences(self) -> int:
        """Return how many differences the rows of all tables judge: as many verdicts stand beside each other."""
        tables = [self.rows(base, dataset) for base in self.bases for dataset in self.datasets(base)]
        return sum(len(row.gains) for rows in tables for row in rows)

    def environment(self) -> dict[str, tuple[str, ...]]:
        """Return what the records' environments say, by key: one value, or all those that differ."""
        keys = dict.fromkeys(key for each in self.records.values() for key in each.environment)
        texts = {key: [str(e.environment[key]) for e in self.records.values() if key in e.environment] for key in keys}
        return {key: tuple(dict.fromkeys(found)) for key, found in texts.items()}

    def _first(self, base: str) -> RunRecord:
        return next(each for each in self.records.values() if each.base == base)

    def _row_once(self, base: str, dataset: str, variant: str) -> Row:
        runs, metrics = self.runs(base, variant), self.metrics(base, dataset)
        earlier = self.references(base)
        if variant in earlier:
            earlier = earlier[: earlier.index(variant)]
        gains = {} if variant == TEACHER else {name: self.verdict(base, dataset, variant, name) for name in earlier}
        return Row(
            base=base,
            dataset=dataset,
            variant=variant,
            title=self.sweep.title_of(variant),
            seeds=tuple(run.seed for run in runs if run.seed is not None),
            images=len(self.images(base, dataset)),
            values={name: _value(self.values(base, dataset, variant, name)) for name in metrics},
            gains=gains,
            cost=_median_cost(runs),
        )

    def _judge_once(self, base: str, dataset: str, variant: str, reference: str, metric: str) -> Verdict:
        a, b = (self.values(base, dataset, name, metric) for name in (variant, reference))
        return judge(a, b, higher=self.higher_is_better(base, metric), resamples=self._resamples)


def images_of(record: RunRecord, dataset: str) -> PerImage:
    """Return a record's images of a set; of :data:`ALL`, unless a set is called so, those of all sets."""
    if dataset in record.images:
        return record.images[dataset]
    if dataset != ALL:
        raise KeyError(dataset)
    return {f"{name}/{image}": found for name, images in record.images.items() for image, found in images.items()}


def _runs(sweep: Sweep, base: str) -> list[tuple[str, str, int | None]]:
    teacher: list[tuple[str, str, int | None]] = [(base, TEACHER, None)] if sweep.teacher else []
    there = [name for name, each in sweep.variants.items() if each.bases is None or base in each.bases]
    return teacher + [(base, name, seed) for name in there for seed in sweep.seeds_of(name)]


def _same_images(records: list[RunRecord]) -> None:
    """Check that runs were measured on the same images, with the same metrics."""
    first = records[0]
    for other in records[1:]:
        for one, two in ((first, other), (other, first)):
            for dataset, images in one.images.items():
                for image, metrics in images.items():
                    there = two.images.get(dataset, {}).get(image)
                    lacking = f"image '{image}' of {dataset}" if there is None else None
                    if there is not None and (absent := [name for name in metrics if name not in there]):
                        lacking = f"metric '{absent[0]}' of image '{image}' of {dataset}"
                    if lacking:
                        raise DatasetError(
                            f"run '{two.name}' has no {lacking}, which '{one.name}' has; runs can be compared on the "
                            f"same images only: remove the record of the one that was measured otherwise, and compare "
                            "makes it again"
                        )
    every = [metrics for images in first.images.values() for metrics in images.values()]
    if not all(first.images.values()) or not set(every[0] if every else ()).intersection(*every):
        raise DatasetError(
            f"run '{first.name}' has no metric that all images of its test sets have; remove its record, and check the "
            "test's data sets and val.metrics"
        )


def _value(values: npt.NDArray[np.float64]) -> Value:
    runs = values.mean(axis=1)
    # PSNR of an image that equals GT is infinite; means of such runs have no spread
    spread = float(runs.std(ddof=1)) if runs.size > 1 and np.isfinite(runs).all() else None
    return Value(float(runs.mean()), spread, tuple(map(float, runs)))


def _median_cost(runs: tuple[RunRecord, ...]) -> Cost:
    def median(name: str) -> float | None:
        found = [value for run in runs if (value := getattr(run.cost, name)) is not None]
        return statistics.median(found) if found else None

    return Cost(
        int(median("parameters") or 0),
        *(median(field.name) for field in fields(Cost)[1:]),
    )
