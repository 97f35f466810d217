"""Rain13K and its five test sets, in the layout that MPRNet published them in."""

from __future__ import annotations

from pathlib import Path

from ...data.lmdb.payload import Payload
from .pages import RAIN13K_PAGE
from .pairing import pair_photos
from .published import PreparedParts, PublishedPart, pack_parts

__all__ = ["RAIN13K_COUNTS", "prepare_rain13k"]

#: Pairs in each set, in the papers and in the download where they differ: of the training set one damaged pair was
#: withdrawn (swz30/MPRNet#74), and Test100 comes with 98 pairs, as MSPFN tested on (swz30/MPRNet#23).
RAIN13K_COUNTS = {
    "Rain13K": (13712, 13711),
    "Test100": (100, 98),
    "Rain100H": (100,),
    "Rain100L": (100,),
    "Test2800": (2800,),
    "Test1200": (1200,),
}


def prepare_rain13k(
    root: Path,
    out: Path,
    *,
    crop: int | None = None,
    step: int | None = None,
    workers: int | None = None,
    level: int = 1,
    payload: Payload = "png",
    overwrite: bool = False,
    verify: bool = False,
    limit: int | None = None,
) -> PreparedParts:
    """Pack the training set into ``Rain13K_train_GT.lmdb`` and ``Rain13K_train_LQ.lmdb`` (with ``_sub`` if cropped),
    and each test set that is there, whole, into ``Test100_GT.lmdb``, ``Test100_LQ.lmdb`` and so on.

    Args:
        root: holds ``train/Rain13K/{input,target}`` and ``test/Test100/{input,target}``, ...; PNG and JPEG, mixed.
        out: folder for the databases.
        crop, step: sub-images of the training set, see :func:`prepare_paired`; whole photos are usual.
        workers, level, payload, overwrite, verify, limit: see :func:`prepare_sr`; the limit is for each set.

    Raises:
        DatasetError: nothing there or a set not complete, and where to get it; or see :func:`prepare_paired`.
    """
    parts = []
    for name, counts in RAIN13K_COUNTS.items():
        is_train = name == "Rain13K"
        folder = root / ("train" if is_train else "test") / name
        jobs = pair_photos(folder / "target", folder / "input") if folder.is_dir() else None
        stem, end = (f"{name}_train", "_sub" if crop is not None else "") if is_train else (name, "")
        crops = (crop, step) if is_train else (None, None)
        parts.append(PublishedPart(name, folder, jobs, counts, f"{stem}_GT{end}.lmdb", f"{stem}_LQ{end}.lmdb", *crops))
    return pack_parts(
        f"{RAIN13K_PAGE} (section Deraining)",
        parts,
        out,
        workers=workers,
        level=level,
        payload=payload,
        overwrite=overwrite,
        verify=verify,
        limit=limit,
    )
