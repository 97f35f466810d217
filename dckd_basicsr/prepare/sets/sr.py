"""From a folder of photos to paired databases for super-resolution, in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from ...data.lmdb.payload import Payload
from ...data.photos.keys import keyed_photos
from ...errors import DatasetError
from ..databases import PackSet, PrepareSummary, pack_databases, take
from ..packing import PhotoJob, pack_settings
from .pairing import first_names, relative_names

__all__ = ["prepare_sr"]


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
    skip_unusable: bool = False,
    workers: int | None = None,
    level: int = 1,
    payload: Payload = "png",
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
        lq: ready-made LQ photos, ``floor(HR / scale)`` in size, one for each HR photo and no others, all named like the
            HR photos or all with ``x<scale>`` appended: a folder (with sub-folders ``X2``, ``X3``, ... , needed if
            there are several scales), or one for each scale.
        crop: side of the sub-images in GT pixels; None packs whole photos (test sets).
        step: distance between sub-images in GT pixels; None means ``crop``.
        thresh: pixels that may be left over at the right and bottom before another sub-image is laid flush with them.
        small: photos smaller than the crop (of whole photos, than the scale) are skipped and reported; or kept whole,
            if they are no smaller than the scale.
        skip_unusable: leave out photos that cannot be used (damaged, 16-bit, of another size than their LQ photo asks
            for) and report them; otherwise they are an error.
        workers: processes; None for one per core, 0 for none.
        level: PNG compression, 0 to 9. Changes size and time, never pixels.
        payload: ``png``, which BasicSR's datasets read too, or ``raw`` pixels for ``PairedLMDBDataset`` alone.
        overwrite: replace existing databases, at the end; refused if databases of other scales, which were packed
            together with them, would stay.
        verify: read everything again before the databases appear.
        limit: take only the first photos.
        gt_name: name of the GT database.
        lq_name: names of the LQ databases.

    Raises:
        DatasetError: says which photo, option or database is wrong. Nothing is left behind.
    """
    settings = pack_settings(
        scales,
        crop=crop,
        step=step,
        thresh=thresh,
        small=small,
        level=level,
        payload=payload,
        skip_unusable=skip_unusable,
    )
    targets = {scale: out / lq_name.format(scale=scale) for scale in settings.scales}
    jobs = take(_jobs(source, settings.scales, lq), limit)
    pack_set = PackSet(settings, jobs, out / gt_name, targets)
    return pack_databases([pack_set], workers=workers, overwrite=overwrite, verify=verify)[0]


def _jobs(source: Path, scales: Sequence[int], lq: Path | Mapping[int, Path] | None) -> list[PhotoJob]:
    photos = keyed_photos(source)
    if lq is None:
        return [PhotoJob(key, path) for key, path in photos.items()]
    names = relative_names(source, photos)
    matches = [_match(names, _lq_folder(lq, scale, scales), scale) for scale in scales]
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
    """Find the LQ photo of each HR photo, by name: all are named as DIV2K's ``0001x4``, or all plainly ``0001``.

    Not some this way and some that: of ``wall`` and ``wallx4`` both could take the LQ photo ``wallx4``.
    """
    found = relative_names(folder, keyed_photos(folder))
    forms = [[name + ending for name in photos] for ending in (f"x{scale}", "")]
    names = max(forms, key=lambda form: len(found.keys() & form))
    missing = [path for path, name in zip(photos.values(), names) if name not in found]
    surplus = sorted(found.keys() - set(names))
    if not missing and not surplus:
        return [found[name] for name in names]
    parts = []
    if missing:
        parts.append(
            f"no LQ photo for {len(missing)} of {len(photos)} HR photos, such as '{missing[0]}', which should be named "
            f"'{missing[0].stem}x{scale}' or '{missing[0].stem}' (any photo extension)"
        )
    if surplus:
        parts.append(f"{len(surplus)} LQ photos without an HR photo: {first_names(surplus)}")
    raise DatasetError(
        f"'{folder}' has {' and '.join(parts)}; give one LQ photo for each HR photo and no others, all of them named "
        f"with 'x{scale}' or all without"
    )
