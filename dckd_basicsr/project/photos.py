"""The photos of a project: which are for training and which held out, and the databases of the former."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..data.lmdb.reader import read_meta_info
from ..data.photos.images import read_image
from ..data.photos.keys import keyed_photos
from ..errors import DatasetError
from ..prepare.databases import PackSet, pack_databases
from ..prepare.inspection import header_of, unusable_photos
from ..prepare.packing import PackSettings, PhotoJob, common_size, pack_settings
from ..prepare.sets.pairing import pair_photos
from ..prepare.subimages import subimage_key
from .plan import Kind, Plan

__all__ = ["DATA", "Photos", "find_photos", "hold_out", "pack_photos", "training_set"]

DATA = "data"
_EVERY, _MOST = 10, 12
"""One photo of so many is held out, but no more than so many."""
_CROP, _STEP = 480, 480
_WINDOW = 11
"""Side of what SSIM looks at."""


@dataclass(frozen=True)
class Photos:
    """The photos that can be used.

    Attributes:
        folder: where they are; of pairs the ground truth.
        train: to train on.
        held_out: to test on.
        digest: SHA-256 over names and sizes of all photos that were found.
        unusable: why others cannot be used.
    """

    folder: Path
    train: Sequence[PhotoJob]
    held_out: Sequence[PhotoJob]
    digest: str
    unusable: Sequence[str]

    def held(self, keys: Collection[str]) -> Photos:
        """Return the same photos with those held out that a project began with."""
        jobs = sorted((*self.train, *self.held_out), key=lambda job: job.key)
        train, held_out = ([job for job in jobs if (job.key in keys) == out] for out in (False, True))
        return replace(self, train=train, held_out=held_out)


def find_photos(folder: Path, lq: Path | None, kind: Kind, scale: int) -> Photos:
    """Look at the headers of a folder's photos; none is held out yet.

    Args:
        folder: photos, with sub-folders; of pairs the ground truth.
        lq: the inputs, of pairs.
        kind: what the photos are.
        scale: the teacher's.

    Raises:
        DatasetError: no such folder, or photos that do not pair up.
    """
    if kind == "pairs":
        assert lq is not None
        jobs = pair_photos(folder, lq)
    else:
        jobs = [PhotoJob(key, path) for key, path in keyed_photos(folder).items()]
    reasons = list(unusable_photos(_whole(kind, scale), jobs))
    return Photos(
        folder=folder,
        train=[job for job, reason in zip(jobs, reasons) if reason is None],
        held_out=[],
        digest=_digest(jobs, folder),
        unusable=[reason for reason in reasons if reason is not None],
    )


def hold_out(photos: Photos, kind: Kind, scale: int) -> Photos:
    """Divide photos: evenly spread ones are held out, which are decoded now; others take the place of damaged ones.

    Raises:
        DatasetError: fewer than two can be used, or none is large enough to test on.
    """
    usable, unusable = list(photos.train), list(photos.unusable)
    while True:
        chosen = _spread(usable, unusable, photos.folder, kind, scale)
        damaged = {job.key: fault for job in chosen if (fault := _fault(job, _whole(kind, scale))) is not None}
        if not damaged:
            return replace(photos, train=usable, unusable=unusable).held([job.key for job in chosen])
        usable = [job for job in usable if job.key not in damaged]
        unusable += damaged.values()


def _whole(kind: Kind, scale: int) -> PackSettings:
    return pack_settings([1 if kind == "lq" else scale], crop=None, step=None, small="keep")


def _spread(
    usable: Sequence[PhotoJob], unusable: Sequence[str], folder: Path, kind: Kind, scale: int
) -> list[PhotoJob]:
    """Return evenly spread photos of those on which something can be measured."""
    if len(usable) < 2:
        why = f"; for instance {unusable[0]}" if unusable else ""
        raise DatasetError(
            f"'{folder}' has {len(usable)} photos that can be used, and at least 2 are needed, one of them for "
            f"testing{why}"
        )
    large = [job for job in usable if _can_be_measured(job, kind, scale)]
    if not large:
        raise DatasetError(f"'{folder}' has no photo that is large enough to test on; add larger ones")
    count = min(len(large), _MOST, max(2 if len(usable) > 5 else 1, round(len(usable) / _EVERY)))
    return [large[len(large) * (2 * i + 1) // (2 * count)] for i in range(count)]


def _fault(job: PhotoJob, settings: PackSettings) -> str | None:
    """Return what is wrong with a photo, or with its input, beyond the header."""
    try:
        gt, *lqs = (read_image(path).shape[:2] for path in (job.path, *(job.lq or ())))
        common_size(settings, job, gt, lqs)
    except DatasetError as error:
        return str(error)
    return None


def _can_be_measured(job: PhotoJob, kind: Kind, scale: int) -> bool:
    """Tell whether the metrics, which crop a border, have anything left of a photo."""
    header = header_of(job.path)
    if header is None:
        return True
    side = min(header.height, header.width)
    output = side * scale if kind == "lq" else side // scale * scale
    return output - (2 * scale if scale > 1 else 0) >= _WINDOW


def pack_photos(photos: Photos, plan: Plan, folder: Path) -> Photos:
    """Pack the training photos into ``folder/data``; what is packed already stays.

    Returns:
        The same without the training photos that are not packed; those that turned out to be damaged are told among
        the unusable ones when they are packed, later no more.

    Raises:
        DatasetError: all are damaged, or there is no room.
    """
    gt, lq = training_set(plan.wish.kind)
    unusable: Sequence[str] = ()
    if not all((folder / name).is_dir() for name in (gt, lq) if name is not None):
        unusable = _pack(photos, plan, folder)
    packed = read_meta_info(folder / (gt or lq))
    train = [job for job in photos.train if subimage_key(job.key, 1) in packed]
    return replace(photos, train=train, unusable=[*photos.unusable, *unusable])


def _pack(photos: Photos, plan: Plan, folder: Path) -> tuple[str, ...]:
    gt, lq = training_set(plan.wish.kind)
    scale = 1 if plan.wish.kind == "lq" else plan.scale
    settings = pack_settings(
        [scale], crop=_CROP, step=_STEP, thresh=_CROP // 4, small="keep", payload="raw", skip_unusable=True
    )
    targets = {} if gt is None else {scale: folder / lq}
    (packed,) = pack_databases([PackSet(settings, photos.train, folder / (gt or lq), targets)], overwrite=True)
    return packed.unusable


def training_set(kind: Kind) -> tuple[str | None, str]:
    """Return where a project keeps its databases: ground truth, None where there is none, and inputs."""
    return (None if kind == "lq" else f"{DATA}/GT.lmdb"), f"{DATA}/LQ.lmdb"


def _digest(jobs: Sequence[PhotoJob], folder: Path) -> str:
    digest = hashlib.sha256()
    for job in jobs:
        for path in (job.path, *(job.lq or ())):
            name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
            digest.update(f"{name}\0{path.stat().st_size}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()
