"""Pictures with what belongs to them: transparency, 16 bits, colour profile and Exif, read from files of any kind."""

from __future__ import annotations

import contextlib
import io
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from ...errors import DatasetError
from . import tiff
from .headers import Header, picture_end, read_header
from .images import claims_too_much, decode_stored, not_an_image
from .orientation import chunks, exif_block, orientation

__all__ = ["Picture", "Pixels", "read_picture", "upright"]

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

_MOST_PIXELS, _LONGEST = 1 << 30, 1 << 20  # what OpenCV reads unless its environment variables say otherwise
_GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L")
_SPACES = {b"RGB ": "RGB", b"GRAY": "grey pictures", b"CMYK": "CMYK"}
_KEPT_OF_TIFF = (270, 271, 272, 305, 306, 315, 33432)  # description, make, model, software, date, artist, copyright
_EXIF_TAGS, _GPS_TAGS = 34665, 34853
_PILLOW = threading.Lock()


@dataclass(frozen=True)
class Picture:
    """A picture as it is seen: the orientation tag is applied.

    Attributes:
        pixels: uint8 or uint16, H x W of a grey picture, else H x W x 3, BGR.
        alpha: H x W of the same type; None where nothing is transparent by design.
        icc: the colour profile of ``pixels``.
        exif: the block of Exif tags, its orientation 1 (as stored).
        notes: what could not be kept, or was decided, in words.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    notes: tuple[str, ...] = ()


def read_picture(path: Path, admit: Callable[[Header], None] | None = None) -> Picture:
    """Read a picture; the colours of an 8-bit file are those that OpenCV, and so BasicSR's datasets, give.

    Args:
        path: the file.
        admit: called with the file's header before anything is decoded; raises what should be raised of it.

    Raises:
        DatasetError: it cannot be read, is damaged or cut short, is larger than OpenCV reads, or has values that are
            not 8-bit or 16-bit.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"'{path}' cannot be read ({error.strerror or error})") from error
    _check_size(path, data, admit)
    with _opened(data) as image:
        return _decoded(path, data, image)


def upright(pixels: Any, turn: int) -> Any:
    """Return an array, H x W (x C), turned as an orientation (1 to 8) asks."""
    if turn in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _check_size(path: Path, data: bytes, admit: Callable[[Header], None] | None) -> None:
    header = read_header(data)
    if header is None:
        return  # the decoder has the last word
    if header.width * header.height > _MOST_PIXELS or max(header[:2]) > _LONGEST:
        raise DatasetError(
            f"'{path}' has {header.width} x {header.height} px, and OpenCV reads up to {_MOST_PIXELS} in all and "
            f"{_LONGEST} a side; cut it into parts first"
        )
    if data.startswith(b"\x89PNG") and claims_too_much(header, len(data)):
        raise DatasetError(
            f"'{path}' claims {header.width} x {header.height} px, which {len(data)} bytes cannot hold; it is damaged "
            "or made to harm"
        )
    if admit is not None:
        admit(header)


@contextlib.contextmanager
def _opened(data: bytes) -> Iterator[Any]:
    """Yield what Pillow knows of a file without decoding it, or None."""
    with _PILLOW:  # its limit is a global; the size has been judged already
        limit, Pillow.MAX_IMAGE_PIXELS = Pillow.MAX_IMAGE_PIXELS, None
        try:
            # as stored: Pillow turns TIFF files as they ask
            image = Pillow.open(io.BytesIO(tiff.without_orientation(data) if tiff.is_tiff(data) else data))
        except Exception:  # any, of a crafted file
            image = None
        finally:
            Pillow.MAX_IMAGE_PIXELS = limit
    if image is None:
        yield None
        return
    with image:
        yield image


