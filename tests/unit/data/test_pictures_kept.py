"""What belongs to a picture survives reading and writing: depth, transparency, orientation, Exif, colour profile."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps, PngImagePlugin, TiffImagePlugin

from dckd_basicsr.data.photos.encoding import encode_picture
from dckd_basicsr.data.photos.headers import Header
from dckd_basicsr.data.photos.pictures import Picture, read_picture
from dckd_basicsr.errors import DatasetError
from tests.photos import photo

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
COLOURS = photo(0, 21, 34)
ALPHA = photo(1, 21, 34)[..., 0]
RGB = np.ascontiguousarray(COLOURS[..., ::-1])


def exif(orientation: int = 6) -> Image.Exif:
    tags = Image.Exif()
    tags[0x010F], tags[0x0112] = "Maker", orientation
    tags.get_ifd(0x8769)[0x829D] = 2.5  # the f-number, in a directory of its own
    return tags


def saved(path: Path, image: Image.Image, **extra: Any) -> Path:
    image.save(path, **extra)
    return path


def written(path: Path, kind: Any = "png") -> Image.Image:
    return Image.open(io.BytesIO(encode_picture(read_picture(path), kind)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_orientation_is_in_the_pixels_and_the_other_tags_stay(tmp_path: Path, orientation: int, suffix: str) -> None:
    extra: dict[str, Any] = {"exif": exif(orientation), **({"lossless": True} if suffix == "webp" else {})}
    if suffix == "tif":  # Pillow would leave out the directory of Exif
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[0x010F], tags[0x0112], tags[0x8769] = "Maker", orientation, {0x829D: 2.5}
        extra = {"tiffinfo": tags}
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(RGB), **extra)
    out = written(path)
    if suffix != "tif":  # OpenCV 5.0 fails on those that lie on their side
        assert np.array_equal(np.asarray(out)[..., ::-1], cv2.imread(str(path)))  # as BasicSR's datasets read it
    if suffix != "jpg":
        assert np.array_equal(np.asarray(out), np.asarray(ImageOps.exif_transpose(Image.open(path))))
    found = out.getexif()
    assert (found[0x010F], found.get_ifd(0x8769)[0x829D]) == ("Maker", 2.5)
    assert found.get(0x0112, 1) == 1


def test_exif_after_the_pixels_of_a_png_counts(tmp_path: Path) -> None:
    png = cv2.imencode(".png", COLOURS)[1].tobytes()
    block = exif().tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(block)) + b"eXIf" + block + struct.pack(">I", zlib.crc32(b"eXIf" + block))
    (tmp_path / "a.png").write_bytes(png[:-12] + chunk + png[-12:])
    out = written(tmp_path / "a.png")
    assert out.size == (21, 34)
    assert out.getexif()[0x010F] == "Maker"


@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
def test_profile_and_exif_reach_every_format(tmp_path: Path, kind: str) -> None:
    out = written(saved(tmp_path / "a.jpg", Image.fromarray(RGB), exif=exif(), icc_profile=SRGB), kind)
    assert out.info["icc_profile"] == SRGB
    assert (out.getexif()[0x010F], out.getexif()[0x0112]) == ("Maker", 1)
    assert out.size == (21, 34)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", ["grey", "grey, alpha", "colours", "colours, alpha"])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_every_layout_comes_back(tmp_path: Path, dtype: Any, channels: str, suffix: str) -> None:
    if (suffix, channels) == ("tif", "grey, alpha"):
        pytest.skip("written by Pillow below")
    step = 1 if dtype == np.uint8 else 255
    colours, alpha = COLOURS.astype(dtype) * step, ALPHA.astype(dtype) * step
    pixels = colours if channels.startswith("colours") else np.ascontiguousarray(colours[..., 1])
    made = Picture(pixels, alpha if "alpha" in channels else None)
    path = tmp_path / f"a.{suffix}"
    if suffix == "png":
        path.write_bytes(encode_picture(made))
    else:
        assert cv2.imwrite(str(path), pixels if made.alpha is None else np.dstack([pixels, alpha]))
    found = read_picture(path)
    assert found.pixels.dtype == dtype
    assert np.array_equal(found.pixels, pixels)
    assert (found.alpha is None) == (made.alpha is None)
    assert made.alpha is None or np.array_equal(found.alpha, alpha)


def test_transparency_of_grey_pictures(tmp_path: Path) -> None:
    grey = Image.merge("LA", [Image.fromarray(COLOURS[..., 0]), Image.fromarray(ALPHA)])
    tif = written(saved(tmp_path / "a.tif", grey))
    assert (tif.mode, tif.tobytes()) == ("LA", grey.tobytes())
    plain = Image.fromarray(COLOURS[..., 0])
    keyed = read_picture(saved(tmp_path / "a.png", plain, transparency=int(COLOURS[3, 4, 0])))
    assert keyed.pixels.ndim == 2
    assert np.array_equal(keyed.alpha == 0, COLOURS[..., 0] == COLOURS[3, 4, 0])


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    cmyk = Image.fromarray(RGB).convert("CMYK")
    for suffix in ("jpg", "tif"):
        found = read_picture(saved(tmp_path / f"a.{suffix}", cmyk))
        assert np.abs(found.pixels.astype(int) - COLOURS).mean() < 6
        assert found.notes == ("is CMYK; converted to RGB without a profile",)
    # what is stored as a profile of CMYK and is none is not kept either
    found = read_picture(saved(tmp_path / "b.jpg", cmyk, icc_profile=SRGB))
    assert (found.icc, found.notes) == (None, ("is CMYK; converted to RGB without a profile",))


def test_a_profile_of_another_colour_space_is_left_out(tmp_path: Path) -> None:
    found = read_picture(saved(tmp_path / "a.jpg", Image.fromarray(ALPHA), icc_profile=SRGB))
    assert found.icc is None
    assert found.notes == ("its colour profile, which is for RGB, is left out",)


@pytest.mark.parametrize(("suffix", "extra"), [("png", {}), ("webp", {"lossless": True}), ("tif", {})])
def test_the_first_of_several_pictures(tmp_path: Path, suffix: str, extra: Any) -> None:
    other = Image.fromarray(photo(5, 21, 34))
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(RGB), save_all=True, append_images=[other], **extra)
    found = read_picture(path)
    assert np.array_equal(found.pixels, COLOURS)
    assert found.notes == ("holds 2 pictures, of which the first is taken",)


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    png = cv2.imencode(".png", COLOURS)[1].tobytes()
    huge = bytearray(png)
    huge[16:24] = struct.pack(">II", 60_000, 60_000)
    claims = bytearray(png)
    claims[16:24] = struct.pack(">II", 20_000, 20_000)
    cv2.imwrite(str(tmp_path / "float.tif"), COLOURS.astype(np.float32))
    jpeg = cv2.imencode(".jpg", COLOURS)[1].tobytes()
    cmyk = io.BytesIO()
    Image.fromarray(RGB).convert("CMYK").save(cmyk, "JPEG")
    files = {
        "cut.png": (png[:-30], "is damaged, cut short or not an image"),
        "cut.jpg": (jpeg[:-30], "is damaged, cut short or not an image"),
        "cmyk.jpg": (cmyk.getvalue()[:-30], "is damaged, cut short or not an image"),
        "empty.png": (b"", "is damaged, cut short or not an image"),
        "text.png": (b"no picture", "is damaged, cut short or not an image"),
        "huge.png": (bytes(huge), "has 60000 x 60000 px, and OpenCV reads up to"),
        "claims.png": (bytes(claims), "claims 20000 x 20000 px, which .* bytes cannot hold"),
        "float.tif": (None, "holds float32 values; 8 or 16 bits are expected"),
        "missing.png": (None, "cannot be read .No such file"),
    }
    for name, (data, message) in files.items():
        if data is not None:
            (tmp_path / name).write_bytes(data)
        with pytest.raises(DatasetError, match=f"{name}' {message}"):
            read_picture(tmp_path / name)


def test_a_file_is_judged_before_it_is_decoded(tmp_path: Path) -> None:
    def refuse(header: Header) -> None:
        raise DatasetError(f"no room for {header.width}")

    (tmp_path / "a.png").write_bytes(cv2.imencode(".png", COLOURS)[1].tobytes()[:60])
    with pytest.raises(DatasetError, match="no room for 34"):
        read_picture(tmp_path / "a.png", refuse)


def test_damaged_metadata_do_not_lose_the_picture(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add(b"iCCP", b"x\0\0nonsense")
    info.add(b"eXIf", b"II*\0nonsense")
    found = read_picture(saved(tmp_path / "a.png", Image.fromarray(RGB), pnginfo=info))
    assert np.array_equal(found.pixels, COLOURS)
    assert found.icc is None


@pytest.mark.parametrize(
    ("picture", "kind", "message"),
    [
        (Picture(COLOURS.astype(np.uint16)), "jpg", "16 bits do not fit into JPEG; write PNG"),
        (Picture(COLOURS.astype(np.uint16)), "webp", "16 bits do not fit into WebP; write PNG"),
        (Picture(COLOURS, ALPHA), "jpg", "transparency does not fit into JPEG; write PNG or WebP"),
        (Picture(np.zeros((1, 17_000), np.uint8)), "webp", "WebP cannot hold it"),
        (Picture(COLOURS, exif=b"II*\0" + bytes(70_000)), "jpg", "JPEG cannot hold it"),
    ],
)
def test_what_a_format_does_not_hold(picture: Picture, kind: Any, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        encode_picture(picture, kind)


def test_webp_keeps_transparency() -> None:
    out = Image.open(io.BytesIO(encode_picture(Picture(COLOURS, ALPHA), "webp", 100)))
    assert out.mode == "RGBA"
    assert np.array_equal(np.asarray(out)[..., 3], ALPHA)


@pytest.mark.parametrize("mode", ["LA", "RGBA", "CMYK"])
def test_tiff_files_that_pillow_decodes_are_turned_once(tmp_path: Path, mode: str) -> None:
    upright = Image.fromarray(np.dstack([RGB, ALPHA])).convert(mode)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[0x0112] = 6
    path = saved(tmp_path / "a.tif", upright.transpose(Image.Transpose.ROTATE_90), tiffinfo=tags)
    assert read_picture(path).pixels.shape[:2] == (21, 34)


def test_colours_of_a_transparent_tiff_are_not_darkened(tmp_path: Path) -> None:
    picture = read_picture(saved(tmp_path / "a.tif", Image.fromarray(np.dstack([RGB, ALPHA]))))
    assert np.array_equal(picture.pixels, COLOURS)
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha, ALPHA)


@pytest.mark.parametrize(
    ("bits", "row", "key", "alpha"),
    [
        (1, b"\xa0", 1, [0, 255, 0, 255]),
        (2, b"\x1b", 2, [255, 255, 0, 255]),
        (4, b"\x1b\x2c", 11, [255, 0, 255, 255]),
        (8, b"\1\2\3\4", 3, [255, 255, 0, 255]),
        (16, b"\1\2\3\4\5\6\7\10", 0x0304, [65535, 0, 65535, 65535]),
    ],
)
def test_the_transparent_value_of_a_grey_png_is_one_of_its_own_depth(
    tmp_path: Path, bits: int, row: bytes, key: int, alpha: list[int]
) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 4, 1, bits, 0, 0, 0, 0)
    parts = [
        (b"IHDR", header),
        (b"tRNS", struct.pack(">H", key)),
        (b"IDAT", zlib.compress(b"\0" + row)),
        (b"IEND", b""),
    ]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    found = read_picture(tmp_path / "a.png").alpha
    assert found is not None
    assert found.tolist() == [alpha]


def test_webp_gets_no_profile_for_grey() -> None:
    picture = Picture(ALPHA, icc=b"\0" * 16 + b"GRAY" + b"\0" * 108)
    for kind, kept in (("webp", False), ("jpg", True), ("png", True)):
        out = Image.open(io.BytesIO(encode_picture(picture, kind)))  # type: ignore[arg-type]
        assert ("icc_profile" in out.info) is kept
