"""From photos to databases: crops, scales, odd photos, processes, the command line."""

from __future__ import annotations

import argparse
import os
import runpy
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dckd_basicsr.bicubic import imresize_uint8
from dckd_basicsr.cli import main
from dckd_basicsr.data.photos.images import Image, decode_image, encode_png, read_image
from dckd_basicsr.errors import DatasetError
from dckd_basicsr.prepare.commands import add_prepare_parser
from dckd_basicsr.prepare.parallel import ordered_map
from dckd_basicsr.prepare.sets.sr import prepare_sr
from dckd_basicsr.prepare.subimages import check_crop, crop_grid, crop_positions
from dckd_basicsr.prepare.verify import verify_pair
from tests import ROOT
from tests.photos import contents, photo, save, three_photos

SCRIPTS = ROOT / "datasets_prep"


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, Image]:
    return three_photos(tmp_path / "hr")


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
    assert main(["prepare", "sr", str(tmp_path / "none"), str(tmp_path), "--scale", "4"]) == 1
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
