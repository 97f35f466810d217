"""Whether what a run plans by iteration comes to pass within ``total_iter``.

A schedule that would stop the run is a problem. One that merely never takes effect is a note, in the log and beside
``basicsr config``: a run of ten iterations, to try things out, is nothing wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...distill.needs import Need
from ...distill.settings import HistorySettings
from ...kinds import distils
from ..blocks.dataset import PATCH_TYPES
from ..problems import block_of, type_of
from .numbers import is_number
from .terms import needs_by_place

__all__ = ["option_notes", "schedule_problems"]

_STEPWISE = ("MultiStepLR", "MultiStepRestartLR")
_CYCLES = ("CosineAnnealingRestartLR", "CosineAnnealingRestartCyclicLR")


def schedule_problems(opt: Mapping[str, Any]) -> Iterator[str]:
    """Yield settings of ``train.scheduler`` with which it fails, at once or in the middle of the run."""
    scheduler, total = block_of(opt, "train", "scheduler"), _total(opt)
    for key in ("T_max", "periods"):
        values = _numbers(scheduler.get(key))
        if any(value < 1 for value in values):
            yield f"'{key}' in train.scheduler must be at least 1, got {_shown(values)}"
            return
    periods = _numbers(scheduler.get("periods"))
    if type_of(scheduler) == "CosineAnnealingRestartLR" and periods and total and sum(periods) < total - 1:
        yield (
            f"train.scheduler: the periods end at iteration {sum(periods):.15g}, after which CosineAnnealingRestartLR "
            f"has no rate, and total_iter is {total}; let them add up to {total}"
        )


def option_notes(opt: Mapping[str, Any]) -> list[str]:
    """Return one line for each part of ``train`` that has no effect within ``total_iter``, with what would.

    Args:
        opt: options that passed the check.
    """
    total, train = _total(opt), block_of(opt, "train")
    if not total:
        return []
    notes = [*_rates(block_of(train, "scheduler"), total)]
    warm = train.get("warmup_iter")
    if is_number(warm) and warm >= total:
        notes.append(
            f"train.warmup_iter {warm:.15g} is not over at total_iter {total}: the full learning rate never comes"
        )
    if distils(opt.get("model_type")):
        notes += _history(opt, total)
    return [*notes, *_patches(block_of(opt, "datasets", "train"), total)]


def _rates(scheduler: Mapping[str, Any], total: int) -> Iterator[str]:
    name = type_of(scheduler)
    if name in _STEPWISE:
        yield from _milestones(_numbers(scheduler.get("milestones")), total)
    end = sum(_numbers(scheduler.get("T_max" if name == "CosineAnnealingLR" else "periods")))
    if name == "CosineAnnealingLR" and 0 < end < total:
        yield (
            f"train.scheduler: after T_max {end:.15g} the rate rises again, and total_iter is {total}; T_max: {total} "
            "fits"
        )
    elif (name == "CosineAnnealingLR" or name in _CYCLES) and end > total:
        what = "T_max" if name == "CosineAnnealingLR" else "the sum of the periods"
        yield (
            f"train.scheduler: {what}, {end:.15g}, lies beyond total_iter {total}, so the rate does not come down to "
            f"its end; {total} fits"
        )


def _milestones(milestones: Sequence[float], total: int) -> Iterator[str]:
    late = [value for value in milestones if not 1 <= value < total]
    if not late:
        return
    if len(late) == len(milestones):
        what, effect = f"none of the milestones {_shown(milestones)} comes", "stays as it starts"
    else:
        what, effect = f"of the milestones, {_shown(late)} do not come", "falls less often than they say"
    last = max(max(milestones), 1)
    fitting = [int(value * 0.8 * total / last) for value in milestones]
    fits = all(a < b for a, b in zip([0, *fitting], [*fitting, total]))
    yield (
        f"train.scheduler: {what} within total_iter {total}, so the learning rate {effect}"
        + (f"; for a run of this length for instance milestones: {fitting}" if fits else "")
    )


def _history(opt: Mapping[str, Any], total: int) -> Iterator[str]:
    """Negatives come from the student as it started until the history model is updated."""
    rows = block_of(opt, "train", "history").get("schedule", HistorySettings.schedule)
    negatives = any(needs and Need.TAPS in needs for needs in needs_by_place(opt).values())
    if not negatives or not isinstance(rows, list | tuple) or not rows:
        return
    first = _first_update(rows)
    if first is not None and first >= total:
        yield (
            f"train.history.schedule: the first update comes at iteration {first}, not within total_iter {total}, so "
            f"the history model stays as it starts; for instance schedule: [[{total}, {max(1, total // 100)}]]"
        )


def _first_update(rows: Sequence[Any]) -> int | None:
    start = 0
    for i, row in enumerate(rows):
        if not (isinstance(row, list | tuple) and len(row) == 2 and all(isinstance(v, int) and v > 0 for v in row)):
            return None  # reported elsewhere
        until, every = row
        due = (start // every + 1) * every
        if due <= until or i == len(rows) - 1:
            return due
        start = until
    return None


def _patches(train: Mapping[str, Any], total: int) -> Iterator[str]:
    rows = train.get("progressive")
    if train.get("type") not in PATCH_TYPES or not isinstance(rows, list):
        return
    untils = [row[0] for row in rows if isinstance(row, list | tuple) and row and isinstance(row[0], int)]
    unused = sum(until >= total for until in untils[:-1])
    if unused:
        yield (
            f"datasets.train.progressive: {unused} of its {len(rows)} rows begin after total_iter {total}, so their "
            "patch sizes never come; shorten the rows' iterations in proportion"
        )


def _total(opt: Mapping[str, Any]) -> int:
    total = block_of(opt, "train").get("total_iter")
    return int(total) if is_number(total) and total >= 1 else 0


def _numbers(value: Any) -> list[float]:
    return [v for v in (value if isinstance(value, list | tuple) else [value]) if is_number(v)]


def _shown(values: Sequence[float]) -> str:
    return f"[{', '.join(f'{value:.15g}' for value in values)}]"
