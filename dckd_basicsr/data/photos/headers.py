"""What an image file says of itself: its size, its depth, where its picture ends. Nothing is decoded."""

from __future__ import annotations

import mmap
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from . import tiff

__all__ = ["Data", "Header", "image_sizes", "mapped", "picture_end", "read_header", "segments"]

Data = bytes | mmap.mmap

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
# What begins a segment. No segments: ff00 (a value ff), ff01, ffd0 to ffd7 (restarts), ffff (filling).
_SEGMENT = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
_START, _END = 0xD8, 0xD9
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_GAP = rb"(?:\s|#[^\n]*\n)+"
_PNM = re.compile(rb"P([1-6])" + 2 * (_GAP + rb"(\d{1,9})") + rb"(?:" + _GAP + rb"(\d{1,9}))?")


class Header(NamedTuple):
    """Height and width as the pixels are stored (no orientation applied), and bits per channel."""

    height: int
    width: int
    bits: int


def read_header(data: Data) -> Header | None:
    """Read the header of a PNG, JPEG, TIFF, BMP, WebP or PNM file; None if it is none or does not make sense."""
    for begin, read in _READERS.items():
        if data[: len(begin)] == begin:
            try:
                found = read(data)
            except (struct.error, IndexError):
                return None
            return found if found and min(found) > 0 else None
    return None


@contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap]:
    """Open a file for :func:`read_header`, which touches the parts that it needs.

    Raises:
        OSError: it cannot be read.
        ValueError: nothing is in it.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def image_sizes(folder: Path, names: Sequence[str] | None = None) -> dict[str, tuple[int, int]]:
    """Return height and width in pixels of the images in ``folder``, by file name; what has no readable header is out.

    Args:
        folder: sub-folders are not searched, as BasicSR's datasets do not.
        names: of these files alone.
    """
    if names is None:
        names = sorted(path.name for path in folder.iterdir() if path.is_file())
    found: dict[str, tuple[int, int]] = {}
    for name in names:
        try:
            with mapped(folder / name) as data:
                header = read_header(data)
        except (OSError, ValueError):  # ValueError: nothing is in it
            continue  # the reader that needs its pixels names it
        if header is not None:
            found[name] = header[:2]
    return found


def picture_end(data: Data) -> int | None:
    """Return how many of a file's bytes its picture takes; cameras append films, and editors whatever they like.

    Returns:
        Of a PNG or JPEG the place after its end marker, None if there is none: it is cut short, or a PNG's checksums
        do not match. All bytes of anything else, None of an empty file.
    """
    try:
        if data[: len(_PNG)] == _PNG:
            return _png_end(data)
        if data[: len(_JPEG)] == _JPEG:
            return next((place for marker, place in segments(data) if marker == _END), None)
    except struct.error:  # less than a length is left
        return None
    return len(data) or None


def segments(data: Data) -> Iterator[tuple[int, int]]:
    """Yield a JPEG's markers and the places after them. What a segment holds, such as a preview, is stepped over."""
    place = len(_JPEG)
    while found := _SEGMENT.search(data, place):
        marker, place = data[found.end() - 1], found.end()
        yield marker, place
        if marker == _END:
            return
        if marker != _START:
            place += struct.unpack(">H", data[place : place + 2])[0]


def _png_end(data: Data) -> int | None:
    place, kind = len(_PNG), b""
    while kind != b"IEND":
        (length,) = struct.unpack(">I", data[place : place + 4])
        kind, end = data[place + 4 : place + 8], place + 12 + length
        (checksum,) = struct.unpack(">I", data[end - 4 : end])
        if kind[:1].isupper() and zlib.crc32(data[place + 4 : end - 4]) != checksum:  # the others hold remarks
            return None
        place = end
    return place


def _jpeg(data: Data) -> Header | None:
    for marker, place in segments(data):
        if marker in _FRAMES:
            bits, height, width = struct.unpack(">BHH", data[place + 2 : place + 7])
            return Header(height, width, bits)
    return None


def _png(data: Data) -> Header:
    width, height, bits = struct.unpack(">IIB", data[16:25])
    return Header(height, width, bits)


def _tiff(data: Data) -> Header | None:
    found = tiff.size_and_bits(data)
    return Header(*found) if found else None


def _bmp(data: Data) -> Header:
    (length,) = struct.unpack("<I", data[14:18])
    width, height = struct.unpack("<HH", data[18:22]) if length == 12 else struct.unpack("<ii", data[18:26])
    return Header(abs(height), width, 8)  # a negative height tells that the rows are stored from the top


def _webp(data: Data) -> Header | None:
    kind = data[8:16]
    if kind == b"WEBPVP8X":
        width, height = (1 + int.from_bytes(data[place : place + 3], "little") for place in (24, 27))
    elif kind == b"WEBPVP8L":
        (both,) = struct.unpack("<I", data[21:25])
        width, height = 1 + (both & 0x3FFF), 1 + (both >> 14 & 0x3FFF)
    elif kind == b"WEBPVP8 ":
        width, height = (value & 0x3FFF for value in struct.unpack("<HH", data[26:30]))
    else:
        return None
    return Header(height, width, 8)


def _pnm(data: Data) -> Header | None:
    found = _PNM.match(data[:4096])
    if found is None:
        return None
    kind, width, height, most = found.groups()
    deep = kind not in b"14" and most is not None and int(most) > 255  # 1 and 4 are black and white
    return Header(int(height), int(width), 16 if deep else 8)


_READERS: dict[bytes, Callable[[Data], Header | None]] = {
    _PNG: _png,
    _JPEG: _jpeg,
    b"II": _tiff,
    b"MM": _tiff,
    b"BM": _bmp,
    b"RIFF": _webp,
    **{b"P%d" % kind: _pnm for kind in range(1, 7)},
}
