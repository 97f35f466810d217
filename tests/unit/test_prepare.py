"""From photos to databases: crops, scales, odd photos, processes, DIV2K, the command line."""

from __future__ import annotations

import argparse
import os
import re
import runpy
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dckd_basicsr.bicubic import imresize_uint8
from dckd_basicsr.data import LmdbImages, add_prepare_parser, prepare_div2k, prepare_sr, verify_pair
from dckd_basicsr.data.commands import run_script
from dckd_basicsr.data.images import Image, decode_image, encode_png, read_image
from dckd_basicsr.data.parallel import ordered_map
from dckd_basicsr.data.subimages import check_crop, crop_grid, crop_positions
from dckd_basicsr.errors import DatasetError

SCRIPTS = Path(__file__).resolve().parents[2] / "datasets_prep"


def photo(seed: int, height: int, width: int) -> Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 6 + 2, width // 6 + 2, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def save(path: Path, image: Any) -> Any:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return image


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, Image]:
    """Three photos in ``tmp_path/hr``; the second is smaller than 48 pixels."""
    sizes = {"a": (101, 74), "sub/b": (47, 90), "c": (48, 48)}
    return {
        name: save(tmp_path / "hr" / f"{name}.png", photo(i, *size)) for i, (name, size) in enumerate(sizes.items())
    }


def contents(path: Path) -> dict[str, Image]:
    with LmdbImages(path) as images:
        return {key: images.image(key) for key in images.keys}


# --- crops


