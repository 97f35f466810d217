"""Reading a database again from end to end: every image decoded, every shape and checksum compared."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..data.lmdb.pack_id import pack_problems, read_pack_id
from ..data.lmdb.payload import Payload, Shape, decode
from ..data.lmdb.reader import REPAIR, LmdbImages, read_checksums, read_meta_info
from ..data.preflight import pair_problems
from ..errors import DatasetError
from .parallel import progress

__all__ = ["LmdbReport", "PairReport", "verify_lmdb", "verify_pair", "verify_set"]

_MOST_PROBLEMS = 5


@dataclass(frozen=True)
class LmdbReport:
    """A database found sound: its number of images, their stored bytes, and whether there were checksums to compare."""

    path: Path
    images: int
    bytes: int
    checksums: bool


@dataclass(frozen=True)
class PairReport:
    """Two databases found sound, each GT image ``scale`` times as high and wide as its LQ image.

    ``packed_together`` tells whether both have the same pack id; otherwise neither has one. ``rest`` tells that GT
    images have a remainder at the right and bottom, which datasets cut off outside training: such a set is none to
    train on.
    """

    gt: LmdbReport
    lq: LmdbReport
    scale: int
    packed_together: bool
    rest: bool = False


def verify_lmdb(path: Path) -> LmdbReport:
    """Read every image of a database: their number, decoding, shape against ``meta_info.txt``, recorded checksum.

    Raises:
        DatasetError: names the database and its first problems.
    """
    with LmdbImages(path) as images:
        sums = read_checksums(path)
        problems: list[str] = []
        size = 0
        for key in progress(images.keys, total=len(images), what=f"verify {path.name}", unit="image"):
            try:
                data = images.get(key)
                size += len(data)
                _check(key, data, images.payload, images.shapes[key], sums)
            except DatasetError as error:
                problems.append(str(error))
            if len(problems) == _MOST_PROBLEMS:
                problems.append("stopped here")
                break
    if problems:
        raise DatasetError(f"'{path}' is damaged: {'; '.join(problems)}. To repair it, {REPAIR}")
    return LmdbReport(path, len(images), size, sums is not None)


def verify_pair(gt: Path, lq: Path, scale: int) -> PairReport:
    """Verify two databases, and that they were packed together, with the same keys and GT ``scale`` times LQ.

    GT may have a remainder; the report tells.

    Raises:
        DatasetError: names the database or key, and the first problems.
    """
    return verify_set(gt, {scale: lq}, rest=True)[0]


def verify_set(gt: Path, lqs: Mapping[int, Path], *, rest: bool = False) -> list[PairReport]:
    """Verify a GT database with the LQ database of each scale; GT is read once. See :func:`verify_pair`.

    With ``rest`` GT may have a remainder.
    """
    if lqs and min(lqs) < 1:
        raise DatasetError(f"scale must be 1 or more, got {min(lqs)}")
    gt_shapes, exact = read_meta_info(gt), {}
    for scale, lq in lqs.items():
        shapes = gt_shapes, read_meta_info(lq)
        problems = pair_problems(gt, lq, scale, *shapes, rest=rest) or pack_problems(gt, lq)
        if problems:  # seen in a moment, so before the long reading
            raise DatasetError("; ".join(problems))
        exact[scale] = not pair_problems(gt, lq, scale, *shapes)
    report, known = verify_lmdb(gt), read_pack_id(gt) is not None
    return [PairReport(report, verify_lmdb(lq), scale, known, not exact[scale]) for scale, lq in lqs.items()]


def _check(key: str, data: bytes, payload: Payload, shape: Shape, sums: dict[str, str] | None) -> None:
    if sums is not None and key not in sums:
        raise DatasetError(f"'{key}' has no line in checksums.txt")
    if sums is not None and hashlib.sha256(data).hexdigest() != sums[key]:
        raise DatasetError(f"'{key}' differs from its checksum")
    height, width = decode(data, payload, shape, key).shape[:2]
    if (height, width) != shape[:2]:
        raise DatasetError(f"'{key}' is {height}x{width}, meta_info.txt says {shape[0]}x{shape[1]}")
