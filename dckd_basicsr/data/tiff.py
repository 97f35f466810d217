"""TIFF files by their directory: size and depth, orientation, checksums of compressed strips."""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Iterator

__all__ = ["is_tiff", "size_and_bits", "strips_are_sound", "without_orientation"]

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _ORIENTATION = 256, 257, 258, 259, 274
_PLACES = ((273, 279), (324, 325))  # of strips and of tiles: where they begin, how long they are
_DEFLATE = (8, 32946)
_SIZES = {1: "B", 3: "H", 4: "I", 16: "Q"}  # the types that these tags may have
_AT_ONCE = 1 << 20


def is_tiff(data: bytes | mmap.mmap) -> bool:
    """Tell by the first bytes."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def size_and_bits(data: bytes | mmap.mmap) -> tuple[int, int, int] | None:
    """Return height, width and bits per channel of the first image, None if the file is no TIFF or damaged."""
    tags = _tags(data)
    if not (tags.get(_WIDTH) and tags.get(_HEIGHT)):
        return None
    return tags[_HEIGHT][0], tags[_WIDTH][0], max(tags.get(_BITS) or [1])


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
    tags = _tags(data)
    compression = (tags.get(_COMPRESSION) or [1])[0]
    for starts, lengths in _PLACES if compression != 1 else ():
        for start, length in zip(tags.get(starts, []), tags.get(lengths, [])):
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
            if kind in _SIZES and number * struct.calcsize(f"={_SIZES[kind]}") > size:
                (inside,) = struct.unpack_from(f"{order}{word}", data, inside)
            yield tag, kind, number, inside
    except (struct.error, OverflowError):  # points outside the file
        return


def _tags(data: bytes | mmap.mmap) -> dict[int, list[int]]:
    order = _order(data)
    found = {}
    for tag, kind, number, place in _entries(data):
        if kind in _SIZES and number <= len(data):
            try:
                found[tag] = list(struct.unpack_from(f"{order}{number}{_SIZES[kind]}", data, place))
            except (struct.error, OverflowError):
                continue
    return found