@pytest.mark.parametrize(
    ("length", "crop", "step", "thresh", "starts"),
    [
        (1000, 480, 240, 0, [0, 240, 480, 520]),
        (1000, 480, 240, 39, [0, 240, 480, 520]),
        (1000, 480, 240, 40, [0, 240, 480]),
        (960, 480, 240, 0, [0, 240, 480]),
        (480, 480, 240, 0, [0]),
        (479, 480, 240, 0, []),
        (2040, 480, 240, 0, [0, 240, 480, 720, 960, 1200, 1440, 1560]),
    ],
)
def test_crop_positions(length: int, crop: int, step: int, thresh: int, starts: list[int]) -> None:
    assert crop_positions(length, crop, step, thresh) == starts


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 20), st.integers(1, 20), st.sampled_from([2, 3, 4, 12]))
def test_grid_is_inside_covers_all_and_stays_on_the_lq_grid(
    height: int, width: int, crop: int, step: int, scale: int
) -> None:
    step = min(step, crop)
    boxes = crop_grid(scale * height, scale * width, scale * crop, scale * step)
    covered = np.zeros((height, width), bool)
    for top, left in boxes:
        assert top % scale == left % scale == 0
        assert top + scale * crop <= scale * height
        assert left + scale * crop <= scale * width
        covered[top // scale : top // scale + crop, left // scale : left // scale + crop] = True
    assert covered.all() == (crop <= min(height, width))
    assert len(set(boxes)) == len(boxes)
    assert boxes == [(scale * t, scale * c) for t, c in crop_grid(height, width, crop, step)]


def test_crop_must_be_a_multiple_of_every_scale() -> None:
    check_crop(480, 240, [2, 3, 4])
    with pytest.raises(DatasetError, match="crop 100 is not a positive multiple of scale 3"):
        check_crop(100, 60, [2, 3, 4])
    with pytest.raises(DatasetError, match="step 0"):
        check_crop(48, 0, [2])


# --- prepare_sr


def test_sub_images_are_cut_from_the_whole_shrunk_photo(tmp_path: Path, photos: dict[str, Image]) -> None:
    summary = prepare_sr(tmp_path / "hr", tmp_path / "out", [4], crop=48, step=24, workers=0, verify=True)
    gt, lq = contents(summary.gt), contents(summary.lq[4])
    # a is cut to 100 x 72: tops 0 24 48 52, lefts 0 24; c is one crop; sub/b is too small.
    assert list(gt) == list(lq) == [*(f"a_s{n:03d}" for n in range(1, 9)), "c_s001"]
    assert (summary.photos, summary.images, summary.skipped, summary.verified) == (3, 9, ("sub/b",), True)
    whole = photos["a"][:100, :72]
    shrunk = imresize_uint8(whole, Fraction(1, 4))
    boxes = [(top, left) for top in (0, 24, 48, 52) for left in (0, 24)]
    for number, (top, left) in enumerate(boxes, start=1):
        np.testing.assert_array_equal(gt[f"a_s{number:03d}"], whole[top : top + 48, left : left + 48])
        cut = shrunk[top // 4 : top // 4 + 12, left // 4 : left // 4 + 12]
        np.testing.assert_array_equal(lq[f"a_s{number:03d}"], cut)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["GT.lmdb", "LQ_x4.lmdb"]


def test_small_photos_can_be_kept_whole(tmp_path: Path, photos: dict[str, Image]) -> None:
    summary = prepare_sr(tmp_path / "hr", tmp_path / "out", [4], crop=48, step=48, small="keep", workers=0)
    gt = contents(summary.gt)
    assert summary.skipped == ()
    np.testing.assert_array_equal(gt["sub/b_s001"], photos["sub/b"][:44, :88])
    with pytest.raises(DatasetError, match=r"all 3 photos, '.*a\.png' first, are smaller than the crop of 480"):
        prepare_sr(tmp_path / "hr", tmp_path / "big", [4], workers=0)
    assert not (tmp_path / "big").exists()


def test_several_scales_share_one_gt(tmp_path: Path, photos: dict[str, Image]) -> None:
    summary = prepare_sr(tmp_path / "hr", tmp_path / "out", [2, 3, 4], crop=None, workers=0, limit=2)
    gt = contents(summary.gt)
    assert list(gt) == ["a", "c"]  # whole photos keep their plain keys; natural order
    np.testing.assert_array_equal(gt["a"], photos["a"][:96, :72])
    for scale, path in summary.lq.items():
        expected = imresize_uint8(photos["a"][:96, :72], Fraction(1, scale))
        np.testing.assert_array_equal(contents(path)["a"], expected)
        verify_pair(summary.gt, path, scale)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "GT.lmdb",
        "LQ_x2.lmdb",
        "LQ_x3.lmdb",
        "LQ_x4.lmdb",
    ]


def test_workers_change_nothing(tmp_path: Path, photos: dict[str, Image]) -> None:
    for workers in (0, 2):
        prepare_sr(tmp_path / "hr", tmp_path / f"{workers}", [2, 4], crop=24, step=12, workers=workers)
    for name in ("GT.lmdb", "LQ_x2.lmdb", "LQ_x4.lmdb"):
        for file in ("meta_info.txt", "checksums.txt", "data.mdb"):
            assert (tmp_path / "0" / name / file).read_bytes() == (tmp_path / "2" / name / file).read_bytes()


@pytest.mark.parametrize("workers", [0, 2])
def test_damaged_photo_is_named_and_nothing_appears(tmp_path: Path, photos: dict[str, Image], workers: int) -> None:
    bad = tmp_path / "hr" / "c.png"
    bad.write_bytes(bad.read_bytes()[:-100])
    with pytest.raises(DatasetError, match=r"hr/c\.png' is damaged"):
        prepare_sr(tmp_path / "hr", tmp_path / "out", [2], crop=24, step=24, workers=workers)
    assert not (tmp_path / "out").exists()


def test_existing_database_is_seen_before_the_work_starts(tmp_path: Path, photos: dict[str, Image]) -> None:
    prepare_sr(tmp_path / "hr", tmp_path / "out", [2], crop=None, workers=0)
    before = (tmp_path / "out" / "GT.lmdb" / "data.mdb").stat().st_ino
    with pytest.raises(DatasetError, match=r"GT\.lmdb' exists"):
        prepare_sr(tmp_path / "hr", tmp_path / "out", [2, 4], crop=None, workers=0)
    assert (tmp_path / "out" / "GT.lmdb" / "data.mdb").stat().st_ino == before
    prepare_sr(tmp_path / "hr", tmp_path / "out", [2, 4], crop=None, workers=0, overwrite=True)
    assert (tmp_path / "out" / "GT.lmdb" / "data.mdb").stat().st_ino != before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scales": []}, "scales"),
        ({"scales": [2, 2]}, "scales"),
        ({"scales": [0]}, "scales"),
        ({"scales": [4], "crop": 50, "step": 24}, "crop 50"),
        ({"scales": [4], "level": 10}, "level"),
        ({"scales": [4], "workers": -1}, "workers"),
        ({"scales": [4], "small": "yes"}, "small"),
        ({"scales": [4], "thresh": -1}, "thresh"),
        ({"scales": [200], "crop": None, "small": "keep"}, "at least 200x200"),
        (
            {"scales": [200], "crop": None},
            r"all 3 photos, '.*' first, are smaller than 200 pixels, which the scale needs",
        ),
    ],
)
def test_bad_options_are_refused(tmp_path: Path, photos: dict[str, Image], options: dict, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        prepare_sr(tmp_path / "hr", tmp_path / "out", **{"workers": 0, **options})
    assert not list(tmp_path.glob("out/*"))


# --- photos that cannot be used


def spoil(folder: Path) -> None:
    """Beside the photos one of each kind that a header tells, a damaged one, and a dot that is smaller than a scale."""
    save(folder / "deep.png", np.zeros((64, 64), np.uint16))
    (folder / "empty.jpg").touch()
    (folder / "text.tif").write_text("no image")
    save(folder / "sub" / "float.tif", np.zeros((64, 64), np.float32))
    whole = save(folder / "broken.png", photo(9, 64, 64))
    data = bytearray(encode_png(whole))
    data[len(data) // 2] ^= 1
    (folder / "broken.png").write_bytes(data)
    save(folder / "dot.png", photo(8, 3, 64))


def test_all_photos_that_cannot_be_used_are_told_before_the_work(
    tmp_path: Path, photos: dict[str, Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(tmp_path / "hr")
    monkeypatch.setattr("dckd_basicsr.data.databases.pack_photo", None)  # nothing is packed
    with pytest.raises(DatasetError) as caught:
        prepare_sr(tmp_path / "hr", tmp_path / "out", [4], crop=24, step=24, workers=0)
    first, *lines = str(caught.value).splitlines()
    assert first == "4 of 9 photos cannot be used:"
    for line, (name, reason) in zip(
        lines,
        {
            "deep.png": "holds 16-bit values, 8-bit images are expected",
            "empty.jpg": "is damaged, cut short or not an image (0 bytes)",
            "sub/float.tif": "holds 32-bit values, 8-bit images are expected",
            "text.tif": "is damaged, cut short or not an image (8 bytes)",
        }.items(),
    ):
        assert line.startswith(f"  - '{tmp_path}/hr/{name}' {reason}")
    assert "--skip-unusable" in lines[4]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_photos_that_cannot_be_used_are_skipped_and_listed(
    tmp_path: Path, photos: dict[str, Image], workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = prepare_sr(tmp_path / "hr", tmp_path / "a", [4], crop=24, step=24, workers=0)
    spoil(tmp_path / "hr")
    command = ["sr", str(tmp_path / "hr"), str(tmp_path / "b"), "--scale", "4", "--crop", "24", "--step", "24"]
    assert run_script("sr", [*command[1:], "--workers", str(workers), "--skip-unusable"]) == 0
    printed = capsys.readouterr().out
    assert "from 9 photos" in printed
    assert "skipped 1 photos smaller than the crop, or than the scale: dot" in printed
    assert "left out 5 photos that cannot be used:\n  '" in printed
    for name in ("deep.png", "empty.jpg", "text.tif", "sub/float.tif", "broken.png"):
        assert f"  '{tmp_path}/hr/{name}' " in printed
    assert (tmp_path / "b" / "GT.lmdb" / "checksums.txt").read_text() == (summary.gt / "checksums.txt").read_text()


def test_pairs_that_cannot_be_used_are_told_together(tmp_path: Path) -> None:
    for name, size in {"a": (12, 12), "b": (12, 13), "c": (13, 12), "d": (12, 12)}.items():
        save(tmp_path / "hr" / f"{name}.png", photo(0, 24, 24))
        save(tmp_path / "lr" / f"{name}.png", photo(1, *size))
    save(tmp_path / "lr" / "d.png", np.zeros((12, 12), np.uint16))
    options: dict[str, Any] = {"lq": tmp_path / "lr", "crop": None, "workers": 0}
    with pytest.raises(DatasetError) as caught:
        prepare_sr(tmp_path / "hr", tmp_path / "out", [2], **options)
    assert str(caught.value).startswith("3 of 4 photos cannot be used:")
    assert "LQ photo" in str(caught.value).splitlines()[1]
    assert "b.png' is 12x13" in str(caught.value)
    assert "lr/d.png' holds 16-bit values" in str(caught.value)
    summary = prepare_sr(tmp_path / "hr", tmp_path / "out", [2], skip_unusable=True, **options)
    assert list(contents(summary.gt)) == ["a"]
    assert len(summary.unusable) == 3
    (tmp_path / "hr" / "a.png").unlink()
    (tmp_path / "lr" / "a.png").unlink()
    with pytest.raises(DatasetError, match="3 of 3 photos cannot be used"):
        prepare_sr(tmp_path / "hr", tmp_path / "none", [2], skip_unusable=True, **options)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("crop", [24, None])
def test_photos_smaller_than_the_scale_are_skipped(tmp_path: Path, photos: dict[str, Image], crop: int | None) -> None:
    save(tmp_path / "hr" / "dot.png", photo(8, 3, 64))
    summary = prepare_sr(tmp_path / "hr", tmp_path / "out", [4], crop=crop, step=crop, workers=0)
    assert summary.skipped == ("dot",)
    assert summary.photos == 4
    with pytest.raises(DatasetError, match=r"dot\.png' is 3x64, at least 4x4 is needed"):
        prepare_sr(tmp_path / "hr", tmp_path / "kept", [4], crop=crop, step=crop, workers=0, small="keep")


# --- ready-made LQ photos


def test_given_lq_photos_are_taken(tmp_path: Path, photos: dict[str, Image]) -> None:
    given_lq = {}
    for i, (name, hr) in enumerate(photos.items()):
        size = (hr.shape[0] // 4, hr.shape[1] // 4)
        given_lq[name] = save(tmp_path / "lr" / "X4" / f"{name}x4.png", photo(10 + i, *size))
    summary = prepare_sr(tmp_path / "hr", tmp_path / "out", [4], lq=tmp_path / "lr", crop=None, workers=0)
    for name, image in contents(summary.lq[4]).items():
        np.testing.assert_array_equal(image, given_lq[name])
    np.testing.assert_array_equal(contents(summary.gt)["a"], photos["a"][:100, :72])
    direct = prepare_sr(tmp_path / "hr", tmp_path / "d", [4], lq={4: tmp_path / "lr" / "X4"}, crop=None, workers=0)
    assert (direct.gt / "checksums.txt").read_text() == (summary.gt / "checksums.txt").read_text()

    save(tmp_path / "lr" / "X4" / "ax4.png", photo(0, 26, 18))
    with pytest.raises(DatasetError, match=r"ax4\.png' is 26x18, but '.*a\.png' is 101x74.*25x18 was expected"):
        prepare_sr(tmp_path / "hr", tmp_path / "e", [4], lq=tmp_path / "lr", crop=None, workers=0)
    (tmp_path / "lr" / "X4" / "ax4.png").unlink()
    with pytest.raises(DatasetError, match=r"no LQ photo for 1 of 3 HR photos, such as '.*a\.png'.*'ax4'"):
        prepare_sr(tmp_path / "hr", tmp_path / "e", [4], lq=tmp_path / "lr", crop=None, workers=0)
    with pytest.raises(DatasetError, match="scale 4"):
        prepare_sr(tmp_path / "hr", tmp_path / "e", [4], lq={2: tmp_path / "lr"}, crop=None, workers=0)


@pytest.mark.parametrize("ending", ["", "x2"])
def test_every_photo_gets_an_lq_photo_of_its_own(tmp_path: Path, ending: str) -> None:
    """One photo's name is that of another's LQ photo."""
    given_lq = {}
    for seed, name in enumerate(("wall_1", "wall_1x2", "wall_1x2x2")):
        save(tmp_path / "hr" / f"{name}.png", photo(seed, 24, 24))
        given_lq[name] = save(tmp_path / "lr" / f"{name}{ending}.png", photo(10 + seed, 12, 12))
    summary = prepare_sr(tmp_path / "hr", tmp_path / "out", [2], lq=tmp_path / "lr", crop=None, workers=0)
    packed = contents(summary.lq[2])
    assert len(packed) == 3
    for name, image in packed.items():
        np.testing.assert_array_equal(image, given_lq[name])


def test_lq_photos_named_in_two_ways_or_left_over_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        save(tmp_path / "hr" / f"{name}.png", photo(0, 24, 24))
        save(tmp_path / "lr" / ("a.png" if name == "a" else f"{name}x2.png"), photo(1, 12, 12))

    def message() -> str:
        with pytest.raises(DatasetError) as caught:
            prepare_sr(tmp_path / "hr", tmp_path / "out", [2], lq=tmp_path / "lr", crop=None, workers=0)
        return str(caught.value)

    assert "no LQ photo for 1 of 3 HR photos" in message()
    assert "1 LQ photos without an HR photo: 'a'; give one" in message()
    assert "all of them named with 'x2' or all without" in message()
    (tmp_path / "lr" / "a.png").rename(tmp_path / "lr" / "ax2.png")
    save(tmp_path / "lr" / "dx2.png", photo(1, 12, 12))
    assert f"'{tmp_path}/lr' has 1 LQ photos without an HR photo: 'dx2'; give one" in message()
    assert not (tmp_path / "out").exists()


def div2k(root: Path, count: int = 2) -> None:
    for number in range(1, count + 1):
        hr = save(
            root / "DIV2K_train_HR" / f"{number:04d}.png", photo(number, 25, 38)
        )  # 25 = 3 * 8 + 1, 38 = 3 * 12 + 2
        for scale in (2, 3):
            lr = imresize_uint8(hr[: 25 // scale * scale, : 38 // scale * scale], Fraction(1, scale))
            save(root / "DIV2K_train_LR_bicubic" / f"X{scale}" / f"{number:04d}x{scale}.png", lr)


def test_div2k_layout_and_sizes_that_are_no_multiple(tmp_path: Path) -> None:
    div2k(tmp_path)
    summary = prepare_div2k(tmp_path, tmp_path / "o", [2, 3], crop=12, step=12, workers=0, limit=2, verify=True)
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == [
        "DIV2K_train_HR_sub.lmdb",
        "DIV2K_train_LR_bicubic_X2_sub.lmdb",
        "DIV2K_train_LR_bicubic_X3_sub.lmdb",
    ]
    assert summary.images == 2 * 2 * 3  # 24 x 36 of each
    assert list(contents(summary.gt))[:2] == ["0001_s001", "0001_s002"]
    lr = read_image(tmp_path / "DIV2K_train_LR_bicubic" / "X3" / "0002x3.png")
    np.testing.assert_array_equal(contents(summary.lq[3])["0002_s006"], lr[4:8, 8:12])


def test_div2k_says_what_is_missing_and_where_to_get_it(tmp_path: Path) -> None:
    div2k(tmp_path)
    with pytest.raises(DatasetError) as caught:
        prepare_div2k(tmp_path, tmp_path / "o", workers=0)
    message = str(caught.value)
    assert re.search(r"798 photos missing from '.*DIV2K_train_HR' \(0003\.png, 0004\.png", message)
    assert re.search(r"798 photos missing from '.*X3' \(0003x3\.png", message)
    assert re.search(r"folder '.*X4' is missing", message)
    assert "https://data.vision.ee.ethz.ch/cvl/DIV2K/" in message
    save(tmp_path / "DIV2K_train_HR" / "0801.png", photo(0, 12, 12))
    with pytest.raises(DatasetError, match=r"1 photos too many in '.*DIV2K_train_HR' \(0801\.png\)"):
        prepare_div2k(tmp_path, tmp_path / "o", [2], workers=0, limit=2)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("gone", ["DIV2K_train_HR/0003.png", "DIV2K_train_LR_bicubic/X2/0003x2.png"])
def test_div2k_in_part_gives_as_many_photos_as_are_asked_for(tmp_path: Path, gone: str) -> None:
    div2k(tmp_path, 3)
    (tmp_path / gone).unlink()
    summary = prepare_div2k(tmp_path, tmp_path / "o", [2], crop=None, workers=0, limit=2)
    assert list(contents(summary.gt)) == list(contents(summary.lq[2])) == ["0001", "0002"]
    with pytest.raises(DatasetError, match="limit must be 1 or more, got 0"):
        prepare_div2k(tmp_path, tmp_path / "none", [2], workers=0, limit=0)


# --- photos of every kind


def test_gray_and_transparent_photos(tmp_path: Path) -> None:
    colour = photo(0, 24, 24)
    alpha = np.dstack([colour, np.full((24, 24), 7, np.uint8)])
    save(tmp_path / "hr" / "alpha.png", alpha)
    save(tmp_path / "hr" / "gray.png", colour[:, :, 0])
    summary = prepare_sr(tmp_path / "hr", tmp_path / "out", [2], crop=None, workers=0)
    gt = contents(summary.gt)
    np.testing.assert_array_equal(gt["alpha"], colour)
    np.testing.assert_array_equal(gt["gray"], np.repeat(colour[:, :, :1], 3, axis=2))
    assert "gray.png (24,24,3) 1" in (summary.gt / "meta_info.txt").read_text()


def test_unusable_photos_are_named(tmp_path: Path) -> None:
    save(tmp_path / "deep.png", np.zeros((8, 8), np.uint16))
    with pytest.raises(DatasetError, match=r"deep\.png' holds uint16 values, 8-bit"):
        read_image(tmp_path / "deep.png")
    with pytest.raises(DatasetError, match=r"none\.png"):
        read_image(tmp_path / "none.png")
    save(tmp_path / "cut.jpg", photo(0, 64, 64))
    whole = (tmp_path / "cut.jpg").read_bytes()
    for data in (whole[: len(whole) // 2], b"", b"hello"):
        with pytest.raises(DatasetError, match=r"cut\.jpg' is damaged"):
            decode_image(data, "cut.jpg")
    assert decode_image(whole + b"appended by a camera", "cut.jpg").shape == (64, 64, 3)


def test_png_is_lossless_at_every_level() -> None:
    image = photo(0, 30, 40)
    sizes = [len(encode_png(image[:, ::2], level)) for level in (0, 1, 9)]
    assert sizes[0] > sizes[1]
    for level in (0, 1, 9):
        np.testing.assert_array_equal(decode_image(encode_png(image[:, ::2], level), "x"), image[:, ::2])


# --- processes


@pytest.mark.parametrize("workers", [0, 2])
def test_ordered_map_keeps_order_and_names_the_item(workers: int) -> None:
    assert list(ordered_map(abs, range(-20, 0), workers=workers)) == list(range(20, 0, -1))
    results = ordered_map(int, ["1", "2", "photo.png", "3"], workers=workers)
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(DatasetError, match=r"'photo\.png': ValueError: invalid literal"):
        next(results)


def test_ordered_map_reports_a_worker_that_died() -> None:
    with pytest.raises(DatasetError, match=r"a worker process died at or soon after '7'.*fewer workers"):
        list(ordered_map(os._exit, [7, 7, 7, 7], workers=1))


def test_ordered_map_reads_no_further_than_its_window() -> None:
    taken: list[int] = []

    def source() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            yield number

    results = ordered_map(abs, source(), workers=2)
    assert next(results) == 0
    assert len(taken) == 4
    results.close()


# --- the command line


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="basicsr")
    add_prepare_parser(parser.add_subparsers())
    return parser.parse_args(["prepare", *arguments])


def test_command_packs_verifies_and_prints_the_option_lines(
    tmp_path: Path, photos: dict[str, Image], capsys: pytest.CaptureFixture[str]
) -> None:
    hr, out = str(tmp_path / "hr"), str(tmp_path / "out")
    options = parse("sr", hr, out, "--scale", "4", "2", "--crop", "48", "--workers", "0", "--verify")
    assert options.func(options) == 0
    printed = capsys.readouterr().out
    assert "packed 9 pairs from 3 photos" in printed
    assert "skipped 1 photos smaller than the crop, or than the scale: sub/b" in printed
    assert f"dataroot_gt: {out}/GT.lmdb" in printed
    assert f"dataroot_lq: {out}/LQ_x2.lmdb" in printed
    options = parse("verify", f"{out}/GT.lmdb", f"{out}/LQ_x4.lmdb", "--scale", "4")
    assert options.func(options) == 0
    assert "9 images" in capsys.readouterr().out
    options = parse("verify", f"{out}/GT.lmdb")
    assert options.func(options) == 0


def test_command_line_mistakes_end_without_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_script("sr", [str(tmp_path / "none"), str(tmp_path), "--scale", "4"]) == 1
    assert "error: photo folder" in capsys.readouterr().err
    for arguments in (["sr", "a", "b"], ["sr", "a", "b", "--scale", "x"], ["nothing"], []):
        with pytest.raises(SystemExit, match="2"):
            parse(*arguments)
    options = parse("verify", "a.lmdb", "b.lmdb")
    with pytest.raises(SystemExit, match="2"):
        options.func(options)


@pytest.mark.parametrize("kind", ["sr", "div2k", "verify"])
def test_help_shows_an_example(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        parse(kind, "--help")
    assert f"basicsr prepare {kind} " in capsys.readouterr().out.split("example")[1]


def test_scripts_run(tmp_path: Path, photos: dict[str, Image], monkeypatch: pytest.MonkeyPatch) -> None:
    command = [str(tmp_path / "hr"), str(tmp_path / "out"), "--scale", "2", "--crop", "0", "--workers", "0"]
    monkeypatch.setattr(sys, "argv", ["sr.py", *command])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPTS / "sr.py"), run_name="__main__")
    assert ended.value.code == 0
    assert len(contents(tmp_path / "out" / "GT.lmdb")) == 3
    monkeypatch.setattr(sys, "argv", ["div2k.py", str(tmp_path), str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPTS / "div2k.py"), run_name="__main__")
    assert ended.value.code == 1
