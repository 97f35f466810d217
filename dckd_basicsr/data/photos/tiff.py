"""TIFF files by their directory: size and depth, orientation, checksums of compressed strips."""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["is_tiff", "orientation", "size_and_bits", "strips_are_sound", "without_orientation"]

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _ORIENTATION = 256, 257, 258, 259, 274
_PLACES = ((273, 279), (324, 325))  # of strips and of tiles: where they begin, how long they are
_DEFLATE = (8, 32946)
_SIZES = {1: "u1", 3: "u2", 4: "u4", 16: "u8"}  # the types that these tags may have
_AT_ONCE = 1 << 20


def is_tiff(data: bytes | mmap.mmap) -> bool:
    """Tell by the first bytes."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def size_and_bits(data: bytes | mmap.mmap) -> tuple[int, int, int] | None:
    """Return height, width and bits per channel of the first image, None if the file is no TIFF or damaged."""
    tags = _tags(data, _WIDTH, _HEIGHT, _BITS)
    if _WIDTH not in tags or _HEIGHT not in tags:
        return None
    return int(tags[_HEIGHT][0]), int(tags[_WIDTH][0]), int(max(tags[_BITS])) if _BITS in tags else 1


def orientation(data: bytes | mmap.mmap) -> int:
    """Return the orientation of the first image, 1 if the file does not tell or is no TIFF."""
    return int(_tags(data, _ORIENTATION).get(_ORIENTATION, [1])[0])


def without_orientation(data: bytes) -> bytes:
    """Return the file with the orientation of its first image set to 1, pixels as they are stored.

    OpenCV turns a TIFF as this tag says, and no other kind of file when it is asked for the stored pixels.
    """
    order = _order(data)
    for tag, kind, count, place in _entries(data):
        if tag == _ORIENTATION and kind == 3 and count == 1:
            return data[:place] + struct.pack(f"{order}H", 1) + data[place + 2 :]
    return data


def strips_are_sound(data: bytes) -> bool:
    """Tell whether compressed strips lie in the file, and those of Deflate match their checksums. Others have none.

    OpenCV passes over checksums that do not match.
    """
    tags = _tags(data, _COMPRESSION, *(tag for places in _PLACES for tag in places))
    compression, unread = int(tags.get(_COMPRESSION, [1])[0]), len(data)
    for starts, lengths in _PLACES if compression != 1 else ():
        for start, length in zip(map(int, tags.get(starts, [])), map(int, tags.get(lengths, []))):
            unread -= length
            if unread < 0 and start + length <= len(data):
                return True  # strips that overlap, for which no writer has a use, would be unpacked without end
            if start + length > len(data) or (compression in _DEFLATE and not _inflates(data[start : start + length])):
                return False
    return True


def _inflates(strip: bytes) -> bool:
    stream = zlib.decompressobj()
    try:
        while not stream.eof and strip:
            stream.decompress(strip, _AT_ONCE)
            strip = stream.unconsumed_tail
    except zlib.error:
        return False
    return stream.eof


def _order(data: bytes | mmap.mmap) -> str:
    return "<" if data[:2] == b"II" else ">"


def _entries(data: bytes | mmap.mmap) -> Iterator[tuple[int, int, int, int]]:
    """Yield tag, type, number of values and their place for each entry of the first directory."""
    if not is_tiff(data):
        return
    order, big = _order(data), data[2:4] in (b"+\0", b"\0+")
    word, length = ("Q", 20) if big else ("I", 12)
    size = struct.calcsize(f"{order}{word}")
    try:
        (place,) = struct.unpack_from(f"{order}{word}", data, 8 if big else 4)
        (count,) = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data, place)
        first = place + (8 if big else 2)
        for at in range(first, first + length * min(count, 0xFFFF), length):
            tag, kind, number = struct.unpack_from(f"{order}HH{word}", data, at)
            inside = at + 4 + size
            if kind in _SIZES and number * int(_SIZES[kind][1]) > size:
                (inside,) = struct.unpack_from(f"{order}{word}", data, inside)
            yield tag, kind, number, inside
    except (struct.error, OverflowError):  # points outside the file
        return


def _tags(data: bytes | mmap.mmap, *wanted: int) -> dict[int, NDArray[np.integer[Any]]]:
    """Return the values of these tags, where the file has them: views, so a directory that repeats itself is cheap."""
    found: dict[int, NDArray[np.integer[Any]]] = {}
    for tag, kind, number, place in _entries(data):
        if tag in wanted and kind in _SIZES and number and tag not in found:
            try:
                found[tag] = np.frombuffer(data, _order(data) + _SIZES[kind], number, place)
            except (ValueError, OverflowError):  # points outside the file
                continue
    return found
