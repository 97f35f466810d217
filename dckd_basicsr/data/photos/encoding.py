"""Pictures to the bytes of a file, with colour profile and Exif."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any, Literal

import numpy as np
from PIL import Image as Pillow

from ...errors import DatasetError
from .images import encode_png
from .pictures import Picture, Pixels

__all__ = ["Format", "drops_profile", "encode_picture", "with_chunks"]

Format = Literal["png", "jpg", "webp"]

_AFTER_IHDR = 33  # eight bytes of signature, then the header's chunk
_NAMES = {"jpg": "JPEG", "webp": "WebP"}


def encode_picture(picture: Picture, kind: Format = "png", quality: int = 95) -> bytes:
    """Return a picture as a file.

    Args:
        picture: of any form as PNG; 8 bits as WebP; 8 bits without transparency as JPEG.
        kind: PNG is lossless.
        quality: of JPEG (whose colours are not subsampled) and WebP, 1 to 100.

    Raises:
        DatasetError: the format does not hold such a picture.
    """
    if kind == "png":
        return with_chunks(_png(picture), picture.icc, picture.exif)
    if picture.pixels.dtype != np.uint8:
        raise DatasetError(f"16 bits do not fit into {_NAMES[kind]}; write PNG")
    if picture.alpha is not None and kind == "jpg":
        raise DatasetError("transparency does not fit into JPEG; write PNG or WebP")
    parts = [picture.pixels[..., ::-1] if picture.pixels.ndim == 3 else picture.pixels[..., None]]
    if picture.alpha is not None:
        parts.append(picture.alpha[..., None])
    pixels = np.ascontiguousarray(np.concatenate(parts, axis=2))
    image = Pillow.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)  # L, LA, RGB or RGBA
    extra: dict[str, Any] = {"subsampling": 0} if kind == "jpg" else {"exact": True}
    if picture.icc and not drops_profile(picture, kind):
        extra["icc_profile"] = picture.icc
    if picture.exif:
        extra["exif"] = b"Exif\0\0" + picture.exif
    out = io.BytesIO()
    try:
        image.save(out, _NAMES[kind], quality=quality, **extra)
    except (OSError, ValueError) as error:  # too many pixels a side, Exif larger than a segment
        raise DatasetError(f"{_NAMES[kind]} cannot hold it ({error}); write PNG") from error
    return out.getvalue()


def drops_profile(picture: Picture, kind: str) -> bool:
    """Tell whether a colour profile is left out: WebP stores colours, to which a profile for grey does not belong."""
    return kind == "webp" and picture.icc is not None and picture.icc[16:20] == b"GRAY"


def with_chunks(png: bytes, icc: bytes | None = None, exif: bytes | None = None) -> bytes:
    """Return a PNG with a colour profile and Exif tags, which OpenCV does not write.

    Args:
        png: a file without them.
        icc: the profile.
        exif: the block of tags, from ``II`` or ``MM`` on.
    """
    chunks = b""
    if icc:
        chunks += _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc))
    if exif:
        chunks += _chunk(b"eXIf", exif)
    return png[:_AFTER_IHDR] + chunks + png[_AFTER_IHDR:] if chunks else png


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def _png(picture: Picture) -> bytes:
    pixels: Any = picture.pixels
    if picture.alpha is None:
        return encode_png(pixels)
    if pixels.ndim == 3:
        return encode_png(np.dstack([pixels, picture.alpha]))
    return _grey_with_alpha(np.dstack([pixels, picture.alpha]))


def _grey_with_alpha(pixels: Pixels) -> bytes:
    """Encode H x W x 2, which OpenCV does not: each byte as the difference from the pixel before it, deflated."""
    height, width, _ = pixels.shape
    size = pixels.dtype.itemsize
    rows = np.ascontiguousarray(pixels.astype(f">u{size}")).view(np.uint8).reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = 1  # the filter's number
    filtered[:, 1:] = rows
    filtered[:, 1 + 2 * size :] -= rows[:, : -2 * size]
    header = struct.pack(">IIBBBBB", width, height, 8 * size, 4, 0, 0, 0)
    packed = zlib.compress(filtered.tobytes(), 1)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, content) for kind, content in ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    )
