"""How an image file asks to be turned: the orientation that cameras write beside the pixels. Nothing is decoded."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from . import tiff
from .headers import Data, mapped, segments

__all__ = ["chunks", "exif_block", "file_orientation", "orientation"]

_SCAN, _APP1 = 0xDA, 0xE1
_EXIF = b"Exif\0\0"
_TAIL = 1 << 16


def file_orientation(path: Path) -> int:
    """Return the orientation of an image file, see :func:`orientation`; 1 if it cannot be read."""
    try:
        with mapped(path) as data:
            return orientation(data)
    except (OSError, ValueError):  # ValueError: nothing is in it
        return 1  # the reader that needs its pixels names it


def orientation(data: Data) -> int:
    """Return the orientation that a PNG, JPEG, TIFF or WebP asks for, as Exif numbers them: 1 (as stored) to 8.

    BasicSR's datasets turn pictures by it, as OpenCV does; this package reads them as stored.
    """
    try:
        found = tiff.orientation(exif_block(data))
    except struct.error:  # less than a length is left
        return 1
    return found if 1 <= found <= 8 else 1


def exif_block(data: Data) -> Data:
    """Return the block of Exif tags, which is laid out as a TIFF; none is b''. A TIFF file is its own block.

    Raises:
        struct.error: the file is cut short.
    """
    if data[:2] == b"\xff\xd8":
        for marker, place in segments(data):
            if marker == _SCAN:
                break
            if marker == _APP1 and data[place + 2 : place + 8] == _EXIF:
                return data[place + 8 : place + struct.unpack(">H", data[place : place + 2])[0]]
    elif data[:4] == b"\x89PNG":
        early = next((data[start:end] for kind, start, end in chunks(data) if kind == b"eXIf"), b"")
        late = data.rfind(b"eXIf", max(0, len(data) - _TAIL))  # some write it after the pixels, which are stepped over
        if early or late < 4:
            return early
        return data[late + 4 : late + 4 + struct.unpack(">I", data[late - 4 : late])[0]]
    elif data[:4] == b"RIFF":
        block = next((data[start:end] for kind, start, end in chunks(data) if kind == b"EXIF"), b"")
        return block.removeprefix(_EXIF)
    return data if tiff.is_tiff(data) else b""


def chunks(data: Data) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, begin and end of what a PNG holds before its pixels, or of all that a WebP holds."""
    png = data[:4] == b"\x89PNG"
    place, kind = (8 if png else 12), b""
    while place + 8 <= len(data) and kind != b"IDAT":
        if png:
            (length,), kind = struct.unpack(">I", data[place : place + 4]), data[place + 4 : place + 8]
        else:
            kind, (length,) = data[place : place + 4], struct.unpack("<I", data[place + 4 : place + 8])
        yield kind, place + 8, place + 8 + length
        place += 8 + length + (4 if png else length % 2)  # a checksum; chunks of even length
