"""What a database stores of an image: a PNG file, or the pixels as they are.

PNG is small and what BasicSR reads. Raw pixels take two or three times the disk but nothing to decode, and a patch can
be read without the rest of its image. ``meta_info.txt`` tells which: the name before each shape ends in ``.png`` or
``.raw``.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from ...errors import DatasetError
from ..photos.images import Image, decode_image, encode_png

__all__ = ["PAYLOADS", "RAW", "Payload", "Shape", "check_payload", "decode", "encode", "raw_view"]

Payload = Literal["png", "raw"]
PAYLOADS: tuple[Payload, ...] = ("png", "raw")
RAW: Payload = "raw"

#: Height, width, channels.
Shape = tuple[int, int, int]


def check_payload(payload: str) -> None:
    """Raise DatasetError unless ``payload`` is one of :data:`PAYLOADS`."""
    if payload not in PAYLOADS:
        raise DatasetError(f"payload must be 'png' or 'raw', got {payload!r}")


def encode(image: Image, payload: Payload, level: int) -> bytes:
    """Return what is stored of an image, uint8, H x W x 3, BGR; ``level`` is for PNG."""
    return image.tobytes() if payload == RAW else encode_png(image, level)


def decode(data: bytes, payload: Payload, shape: Shape, name: str) -> Image:
    """Return the image, uint8, H x W x 3, BGR, of its stored bytes.

    Args:
        data: what :func:`encode` gave.
        payload: of the database.
        shape: the one in ``meta_info.txt``; raw pixels have no other, a PNG tells its own.
        name: what an error calls the image.

    Raises:
        DatasetError: damaged, or not as many raw pixels as the shape says.
    """
    return raw_view(data, shape, name) if payload == RAW else decode_image(data, name)


def raw_view(data: bytes | memoryview, shape: Shape, name: str) -> Image:
    """Return raw pixels as an array (height, width, channels) over the same memory; read-only.

    Raises:
        DatasetError: there are not as many bytes as the shape says.
    """
    height, width, channels = shape
    if len(data) != height * width * channels or channels != 3:
        raise DatasetError(
            f"'{name}' holds {len(data)} bytes of raw pixels, {height}x{width}x3 = {height * width * 3} were expected; "
            "pack it again with `basicsr prepare`"
        )
    view: Image = np.frombuffer(data, np.uint8).reshape(shape)
    return view
