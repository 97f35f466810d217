"""The GoPro deblurring set (Nah et al., CVPR 2017), as published or flattened."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ...data.lmdb.payload import Payload
from ...errors import DatasetError
from ..packing import PhotoJob
from .pages import GOPRO_PAGE
from .pairing import pair_photos
from .published import PreparedParts, PublishedPart, pack_parts

__all__ = ["GOPRO_COUNTS", "prepare_gopro"]

#: Pairs in the training and in the test set.
GOPRO_COUNTS = {"train": 2103, "test": 1111}


def prepare_gopro(
    root: Path,
    out: Path,
    *,
    blur: Literal["blur", "blur_gamma"] = "blur",
    crop: int | None = 512,
    step: int | None = 256,
    workers: int | None = None,
    level: int = 1,
    payload: Payload = "png",
    overwrite: bool = False,
    verify: bool = False,
    limit: int | None = None,
) -> PreparedParts:
    """Pack GoPro: training frames as sub-images into ``GoPro_train_GT_sub.lmdb`` and ``GoPro_train_LQ_sub.lmdb``, test
    frames whole into ``GoPro_test_GT.lmdb`` and ``GoPro_test_LQ.lmdb``.

    512 pixels every 256 are the sub-images that NAFNet and Restormer train on: 8 of a 720x1280 frame, 16,824 in all.

    Args:
        root: holds ``train`` and ``test`` (or one of them), itself or in a folder ``GoPro`` or ``GOPRO_Large``; in each
            either ``GOPR*/{blur,blur_gamma,sharp}/000001.png`` or, flattened, ``{input,target}/*.png``.
        out: folder for the databases.
        blur: which of the two published blurs to take; NAFNet and others use ``blur``. The flattened form has one.
        crop, step: sub-images of the training set, see :func:`prepare_paired`.
        workers, level, payload, overwrite, verify, limit: see :func:`prepare_sr`; the limit is for each set.

    Raises:
        DatasetError: not there or not complete, and where to get it; or see :func:`prepare_paired`.
    """
    if blur not in ("blur", "blur_gamma"):
        raise DatasetError(f"blur must be 'blur' or 'blur_gamma', got {blur!r}")
    folders = [folder for folder in (root, root / "GoPro", root / "GOPRO_Large") if _holds_a_set(folder)]
    base = folders[0] if folders else root
    suffix = "" if crop is None else "_sub"
    train, test = (_pairs(base / name, blur) for name in GOPRO_COUNTS)
    parts = [
        PublishedPart(
            "GoPro train",
            base / "train",
            train,
            (GOPRO_COUNTS["train"],),
            f"GoPro_train_GT{suffix}.lmdb",
            f"GoPro_train_LQ{suffix}.lmdb",
            crop,
            step,
        ),
        PublishedPart(
            "GoPro test",
            base / "test",
            test,
            (GOPRO_COUNTS["test"],),
            "GoPro_test_GT.lmdb",
            "GoPro_test_LQ.lmdb",
        ),
    ]
    return pack_parts(
        f"{GOPRO_PAGE} (GOPRO_Large)",
        parts,
        out,
        workers=workers,
        level=level,
        payload=payload,
        overwrite=overwrite,
        verify=verify,
        limit=limit,
    )


def _holds_a_set(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in GOPRO_COUNTS)


def _pairs(folder: Path, blur: str) -> list[PhotoJob] | None:
    """Return the pairs of a set in either layout, keyed ``GOPR0372_07_00/000047`` or by the flat name."""
    if not folder.is_dir():
        return None
    if (folder / "target").is_dir():
        return pair_photos(folder / "target", folder / "input")
    scenes = sorted(sharp.parent for sharp in folder.glob("*/sharp"))
    return [job for scene in scenes for job in pair_photos(scene / "sharp", scene / blur, prefix=f"{scene.name}/")]
