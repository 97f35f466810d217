"""Paired databases from lists of photos: the one path that every ``basicsr prepare`` packs along."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from ..data.lmdb.payload import Payload
from ..errors import DatasetError
from .inspection import unusable_photos, unusable_report
from .packing import PackSettings, PhotoJob, pack_photo
from .parallel import default_workers, ordered_map, progress
from .verify import verify_set
from .writer import LmdbWriter, lmdb_writers, seal

__all__ = ["PackSet", "PrepareSummary", "pack_databases", "take"]

T = TypeVar("T")


@dataclass(frozen=True)
class PackSet:
    """A GT database and one LQ database per scale, packed from one list of photos."""

    settings: PackSettings
    jobs: Sequence[PhotoJob]
    gt: Path
    lq: Mapping[int, Path]


@dataclass(frozen=True)
class PrepareSummary:
    """What was packed.

    ``images`` counts pairs per scale; ``skipped`` holds keys of photos that were too small, ``unusable`` why each of
    those was left out that could not be used.
    """

    gt: Path
    lq: Mapping[int, Path]
    photos: int
    images: int
    skipped: tuple[str, ...]
    seconds: float
    verified: bool
    payload: Payload = "png"
    unusable: tuple[str, ...] = ()


def pack_databases(
    sets: Sequence[PackSet], *, workers: int | None = None, overwrite: bool = False, verify: bool = False
) -> list[PrepareSummary]:
    """Pack every set, and let all databases appear together at the end, or none.

    Args:
        sets: all with the same payload and PNG level.
        workers: processes; None for one per core, 0 for none.
        overwrite: replace existing databases, at the end; refused if others that were packed together with them would
            stay.
        verify: read everything again before the databases appear.

    Returns:
        One summary for each set, in their order.

    Raises:
        DatasetError: says which photos, option or database are wrong: all photos together, as far as their headers
            tell, before the work starts. Nothing is left behind.
    """
    if workers is not None and workers < 0:
        raise DatasetError(f"workers must be 0 or more, got {workers}")
    paths = [path for s in sets for path in (s.gt, *s.lq.values())]
    level, payload = sets[0].settings.level, sets[0].settings.payload
    with lmdb_writers(paths, level=level, payload=payload, overwrite=overwrite) as opened:
        looked_at = [_look_at(s) for s in sets]
        unusable = [reason for s, reasons in zip(sets, looked_at) if not s.settings.skip_unusable for reason in reasons]
        if any(unusable):
            raise unusable_report([reason for reason in unusable if reason], sum(len(s.jobs) for s in sets))
        writers = iter(opened)
        workers = default_workers() if workers is None else workers
        return [
            _pack(s, reasons, list(islice(writers, 1 + len(s.lq))), workers, verify)
            for s, reasons in zip(sets, looked_at)
        ]


def take(items: Sequence[T], limit: int | None) -> Sequence[T]:
    """Return the first ``limit`` items, or all. Raises DatasetError unless the limit is 1 or more."""
    if limit is not None and limit < 1:
        raise DatasetError(f"limit must be 1 or more, got {limit}")
    return items[:limit]


def _look_at(pack_set: PackSet) -> list[str | None]:
    """Return for each photo why it cannot be used, as far as its header tells, or None."""
    jobs, name = pack_set.jobs, pack_set.gt.stem
    return list(
        progress(unusable_photos(pack_set.settings, jobs), total=len(jobs), what=f"look at {name}", unit="photo")
    )


def _pack(
    pack_set: PackSet, reasons: Sequence[str | None], writers: Sequence[LmdbWriter], workers: int, verify: bool
) -> PrepareSummary:
    started = time.monotonic()
    scales = pack_set.settings.scales
    jobs = [job for job, reason in zip(pack_set.jobs, reasons) if reason is None]
    unusable = [reason for reason in reasons if reason is not None]
    skipped: list[str] = []
    results = ordered_map(partial(pack_photo, pack_set.settings), jobs, workers=min(workers, len(jobs)))
    for packed in progress(results, total=len(jobs), what=f"pack {pack_set.gt.stem}", unit="photo"):
        if packed.skipped:
            skipped.append(packed.key)
        if packed.unusable is not None:
            unusable.append(packed.unusable)
        for key, encoded in packed.images:
            for writer, (data, shape) in zip(writers, encoded):
                writer.put(key, data, shape)
    if len(skipped) + len(unusable) == len(pack_set.jobs):
        raise _nothing_left(pack_set, skipped, unusable)
    seal(writers)  # frees what each still holds in memory; a set may be followed by others
    if verify:
        verify_set(writers[0].folder, {scale: writer.folder for scale, writer in zip(scales, writers[1:])})
    seconds, payload = time.monotonic() - started, pack_set.settings.payload
    count = writers[0].count
    return PrepareSummary(
        gt=pack_set.gt,
        lq=pack_set.lq,
        photos=len(pack_set.jobs),
        images=count,
        skipped=tuple(skipped),
        seconds=seconds,
        verified=verify,
        payload=payload,
        unusable=tuple(unusable),
    )


def _nothing_left(pack_set: PackSet, skipped: Sequence[str], unusable: Sequence[str]) -> DatasetError:
    jobs, settings = pack_set.jobs, pack_set.settings
    if not skipped:
        return unusable_report(unusable, len(jobs))
    names = f"all {len(jobs)} photos, '{jobs[0]}' first, are"
    if unusable:
        names = f"{len(unusable)} of {len(jobs)} photos cannot be used ({unusable[0]}), and the others are"
    if settings.crop is None:
        return DatasetError(f"{names} smaller than {settings.least} pixels, which the scale needs; use larger photos")
    return DatasetError(
        f"{names} smaller than the crop of {settings.crop} pixels; choose a smaller --crop (and --step), "
        "or --small keep"
    )
