"""Decoding photos and encoding PNG, with errors that name the file.

Images are uint8, H x W x 3, BGR (OpenCV's and BasicSR's order), values 0 to 255.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ...errors import DatasetError
from .headers import Header, picture_end, read_header
from .tiff import is_tiff, strips_are_sound, without_orientation

__all__ = [
    "Image",
    "claims_too_much",
    "decode_image",
    "decode_stored",
    "encode_png",
    "not_an_image",
    "read_image",
    "stored_pixels",
]

Image = NDArray[np.uint8]

_DEFLATE_MOST = 1032  # no deflate stream unpacks to more bytes than this for each of its own


def read_image(path: Path) -> Image:
    """Read a photo as uint8, H x W x 3, BGR. See :func:`decode_image`.

    Raises:
        DatasetError: the file cannot be read, is damaged or cut short, or is not 8-bit.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"cannot read photo '{path}': {error.strerror or error}") from error
    return decode_image(data, str(path))


def decode_image(data: bytes, name: str) -> Image:
    """Decode an image file's bytes to uint8, H x W x 3, BGR.

    A gray image is repeated to three channels, transparency is dropped. The pixels are those that are stored, of every
    format: orientation tags are not applied (an LQ photo beside it may carry none). What follows the picture in the
    file is left alone. 16-bit and float images are refused: how to bring them to 8 bits is the user's choice.

    Damage is told by the checksums of PNG and of TIFF with Deflate, a missing end of PNG and JPEG, and whatever the
    decoder stumbles over. Changed bytes inside the picture of a JPEG, or of a TIFF with LZW or without compression,
    have no checksum: they give another picture, and nobody can tell.

    Args:
        data: the whole file.
        name: what an error calls it.

    Raises:
        DatasetError: damaged, cut short, no image format OpenCV reads, or not 8-bit.
    """
    image = decode_stored(data)
    if image is None:
        raise not_an_image(name, len(data))
    if image.dtype != np.uint8:
        raise DatasetError(
            f"'{name}' holds {image.dtype} values, 8-bit images are expected; convert it to 8 bits first"
        )
    if image.ndim == 2 or image.shape[2] == 1:
        image = np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    pixels: Image = np.ascontiguousarray(image[:, :, :3])
    return pixels


def stored_pixels(data: bytes, flags: int = cv2.IMREAD_COLOR) -> Any:
    """Decode as OpenCV does with these flags, but apply no orientation tag; None if that fails."""
    if is_tiff(data):
        data = without_orientation(data)
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # an empty file, or one that claims more pixels than OpenCV allows
        return None


# Level 1 is made for photos: one filter for all rows instead of a search among five, and runs instead of matches, which
# photos hardly have. Against zlib's level 1 it packs and reads faster and is smaller; see docs/guide/performance.md.
_PHOTO = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # since OpenCV 4.12
    _PHOTO += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG]


def encode_png(image: Image, level: int = 1) -> bytes:
    """Encode as PNG, lossless; ``level`` 0 (large, fast) to 9 (small, slow). Raises DatasetError if OpenCV cannot."""
    options = _PHOTO if level == 1 else [cv2.IMWRITE_PNG_COMPRESSION, level]
    done, buffer = cv2.imencode(".png", np.ascontiguousarray(image), options)
    if not done:
        raise DatasetError(f"OpenCV could not encode an image of shape {image.shape} as PNG")
    return bytes(buffer.data)


def not_an_image(name: str, size: int) -> DatasetError:
    """Return the error for a file of ``size`` bytes that does not decode."""
    return DatasetError(f"'{name}' is damaged, cut short or not an image ({size} bytes); replace or remove it")


def claims_too_much(header: Header | None, size: int) -> bool:
    """Tell a header that claims more pixels than ``size`` bytes of PNG can unpack to: OpenCV would allocate them."""
    return (
        header is not None and header.width * header.height > 8 * _DEFLATE_MOST * size
    )  # a pixel takes a bit at least


def decode_stored(data: bytes) -> Any:
    """Decode to whatever the file holds: H x W or H x W x 3 or 4, BGR(A), of any depth; None if it is damaged."""
    end = picture_end(data)
    if end is None or (data.startswith(b"\x89PNG") and claims_too_much(read_header(data), end)):
        return None
    data = data[:end]  # a slice of everything is no copy
    if is_tiff(data) and not strips_are_sound(data):
        return None
    return stored_pixels(data, cv2.IMREAD_UNCHANGED)
