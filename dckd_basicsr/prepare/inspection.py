"""All photos by their headers, before any work: what cannot be used is told in a moment, and all of it at once."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2

from ..data.photos.headers import Header, read_header
from ..data.photos.images import claims_too_much, not_an_image
from ..data.photos.keys import check_key
from ..errors import DatasetError
from .packing import LEAVE_OUT, PackSettings, PhotoJob, common_size, is_small
from .subimages import subimage_key

__all__ = ["header_of", "unusable_photos", "unusable_report"]

_SHOWN = 50


def unusable_photos(settings: PackSettings, jobs: Sequence[PhotoJob]) -> Iterator[str | None]:
    """Yield for each job why it cannot be packed, or None: unreadable, no image, not 8-bit, sizes that do not fit,
    a key that is too long.

    Only headers are read. A picture that is damaged further on shows when it is packed.
    """
    for job in jobs:
        try:
            _look_at(settings, job)
        except DatasetError as error:
            yield str(error)
        else:
            yield None


def unusable_report(reasons: Sequence[str], photos: int) -> DatasetError:
    """Return the error for one or several reasons of :func:`unusable_photos`, out of so many photos."""
    if len(reasons) == 1:
        return DatasetError(f"{reasons[0]} ({LEAVE_OUT})")
    lines = [f"\n  - {reason}" for reason in reasons[:_SHOWN]]
    more = f"\n  - and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
    return DatasetError(f"{len(reasons)} of {photos} photos cannot be used:{''.join(lines)}{more}\n{LEAVE_OUT}")


def header_of(path: Path) -> Header | None:
    """Read a photo's header; None if only decoding can tell.

    Raises:
        DatasetError: the file cannot be read, is no image, claims more than it can hold, or is not 8-bit.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size == 0:
                raise not_an_image(str(path), 0)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                header, png = read_header(data), data[:4] == b"\x89PNG"
    except (OSError, ValueError) as error:  # ValueError: it became empty meanwhile
        raise DatasetError(f"cannot read photo '{path}': {getattr(error, 'strerror', None) or error}") from error
    if (header is None and not cv2.haveImageReader(str(path))) or (png and claims_too_much(header, size)):
        raise not_an_image(str(path), size)
    if header is not None and header.bits > 8:
        raise DatasetError(
            f"'{path}' holds {header.bits}-bit values, 8-bit images are expected; convert it to 8 bits first"
        )
    return header


def _look_at(settings: PackSettings, job: PhotoJob) -> None:
    gt = header_of(job.path)
    if gt is not None and is_small(settings, gt[:2]):
        return
    lqs = [header_of(path) for path in job.lq or ()]
    if gt is not None:
        known = [None if lq is None else lq[:2] for lq in lqs]
        common_size(settings, job, gt[:2], known)
    check_key(job.key if settings.crop is None else subimage_key(job.key, 1))
