"""From two folders of photos, sharp and degraded, to paired databases: deblurring, deraining, and the like."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ...data.lmdb.payload import Payload
from ..databases import PackSet, PrepareSummary, pack_databases, take
from ..packing import pack_settings
from .pairing import pair_photos

__all__ = ["prepare_paired"]


def prepare_paired(
    gt: Path,
    lq: Path,
    out: Path,
    *,
    template: str = "{}",
    gt_template: str = "{}",
    scale: int = 1,
    crop: int | None = None,
    step: int | None = None,
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
    lq_name: str = "LQ.lmdb",
) -> PrepareSummary:
    """Pack pairs of photos into a GT and an LQ database, both or neither.

    Photos are paired by relative path and file name; extensions may differ. No photo may be left over on either side.

    Args:
        gt: folder of sharp photos, searched with its sub-folders.
        lq: folder of degraded photos, each as large as its GT photo; at other scales ``floor(GT / scale)``, and GT is
            cut to a multiple of the scale.
        out: folder for the databases; made if missing.
        template: LQ file name without extension, such as ``{}x4`` or ``rain-{}``.
        gt_template: GT file name without extension, such as ``norain-{}``; ``{}`` is what both names share.
        scale: GT size / LQ size; 1 for deblurring, deraining and denoising.
        crop: side of the sub-images ``<key>_s001`` in GT pixels; None packs whole photos.
        step: distance between sub-images in GT pixels; None means ``crop``.
        thresh, small, skip_unusable, workers, level, payload, overwrite, verify, limit: see :func:`prepare_sr`.
        gt_name, lq_name: names of the databases.

    Raises:
        DatasetError: photos that do not pair up, with the templates that would pair them; a pair whose sizes do not
            fit; a damaged photo; or a wrong option. Nothing is left behind.
    """
    settings = pack_settings(
        [scale],
        crop=crop,
        step=step,
        thresh=thresh,
        small=small,
        level=level,
        payload=payload,
        skip_unusable=skip_unusable,
    )
    jobs = take(pair_photos(gt, lq, template=template, gt_template=gt_template), limit)
    pack_set = PackSet(settings, jobs, out / gt_name, {scale: out / lq_name})
    return pack_databases([pack_set], workers=workers, overwrite=overwrite, verify=verify)[0]
