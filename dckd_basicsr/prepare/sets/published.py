"""Data sets as they are published: the parts that are there, counted first, then packed together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...data.lmdb.payload import Payload
from ...errors import DatasetError
from ..databases import PackSet, PrepareSummary, pack_databases, take
from ..packing import PhotoJob, pack_settings

__all__ = ["PreparedParts", "PublishedPart", "pack_parts"]


@dataclass(frozen=True)
class PublishedPart:
    """A training or test set.

    Attributes:
        name: such as ``train``.
        folder: where it is expected, for messages.
        jobs: its pairs; None if it is not there.
        counts: the numbers of pairs it is published with.
        gt_name, lq_name: its databases.
        crop, step: see :func:`dckd_basicsr.prepare.sets.paired`.
    """

    name: str
    folder: Path
    jobs: Sequence[PhotoJob] | None
    counts: tuple[int, ...]
    gt_name: str
    lq_name: str
    crop: int | None = None
    step: int | None = None


@dataclass(frozen=True)
class PreparedParts:
    """What was packed, by part, and a sentence for each part that is not there."""

    parts: Mapping[str, PrepareSummary]
    missing: tuple[str, ...]


def pack_parts(
    source: str,
    parts: Sequence[PublishedPart],
    out: Path,
    *,
    workers: int | None = None,
    level: int = 1,
    payload: Payload = "png",
    overwrite: bool = False,
    verify: bool = False,
    limit: int | None = None,
) -> PreparedParts:
    """Pack every part that is there, all of them or none; whole numbers of pairs are checked before any work.

    Args:
        source: ends the sentence "Download it from ...".
        parts: at least one must be there.
        out: folder for the databases.
        workers, level, payload, overwrite, verify, limit: see :func:`prepare_sr`; the limit is for each part.

    Raises:
        DatasetError: no part is there, or one is incomplete, and where to get it; or see :func:`prepare_sr`.
    """
    present = [(part, part.jobs) for part in parts if part.jobs is not None]
    missing = tuple(f"{part.name}: no folder '{part.folder}'" for part in parts if part.jobs is None)
    problems = [problem for part, jobs in present for problem in _count_problems(part, len(jobs), limit)]
    if problems or not present:
        raise DatasetError(f"{'; '.join(problems or missing)}. Download it from {source}")
    sets = [
        PackSet(
            pack_settings([1], crop=part.crop, step=part.step, level=level, payload=payload),
            take(jobs, limit),
            out / part.gt_name,
            {1: out / part.lq_name},
        )
        for part, jobs in present
    ]
    summaries = pack_databases(sets, workers=workers, overwrite=overwrite, verify=verify)
    return PreparedParts({part.name: summary for (part, _), summary in zip(present, summaries)}, missing)


def _count_problems(part: PublishedPart, count: int, limit: int | None) -> list[str]:
    """With a limit, the first pairs of an incomplete set will do, but there must not be too many."""
    if count in part.counts or (limit is not None and min(limit, *part.counts) <= count <= max(part.counts)):
        return []
    expected = " or ".join(map(str, part.counts))
    return [
        f"{part.name} in '{part.folder}' holds {count} pairs, {expected} were expected (a part of it is packed by "
        "`basicsr prepare paired`)"
    ]
