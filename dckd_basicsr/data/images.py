"""Decoding photos and encoding PNG, with errors that name the file.

Images are uint8, H x W x 3, BGR (OpenCV's and BasicSR's order), values 0 to 255.
"""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import DatasetError

__all__ = ["Image", "decode_image", "encode_png", "read_image"]

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

    A gray image is repeated to three channels, transparency is dropped, EXIF rotation is not applied (an LQ photo
    beside it may carry none). 16-bit and float images are refused: how to bring them to 8 bits is the user's choice.

    Args:
        data: the whole file.
        name: what an error calls it.

    Raises:
        DatasetError: damaged, cut short, no image format OpenCV reads, or not 8-bit.
    """
    try:
        image = (
            None
            if _cut_short(data) or _claims_too_much(data)
            else cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        )
    except cv2.error:
        image = None
    if image is None:
        raise DatasetError(f"'{name}' is damaged, cut short or not an image ({len(data)} bytes); replace or remove it")
    if image.dtype != np.uint8:
        raise DatasetError(
            f"'{name}' holds {image.dtype} values, 8-bit images are expected; convert it to 8 bits first"
        )
    if image.ndim == 2 or image.shape[2] == 1:
        image = np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    pixels: Image = np.ascontiguousarray(image[:, :, :3])
    return pixels


# Level 1 is made for photos: one filter for all rows instead of a search among five, and runs instead of matches, which
# photos hardly have. Against zlib's level 1 it packs and reads faster and is smaller; see docs/performance.md.
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


def _claims_too_much(data: bytes) -> bool:
    """Tell a PNG whose header claims more pixels than its bytes can unpack to: OpenCV would allocate all of them."""
    if not data.startswith(b"\x89PNG") or len(data) < 24:
        return False
    width, height = struct.unpack(">II", data[16:24])
    return width * height > 8 * _DEFLATE_MOST * len(data)  # a pixel takes a bit at least


def _cut_short(data: bytes) -> bool:
    """Tell an empty file, or a PNG or JPEG without its end marker: some OpenCV versions fill the rest with gray."""
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data[-64:]
    if data.startswith(b"\xff\xd8"):
        # Embedded previews have an end marker too, so the last one must follow the last start of a scan.
        return data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
    return not data
