"""One photo's way into the databases: decode, align, shrink, cut, encode. Runs in worker processes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from ..bicubic import imresize_uint8
from ..data.lmdb.payload import Payload, Shape, check_payload, encode
from ..data.photos.images import Image, read_image
from ..data.photos.keys import check_key
from ..errors import DatasetError
from .subimages import check_crop, crop_grid, subimage_key

__all__ = ["PackSettings", "PackedPhoto", "PhotoJob", "pack_photo", "pack_settings"]

#: What else can be done about photos that cannot be used, for messages.
LEAVE_OUT = "`basicsr prepare sr` and `paired` leave such photos out with --skip-unusable"

#: The stored bytes and the image's shape.
Encoded = tuple[bytes, Shape]


@dataclass(frozen=True)
class PackSettings:
    """What is the same for every photo; see :func:`dckd_basicsr.prepare.sets.sr`. Lengths in GT pixels."""

    scales: tuple[int, ...]
    crop: int | None
    step: int
    thresh: int
    keep_small: bool
    level: int
    payload: Payload = "png"
    skip_unusable: bool = False

    @property
    def multiple(self) -> int:
        """GT height and width are cut to a multiple of this, so that every LQ is exact."""
        return math.lcm(*self.scales)

    @property
    def least(self) -> int:
        """Photos of a smaller height or width are small: they give no crop, or no whole pixel of an LQ."""
        return self.crop or self.multiple


@dataclass(frozen=True)
class PhotoJob:
    """A photo, its key, and its LQ photos in the order of the scales (None: make them)."""

    key: str
    path: Path
    lq: tuple[Path, ...] | None = None

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class PackedPhoto:
    """A photo's images: for each key, the encoded GT followed by one LQ per scale.

    None if it is small and small ones are skipped, or (``unusable`` says why) if it cannot be used.
    """

    key: str
    images: tuple[tuple[str, tuple[Encoded, ...]], ...] = ()
    skipped: bool = False
    unusable: str | None = None


def pack_settings(
    scales: Sequence[int],
    *,
    crop: int | None,
    step: int | None,
    thresh: int = 0,
    small: str = "skip",
    level: int = 1,
    payload: Payload = "png",
    skip_unusable: bool = False,
) -> PackSettings:
    """Check the options of :func:`dckd_basicsr.prepare.sets.sr` that concern a photo.

    Raises:
        DatasetError: names the option and what it may be.
    """
    if not scales or min(scales) < 1 or len(set(scales)) != len(scales):
        raise DatasetError(f"scales must be different whole numbers from 1 on, got {list(scales)}")
    if small not in ("skip", "keep"):
        raise DatasetError(f"small must be 'skip' or 'keep', got {small!r}")
    if not 0 <= level <= 9:
        raise DatasetError(f"PNG level must be 0 to 9, got {level}")
    check_payload(payload)
    if thresh < 0:
        raise DatasetError(f"thresh must be 0 or more pixels, got {thresh}")
    if crop is not None:
        check_crop(crop, crop if step is None else step, scales)
    return PackSettings(tuple(scales), crop, step or crop or 0, thresh, small == "keep", level, payload, skip_unusable)


def is_small(settings: PackSettings, size: tuple[int, int]) -> bool:
    """Tell whether a photo of this height and width is skipped as small."""
    return not settings.keep_small and min(size) < settings.least


def pack_photo(settings: PackSettings, job: PhotoJob) -> PackedPhoto:
    """Turn one photo into everything the databases store of it.

    Raises:
        DatasetError: a key is too long; or, unless such photos are skipped, a photo is damaged or too small, or an LQ
            photo has the wrong size.
    """
    try:
        gt = read_image(job.path)
        if is_small(settings, _size(gt)):
            return PackedPhoto(job.key, skipped=True)
        lqs = [read_image(path) for path in job.lq or ()]
        height, width = common_size(settings, job, _size(gt), [_size(lq) for lq in lqs])
    except DatasetError as error:
        if settings.skip_unusable:
            return PackedPhoto(job.key, unusable=str(error))
        raise DatasetError(f"{error} ({LEAVE_OUT})") from error
    gt = gt[:height, :width]
    crop = settings.crop
    small = crop is not None and min(height, width) < crop
    # Shrunk whole, then cut: the pixels at a sub-image's border know their true neighbours.
    versions = [gt, *(lqs or [imresize_uint8(gt, Fraction(1, scale)) for scale in settings.scales])]
    divisors = (1, *settings.scales)
    if crop is None or small:
        boxes = [(0, 0, height, width)]
    else:
        grid = crop_grid(height, width, crop, settings.step, settings.thresh)
        boxes = [(top, left, crop, crop) for top, left in grid]
    images = []
    for number, box in enumerate(boxes, start=1):
        key = job.key if crop is None else subimage_key(job.key, number)
        check_key(key)
        images.append((key, tuple(_cut(v, box, d, settings) for v, d in zip(versions, divisors))))
    return PackedPhoto(job.key, tuple(images))


def common_size(
    settings: PackSettings, job: PhotoJob, gt: tuple[int, int], lqs: Sequence[tuple[int, int] | None]
) -> tuple[int, int]:
    """Return the largest GT height and width that are a multiple of every scale and covered by every LQ.

    Args:
        settings: of the packing.
        job: for messages.
        gt: height and width of the photo.
        lqs: those of its LQ photos, in the order of the scales, if it has any; None if not known.

    Raises:
        DatasetError: the photo is too small, or an LQ photo has the wrong size.
    """
    height, width = gt
    for scale, path, lq in zip(settings.scales, job.lq or (), lqs):
        if lq is not None and lq != (height // scale, width // scale):
            raise DatasetError(
                f"LQ photo '{path}' is {lq[0]}x{lq[1]}, but '{job.path}' is {height}x{width}, so at scale "
                f"{scale} {height // scale}x{width // scale} was expected; check that they belong together"
            )
    multiple = settings.multiple
    if min(height, width) < multiple:
        raise DatasetError(
            f"photo '{job.path}' is {height}x{width}, at least {multiple}x{multiple} is needed; remove it"
        )
    return height // multiple * multiple, width // multiple * multiple


def _size(image: Image) -> tuple[int, int]:
    return image.shape[0], image.shape[1]


def _cut(image: Image, box: tuple[int, int, int, int], divisor: int, settings: PackSettings) -> Encoded:
    top, left, height, width = (value // divisor for value in box)
    part = image[top : top + height, left : left + width]
    return encode(part, settings.payload, settings.level), (height, width, part.shape[2])
