"""DIV2K's 800 training photos, in the layout they are published in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...data.lmdb.payload import Payload
from ...errors import DatasetError
from ..databases import PackSet, PrepareSummary, pack_databases, take
from ..packing import PhotoJob, pack_settings
from .pages import DIV2K_PAGE

__all__ = ["prepare_div2k"]

_PHOTOS = 800
_SHOWN = 5


def prepare_div2k(
    root: Path,
    out: Path,
    scales: Sequence[int] = (2, 3, 4),
    *,
    crop: int | None = 480,
    step: int | None = 240,
    workers: int | None = None,
    level: int = 1,
    payload: Payload = "png",
    overwrite: bool = False,
    verify: bool = False,
    limit: int | None = None,
) -> PrepareSummary:
    """Pack DIV2K's training photos and their published bicubic LQ into ``DIV2K_train_HR_sub.lmdb`` and
    ``DIV2K_train_LR_bicubic_X<scale>_sub.lmdb``, the names of BasicSR's option files.

    Args:
        root: folder that holds ``DIV2K_train_HR/0001.png`` and ``DIV2K_train_LR_bicubic/X2/0001x2.png`` and so on.
        out: folder for the databases.
        scales: the published ones are 2, 3 and 4.
        crop, step, workers, level, payload, overwrite, verify, limit: see :func:`~dckd_basicsr.prepare.sets.sr`.

    Raises:
        DatasetError: photos are missing or there are others beside them (the validation photos must not be trained
            on), and where to get them; or see
            :func:`~dckd_basicsr.prepare.sets.sr`.
    """
    settings = pack_settings(scales, crop=crop, step=step, level=level, payload=payload)
    names = take([f"{number:04d}" for number in range(1, _PHOTOS + 1)], limit)
    hr = root / "DIV2K_train_HR"
    folders = {scale: root / "DIV2K_train_LR_bicubic" / f"X{scale}" for scale in scales}
    problems = _problems(hr, names, "")
    for scale, folder in folders.items():
        problems += _problems(folder, names, f"x{scale}")
    if problems:
        raise DatasetError(
            f"DIV2K in '{root}' is not complete: {'; '.join(problems)}. Download the training data (HR images and LR "
            f"bicubic, all scales) from {DIV2K_PAGE}; without the LR folders, `basicsr prepare sr {hr} OUT` makes the "
            "LQ photos itself"
        )
    # By name, whatever else is there: with a limit, the others may have come in part.
    jobs = [
        PhotoJob(name, hr / f"{name}.png", tuple(folders[scale] / f"{name}x{scale}.png" for scale in settings.scales))
        for name in names
    ]
    targets = {scale: out / f"DIV2K_train_LR_bicubic_X{scale}_sub.lmdb" for scale in settings.scales}
    pack_set = PackSet(settings, jobs, out / "DIV2K_train_HR_sub.lmdb", targets)
    return pack_databases([pack_set], workers=workers, overwrite=overwrite, verify=verify)[0]


def _problems(folder: Path, names: Sequence[str], ending: str) -> list[str]:
    if not folder.is_dir():
        return [f"folder '{folder}' is missing"]
    wanted = {f"{name}{ending}.png" for name in names}
    found = {path.name for path in folder.glob("*.png")}
    training = {f"{number:04d}{ending}.png" for number in range(1, _PHOTOS + 1)}
    problems = []
    for odd, meaning in ((wanted - found, "missing from"), (found - training, "too many in")):
        if odd:
            more = ", ..." if len(odd) > _SHOWN else ""
            problems.append(f"{len(odd)} photos {meaning} '{folder}' ({', '.join(sorted(odd)[:_SHOWN])}{more})")
    return problems
