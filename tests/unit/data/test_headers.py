"""What image files say of themselves, what may follow their pictures, and which damage is seen."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from dckd_basicsr.data.photos import tiff
from dckd_basicsr.data.photos.headers import Header, picture_end, read_header
from dckd_basicsr.data.photos.images import Image, decode_image
from dckd_basicsr.data.photos.orientation import file_orientation, orientation
from dckd_basicsr.data.photos.tiff import strips_are_sound, without_orientation
from dckd_basicsr.errors import DatasetError

SIZE = (37, 52)


def picture() -> Image:
    coarse = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def saved(format: str, image: Image | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray((picture() if image is None else image)[:, :, ::-1]).save(file, format, **options)
    return file.getvalue()


def encoded(suffix: str, image: Any, *options: int) -> bytes:
    done, data = cv2.imencode(suffix, image, options)
    assert done
    return bytes(data.data)


KINDS: dict[str, bytes] = {
    "png": saved("PNG"),
    "jpeg": saved("JPEG", quality=90),
    "progressive jpeg": saved("JPEG", progressive=True),
    "jpeg with a preview": saved("JPEG", exif=b"Exif\0\0" + saved("JPEG", picture()[:8, :8])),
    "tiff": saved("TIFF"),
    "tiff lzw": saved("TIFF", compression="tiff_lzw"),
    "tiff deflate": saved("TIFF", compression="tiff_adobe_deflate"),
    "big tiff": saved("TIFF", big_tiff=True),
    "tiff of OpenCV": encoded(".tiff", picture()),
    "bmp": saved("BMP"),
    "webp": saved("WEBP", quality=90),
    "lossless webp": saved("WEBP", lossless=True),
    "webp with remarks": saved("WEBP", exif=Pillow.Exif()),
    "ppm": saved("PPM"),
    "ppm with a remark": saved("PPM").replace(b"\n", b"\n# by hand 7\n", 1),
    "plain ppm": encoded(".ppm", picture(), cv2.IMWRITE_PXM_BINARY, 0),
    "pgm": encoded(".pgm", picture()[:, :, 0]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_headers_are_those_of_the_picture(kind: str) -> None:
    assert read_header(KINDS[kind]) == Header(*SIZE, 8)
    assert decode_image(KINDS[kind], kind).shape == (*SIZE, 3)


DEEP = {
    "png": encoded(".png", picture().astype(np.uint16)),
    "tiff": encoded(".tiff", picture().astype(np.uint16)),
    "ppm": encoded(".ppm", picture().astype(np.uint16) * 257),
    "float tiff": encoded(".tiff", picture().astype(np.float32)),
}


@pytest.mark.parametrize("kind", DEEP)
def test_depth_is_told(kind: str) -> None:
    assert read_header(DEEP[kind]) == Header(*SIZE, 32 if "float" in kind else 16)
    with pytest.raises(DatasetError, match="8-bit images are expected"):
        decode_image(DEEP[kind], kind)


@given(st.sampled_from([*KINDS.values(), *DEEP.values()]), st.integers(0, 20_000), st.binary(max_size=12))
def test_no_file_breaks_the_reading_of_headers(data: bytes, place: int, changed: bytes) -> None:
    place %= len(data)
    for spoilt in (data[:place], data[:place] + changed, data[:place] + changed + data[place + len(changed) :]):
        found, end = read_header(spoilt), picture_end(spoilt)
        assert found is None or min(found) > 0
        assert end is None or 0 < end <= len(spoilt)
        assert len(without_orientation(spoilt)) == len(spoilt)
        assert strips_are_sound(spoilt) in (True, False)
        assert orientation(spoilt) in range(1 << 16)


# --- what follows the picture

FILM = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 20 + b"\xff\xda\xff\xd8\xff\xda"


@pytest.mark.parametrize("kind", ["png", "jpeg", "progressive jpeg", "jpeg with a preview"])
def test_bytes_after_the_picture_are_left_alone(kind: str) -> None:
    assert picture_end(KINDS[kind]) == len(KINDS[kind])
    np.testing.assert_array_equal(decode_image(KINDS[kind] + FILM, kind), decode_image(KINDS[kind], kind))


CUT = ["png", "jpeg", "progressive jpeg", "jpeg with a preview", "tiff", "tiff lzw", "tiff deflate", "tiff of OpenCV"]


@pytest.mark.parametrize("kind", CUT)
@pytest.mark.parametrize("part", [0.999, 0.9, 0.6])
def test_pictures_cut_short_are_refused(kind: str, part: float) -> None:
    data = KINDS[kind][: int(part * len(KINDS[kind]))]
    with pytest.raises(DatasetError, match=f"'{kind}' is damaged"):
        decode_image(data, kind)


@pytest.mark.parametrize("kind", ["png", "tiff deflate"])
@pytest.mark.parametrize("seed", range(12))
def test_damage_inside_a_picture_with_checksums_is_refused(kind: str, seed: int) -> None:
    data = bytearray(KINDS[kind])
    place = np.random.default_rng(seed).integers(len(data) // 4, len(data) // 2)
    data[place] ^= 1 << seed % 8
    with pytest.raises(DatasetError, match=f"'{kind}' is damaged"):
        decode_image(bytes(data), kind)


@pytest.mark.parametrize("kind", ["tiff lzw", "tiff deflate"])
def test_strips_outside_a_tiff_are_refused(kind: str) -> None:
    data = KINDS[kind]
    entry = data.index(struct.pack("<HHII", 273, 4, 1, 8))  # its one strip begins after the header
    moved = data[:entry] + struct.pack("<HHII", 273, 4, 1, len(data) - 50) + data[entry + 12 :]
    with pytest.raises(DatasetError, match=f"'{kind}' is damaged"):
        decode_image(moved, kind)


def test_a_remark_with_a_wrong_checksum_does_no_harm() -> None:
    data = KINDS["png"]
    remark = (4).to_bytes(4, "big") + b"tEXta\0bc" + bytes(4)
    decode_image(data[:33] + remark + data[33:], "png")


# --- orientation


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("big", [False, True])
def test_orientation_of_tiff_is_not_applied(compression: str, orientation: int, big: bool) -> None:
    data = saved("TIFF", compression=compression, tiffinfo={274: orientation}, big_tiff=big)
    np.testing.assert_array_equal(decode_image(data, "tiff"), picture())
    assert read_header(data) == Header(*SIZE, 8)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("format", "options"), [("PNG", {}), ("JPEG", {"quality": 90}), ("WEBP", {"lossless": True})])
def test_orientation_of_other_files_is_not_applied(format: str, options: dict[str, Any], orientation: int) -> None:
    exif = Pillow.Exif()
    exif[274] = orientation
    turned = saved(format, exif=exif, **options)
    np.testing.assert_array_equal(decode_image(turned, format), decode_image(saved(format, **options), format))
    assert read_header(turned) == Header(*SIZE, 8)


def test_headers_are_read_from_files_as_well(tmp_path: Path) -> None:
    from dckd_basicsr.prepare.inspection import header_of

    for number, data in enumerate(KINDS.values()):
        (tmp_path / str(number)).write_bytes(data)
        assert header_of(tmp_path / str(number)) == Header(*SIZE, 8)


TAGGED: dict[str, dict[str, Any]] = {
    "PNG": {},
    "JPEG": {"progressive": True},
    "WEBP": {"lossless": True},
    "TIFF": {"compression": "tiff_lzw"},
}


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("format", TAGGED)
def test_orientation_is_read(format: str, tag: int, tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[274] = tag
    exif[305] = "of a camera"
    data = saved(format, exif=exif, **TAGGED[format])
    assert orientation(data) == tag
    assert orientation(saved(format, **TAGGED[format])) == 1
    (tmp_path / "photo").write_bytes(data)
    assert file_orientation(tmp_path / "photo") == tag


def test_orientation_after_the_pixels_of_a_png_is_read_too() -> None:
    exif = Pillow.Exif()
    exif[274] = 6
    data = saved("PNG", exif=exif)
    start, end = data.index(b"eXIf") - 4, data.index(b"IDAT") - 4
    last = data.index(b"IEND") - 4
    moved = data[:start] + data[end:last] + data[start:end] + data[last:]
    assert orientation(moved) == 6


@pytest.mark.parametrize("tag", [0, 9, 65535])
def test_an_orientation_that_is_none_turns_nothing(tag: int) -> None:
    assert orientation(saved("TIFF", tiffinfo={274: tag})) == 1
    assert orientation(b"") == orientation(b"RIFF") == 1


# --- directories made to exhaust the machine


def directory(*entries: tuple[int, int, int, int]) -> bytes:
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + packed + bytes(4)


def test_a_directory_that_claims_its_file_over_and_over_takes_no_memory() -> None:
    sizes = [(256, 4, 1, 8), (257, 4, 1, 8)]
    repeated = [(tag, 1, 100_000, 8) for tag in (*range(1000, 1300), 256, 257, 258, 273, 279)]
    data = directory(*sizes, (259, 3, 1, 8), *repeated) + bytes(110_000)
    tracemalloc.start()
    try:
        assert read_header(data) is not None
        strips_are_sound(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_strips_that_overlap_are_not_unpacked_over_and_over(monkeypatch: pytest.MonkeyPatch) -> None:
    strip, count, begin = zlib.compress(bytes(1 << 20)), 500, 100
    places = begin + len(strip)
    head = directory((259, 3, 1, 8), (273, 4, count, places), (279, 4, count, places + 4 * count))
    data = head.ljust(begin, b"\0") + strip + struct.pack(f"<{2 * count}I", *[begin] * count, *[len(strip)] * count)
    unpacked = []
    monkeypatch.setattr(tiff, "_inflates", lambda strip: unpacked.append(len(strip)) or True)
    assert strips_are_sound(data)
    assert 0 < sum(unpacked) <= len(data)