def _decoded(path: Path, data: bytes, image: Any) -> Picture:
    notes: list[str] = []
    mode = image.mode if image is not None else ""
    icc = image.info.get("icc_profile") if image is not None else None
    if mode == "CMYK":
        stored, icc = _from_cmyk(path, data, image, icc, notes), None
    elif mode == "LA" and tiff.is_tiff(data):  # OpenCV drops its transparency
        stored = _loaded(path, data, image)
    else:
        stored = decode_stored(data)
        if stored is not None:
            stored = _with_key(stored, data)
            if mode == "RGBA" and stored.dtype == np.uint8 and tiff.is_tiff(data):  # OpenCV multiplies by transparency
                stored = _loaded(path, data, image)[..., [2, 1, 0, 3]]
    if stored is None:
        raise not_an_image(str(path), len(data))
    if stored.dtype not in (np.uint8, np.uint16):
        raise DatasetError(f"'{path}' holds {stored.dtype} values; 8 or 16 bits are expected, convert it first")
    frames = _frames(image)
    if frames > 1:
        notes.append(f"holds {frames} pictures, of which the first is taken")
    stored = upright(stored, orientation(data))
    pixels, alpha = _parts(stored, grey=mode in _GREY or _is_grey_png(data))
    space = icc[16:20] if icc else None
    if space is not None and space != (b"GRAY" if pixels.ndim == 2 else b"RGB "):
        notes.append(f"its colour profile, which is for {_SPACES.get(space, 'another colour space')}, is left out")
        icc = None
    return Picture(pixels, alpha, icc or None, _exif(data, image), tuple(notes))


def _parts(stored: Any, *, grey: bool) -> tuple[Pixels, Pixels | None]:
    """Split what was decoded into colours and transparency."""
    if stored.ndim == 2:
        return stored, None
    channels = stored.shape[2]
    alpha = np.ascontiguousarray(stored[..., -1]) if channels in (2, 4) else None
    if grey or channels < 3:
        return np.ascontiguousarray(stored[..., 0]), alpha
    return np.ascontiguousarray(stored[..., :3]), alpha


def _is_grey_png(data: bytes) -> bool:
    return data.startswith(b"\x89PNG") and data[25] in (0, 4)  # Pillow calls 16 bits with transparency RGBA


def _with_key(stored: Any, data: bytes) -> Any:
    """Add the transparency of a grey PNG that names one value as transparent; OpenCV knows it of colours alone."""
    if stored.ndim != 2 or not data.startswith(b"\x89PNG") or data[25] != 0:
        return stored
    key = next((data[start:end] for kind, start, end in chunks(data) if kind == b"tRNS"), b"")
    if len(key) != 2:
        return stored
    bits, most = data[24], np.iinfo(stored.dtype).max
    value = int.from_bytes(key, "big") % (1 << bits)  # of the depth in the file
    value = value * int(most) // ((1 << bits) - 1)
    return np.stack([stored, np.where(stored == value, 0, most).astype(stored.dtype)], axis=2)


def _from_cmyk(path: Path, data: bytes, image: Any, icc: bytes | None, notes: list[str]) -> Any:
    """Return BGR, by the profile where there is one."""
    if picture_end(data) is None:
        return None
    converted = None
    if icc:
        try:
            from PIL import ImageCms

            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
            notes.append("is CMYK; converted to sRGB by its profile")
        except Exception:  # no LittleCMS, or a profile that it does not take
            converted = None
    if converted is None:
        converted = _try(path, lambda: image.convert("RGB"))
        notes.append("is CMYK; converted to RGB without a profile")
    return np.asarray(converted)[..., ::-1]


def _loaded(path: Path, data: bytes, image: Any) -> Any:
    return None if picture_end(data) is None else np.asarray(_try(path, lambda: image))


def _try(path: Path, load: Callable[[], Any]) -> Any:
    try:
        found = load()
        found.load()
        return found
    except Exception as error:  # any, of a crafted file
        raise DatasetError(f"'{path}' is damaged or cut short ({error}); replace or remove it") from error


def _frames(image: Any) -> int:
    with contextlib.suppress(Exception):  # a damaged chain of pages
        return int(getattr(image, "n_frames", 1))
    return 1


def _exif(data: bytes, image: Any) -> bytes | None:
    """Return the Exif tags with orientation 1, byte by byte as they are; of a TIFF, those that are not its layout."""
    if not tiff.is_tiff(data):
        try:
            block = bytes(exif_block(data))
        except struct.error:  # less than a length is left
            return None
        return tiff.without_orientation(block) if tiff.is_tiff(block) else None
    kept = Pillow.Exif()
    with contextlib.suppress(Exception):  # damaged tags are no reason to refuse the picture
        found = image.getexif()
        kept.update({tag: found[tag] for tag in _KEPT_OF_TIFF if tag in found})
        for directory in (_EXIF_TAGS, _GPS_TAGS):
            if inner := found.get_ifd(directory):
                kept.get_ifd(directory).update(inner)
        return kept.tobytes().removeprefix(b"Exif\0\0") if len(kept) else None
    return None
