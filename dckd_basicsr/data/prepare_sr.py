"""From a folder of photos to paired databases for super-resolution, in one pass."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from ..errors import DatasetError
from .keys import keyed_photos
from .lmdb_writer import LmdbWriter, lmdb_writers
from .packing import PackSettings, PhotoJob, pack_photo
from .parallel import default_workers, ordered_map, progress
from .subimages import check_crop
from .verify import verify_set

__all__ = ["PrepareSummary", "prepare_sr"]


@dataclass(frozen=True)
class PrepareSummary:
    """What was packed. ``images`` counts pairs per scale; ``skipped`` holds keys of photos smaller than the crop."""

    gt: Path
    lq: Mapping[int, Path]
    photos: int
    images: int
    skipped: tuple[str, ...]
    seconds: float
    verified: bool


def prepare_sr(
    source: Path,
    out: Path,
    scales: Sequence[int],
    *,
    lq: Path | Mapping[int, Path] | None = None,
    crop: int | None = 480,
    step: int | None = 240,
    thresh: int = 0,
    small: Literal["skip", "keep"] = "skip",
    workers: int | None = None,
    level: int = 1,
    overwrite: bool = False,
    verify: bool = False,
    limit: int | None = None,
    gt_name: str = "GT.lmdb",
    lq_name: str = "LQ_x{scale}.lmdb",
) -> PrepareSummary:
    """Pack photos into one GT database and one LQ database per scale, all of them or none.

    GT is the photo cut to a multiple of the scale (of all scales' least common multiple: for published test sets, pack
    one scale at a time). LQ is MATLAB's bicubic ``imresize`` of that whole photo, or the given LQ photo. Both are then
    cut into sub-images ``<key>_s001`` on one grid. Each photo is decoded once.

    Args:
        source: folder of HR photos, searched with its sub-folders.
        out: folder for the databases; made if missing.
        scales: such as ``[4]`` or ``[2, 3, 4]``.
        lq: ready-made LQ photos, ``floor(HR / scale)`` in size, named like the HR photo or with ``x<scale>`` appended:
            a folder (with sub-folders ``X2``, ``X3``, ... , needed if there are several scales), or one for each scale.
        crop: side of the sub-images in GT pixels; None packs whole photos (test sets).
        step: distance between sub-images in GT pixels; None means ``crop``.
        thresh: pixels that may be left over at the right and bottom before another sub-image is laid flush with them.
        small: photos smaller than the crop are skipped (and reported), or kept whole.
        workers: processes; None for one per core, 0 for none.
        level: PNG compression, 0 to 9. Changes size and time, never pixels.
        overwrite: replace existing databases, at the end.
        verify: read everything again before the databases appear.
        limit: take only the first photos.
        gt_name: name of the GT database.
        lq_name: names of the LQ databases.

    Raises:
        DatasetError: says which photo, option or database is wrong. Nothing is left behind.
    """
    started = time.monotonic()
    settings = _settings(scales, crop, step, thresh, small, level)
    if (workers is not None and workers < 0) or (limit is not None and limit < 1):
        raise DatasetError(f"workers must be 0 or more and limit 1 or more, got workers={workers} and limit={limit}")
    jobs = _jobs(source, settings.scales, lq, limit)
    targets = {scale: out / lq_name.format(scale=scale) for scale in settings.scales}
    with lmdb_writers([out / gt_name, *targets.values()], level=level, overwrite=overwrite) as writers:
        skipped = _pack(settings, jobs, writers, default_workers() if workers is None else workers)
        if verify:
            for writer in writers:
                writer.finish()
            verify_set(writers[0].folder, {s: w.folder for s, w in zip(settings.scales, writers[1:])})
        images = writers[0].count
    return PrepareSummary(
        out / gt_name, targets, len(jobs), images, tuple(skipped), time.monotonic() - started, verified=verify
    )


def _pack(settings: PackSettings, jobs: Sequence[PhotoJob], writers: Sequence[LmdbWriter], workers: int) -> list[str]:
    """Put every photo into the databases; return the keys of the photos skipped as too small."""
    skipped: list[str] = []
    results = ordered_map(partial(pack_photo, settings), jobs, workers=min(workers, len(jobs)))
    for packed in progress(results, total=len(jobs), what="pack", unit="photo"):
        if packed.skipped:
            skipped.append(packed.key)
        for key, encoded in packed.images:
            for writer, (data, shape) in zip(writers, encoded):
                writer.put(key, data, shape)
    if len(skipped) == len(jobs):
        raise DatasetError(
            f"all {len(jobs)} photos, '{jobs[0]}' first, are smaller than the crop of {settings.crop} pixels; "
            "choose a smaller --crop (and --step), or --small keep"
        )
    return skipped


def _settings(
    scales: Sequence[int], crop: int | None, step: int | None, thresh: int, small: str, level: int
) -> PackSettings:
    if not scales or min(scales) < 1 or len(set(scales)) != len(scales):
        raise DatasetError(f"scales must be different whole numbers from 1 on, got {list(scales)}")
    if small not in ("skip", "keep"):
        raise DatasetError(f"small must be 'skip' or 'keep', got {small!r}")
    if not 0 <= level <= 9:
        raise DatasetError(f"PNG level must be 0 to 9, got {level}")
    if thresh < 0:
        raise DatasetError(f"thresh must be 0 or more pixels, got {thresh}")
    if crop is not None:
        check_crop(crop, crop if step is None else step, scales)
    return PackSettings(tuple(scales), crop, step or crop or 0, thresh, small == "keep", level)


def _jobs(
    source: Path, scales: Sequence[int], lq: Path | Mapping[int, Path] | None, limit: int | None
) -> list[PhotoJob]:
    photos = dict(list(keyed_photos(source).items())[:limit])
    if lq is None:
        return [PhotoJob(key, path) for key, path in photos.items()]
    matches = [_match(photos, _lq_folder(lq, scale, scales), scale) for scale in scales]
    return [PhotoJob(key, path, tuple(found)) for (key, path), *found in zip(photos.items(), *matches)]


def _lq_folder(lq: Path | Mapping[int, Path], scale: int, scales: Sequence[int]) -> Path:
    if isinstance(lq, Mapping):
        if scale not in lq:
            raise DatasetError(f"no LQ folder was given for scale {scale}, only for {sorted(lq)}")
        return lq[scale]
    if (lq / f"X{scale}").is_dir() or len(scales) > 1:
        return lq / f"X{scale}"
    return lq


def _match(photos: Mapping[str, Path], folder: Path, scale: int) -> list[Path]:
    """Find the LQ photo of each HR photo: DIV2K's ``0001x4`` before plain ``0001``."""
    found = keyed_photos(folder)
    matches = [found.get(f"{key}x{scale}") or found.get(key) for key in photos]
    missing = [os.fspath(path) for path, match in zip(photos.values(), matches) if match is None]
    if missing:
        raise DatasetError(
            f"'{folder}' has no LQ photo for {len(missing)} of {len(photos)} HR photos, such as '{missing[0]}'; it "
            f"should be named '{Path(missing[0]).stem}x{scale}' or '{Path(missing[0]).stem}' (any photo extension)"
        )
    return [match for match in matches if match is not None]
