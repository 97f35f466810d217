"""Which photos a folder holds, and the LMDB key of each.

BasicSR cuts a key at its first dot, encodes it as ASCII, and lets the second of two equal keys overwrite the first.
Keys made here survive all three: they hold only ``A-Z a-z 0-9 _ / -``, and two files with one key are refused.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePath

from ...errors import DatasetError

__all__ = ["MAX_KEY_BYTES", "PHOTO_SUFFIXES", "check_key", "image_key", "keyed_photos", "list_photos"]

#: Extensions (any case) taken as photos.
PHOTO_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")

#: LMDB's own limit on the length of a key.
MAX_KEY_BYTES = 511

_KEY = re.compile(r"[A-Za-z0-9_/-]+")
_REPLACED = re.compile(r"[^A-Za-z0-9_/-]")


def image_key(relative: PurePath | str) -> str:
    """Return the LMDB key for a photo, from its path relative to the photo folder.

    The extension goes; any other ASCII character outside ``[A-Za-z0-9_/-]`` becomes ``_``; a non-ASCII character
    becomes its code point, so that photos named in any script stay apart.

    >>> image_key("city/img 01.v2.png"), image_key("é.jpg")
    ('city/img_01_v2', '_e9_')
    """
    # One file name can be stored composed (Linux) or decomposed (macOS): the key should not depend on that.
    stem = unicodedata.normalize("NFC", PurePath(relative).with_suffix("").as_posix())
    return _REPLACED.sub(lambda match: "_" if match[0].isascii() else f"_{ord(match[0]):x}_", stem)


def check_key(key: str) -> None:
    """Raise DatasetError unless ``key`` can be stored in LMDB and found again by BasicSR's reader."""
    if not _KEY.fullmatch(key):
        raise DatasetError(
            f"LMDB key {key!r} may hold only letters, digits, '_', '-' and '/'; use image_key() to make one"
        )
    if len(key) > MAX_KEY_BYTES:
        raise DatasetError(
            f"LMDB key '{key[:60]}...' has {len(key)} bytes, the limit is {MAX_KEY_BYTES}; "
            "shorten the folder or file name"
        )


def list_photos(folder: Path) -> list[Path]:
    """List the photos below ``folder``, in natural order (``2.png`` before ``10.png``), the same on every machine.

    Sub-folders are searched, linked ones too; names that start with a dot are skipped.

    Raises:
        DatasetError: not a folder, or no photo in it.
    """
    if not os.path.isdir(folder):  # noqa: PTH112 (Path.is_dir raises on a name longer than names can be)
        raise DatasetError(f"photo folder '{folder}' does not exist or is not a folder; check the path")
    photos = [path for path in _walk(folder) if path.suffix.lower() in PHOTO_SUFFIXES]
    if not photos:
        raise DatasetError(f"'{folder}' holds no photos; files ending in {' '.join(PHOTO_SUFFIXES)} were looked for")
    return sorted(photos, key=lambda path: _natural(path.relative_to(folder).as_posix()))


def keyed_photos(folder: Path) -> dict[str, Path]:
    """Return the photos below ``folder`` by LMDB key, in the order of :func:`list_photos`.

    Raises:
        DatasetError: see list_photos; a key is too long; or two files would share one (both are named).
    """
    photos: dict[str, Path] = {}
    for path in list_photos(folder):
        key = image_key(path.relative_to(folder))
        check_key(key)
        if key in photos:
            raise DatasetError(
                f"'{photos[key]}' and '{path}' would both get the LMDB key '{key}', and one would be lost; rename one"
            )
        photos[key] = path
    return photos


def _walk(folder: Path) -> Iterator[Path]:
    seen: set[Path] = set()
    for root, folders, files in os.walk(folder, followlinks=True, onerror=_unreadable):
        real = Path(root).resolve()
        if real in seen:  # a link back up would be walked for ever
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in files if not name.startswith("."))


def _unreadable(error: OSError) -> None:
    raise DatasetError(  # os.walk would leave it out in silence
        f"folder '{error.filename}' cannot be read ({error.strerror}); change its permissions, or move it away"
    ) from error


def _natural(text: str) -> tuple[list[str | int], str]:
    parts: list[str | int] = [int(part) if i % 2 else part for i, part in enumerate(re.split("([0-9]+)", text))]
    return parts, text  # the text itself orders '1' and '01'
