"""How far a sweep is, and how long it still takes."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from ..inference.results import mean_values
from ..training.curve import read_curve
from .plan import PlannedRun
from .record import RunRecord

__all__ = ["Progress", "done_line", "duration"]


@dataclass(frozen=True)
class Progress:
    """A sweep at a moment.

    Attributes:
        runs: all of them, in order.
        records: of those that are done, by name.
        root: holds ``experiments/``.
    """

    runs: Sequence[PlannedRun]
    records: Mapping[str, RunRecord]
    root: Path

    @property
    def missing(self) -> list[PlannedRun]:
        return [run for run in self.runs if run.name not in self.records]

    @property
    def hours(self) -> float:
        """Training hours of what is done."""
        return sum(record.cost.hours or 0.0 for record in self.records.values())

    def remaining_hours(self) -> float | None:
        """Return the training hours that are missing, one run after the other; None where nothing is known yet.

        A run takes what others of its variant and base took; else what its own first iterations, or the most alike of
        those that are done, say.
        """
        total = 0.0
        for run in self.missing:
            if run.seed is None:
                continue
            done, own = self._started(run)
            seconds = own or self._seconds(run)
            if seconds is None:
                return None
            total += max(0, run.iterations - done) * seconds / 3600
        return total

    def _started(self, run: PlannedRun) -> tuple[int, float | None]:
        """Return how many iterations a run that is not done has, and its seconds for one."""
        lines = read_curve(self.root / "experiments" / run.name)
        times = [line["time"] for line in lines if line.get("time")]
        return (int(lines[-1]["iter"]), statistics.median(times)) if times else (0, None)

    def _seconds(self, run: PlannedRun) -> float | None:
        """Return what an iteration takes in the runs that are most alike: same variant first, then same base."""
        trained = [record for record in self.records.values() if record.cost.seconds_per_iteration]
        alike = (
            [r for r in trained if r.variant == run.variant and r.base == run.base],
            [r for r in trained if r.variant == run.variant],
            [r for r in trained if r.base == run.base],
            trained,
        )
        found: Iterable[RunRecord] = next((some for some in alike if some), [])
        times = [record.cost.seconds_per_iteration or 0.0 for record in found]
        if times:
            return statistics.median(times)
        others = [seconds for other in self.missing if (seconds := self._started(other)[1])]
        return statistics.median(others) if others else None

    def line(self, jobs: int = 1) -> str:
        """Return one line: how many runs are done, which are at work, how long the rest takes."""
        left = self.remaining_hours()
        parts = [f"{len(self.runs) - len(self.missing)} of {len(self.runs)} runs done"]
        working = [
            f"{run.name} {100 * done // max(run.iterations, 1)} %"
            for run in self.missing
            if (done := self._started(run)[0])
        ]
        parts += working[:4]
        if self.missing:
            parts.append("no estimate yet" if left is None else f"about {duration(left / jobs)} of training left")
        return "; ".join(parts)


def done_line(run: PlannedRun, record: RunRecord) -> str:
    """Return one line for a run that is done: its means, and its time."""
    parts = []
    for name, images in record.images.items():
        means = mean_values(images).items()
        parts.append(f"{name} {' / '.join(f'{value:.{4 if value < 1 else 2}f}' for _, value in means)}")
    time = f", {duration(record.cost.hours)}" if record.cost.hours is not None else ""
    return f"{run.name}: {', '.join(parts)}{time}"


def duration(hours: float) -> str:
    """Return a length of time as people say it.

    >>> duration(0.004), duration(0.3), duration(5.26), duration(50)
    ('14 s', '18 min', '5 h 16 min', '2 d 2 h')
    """
    span = timedelta(hours=hours)
    seconds = int(span.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // (24 * 60)} d {minutes // 60 % 24} h"
