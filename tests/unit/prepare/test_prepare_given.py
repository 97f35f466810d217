"""What a user gives to pack: photos that cannot be used, LQ photos of their own, DIV2K."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dckd_basicsr.bicubic import imresize_uint8
from dckd_basicsr.cli import main
from dckd_basicsr.data.photos.images import Image, encode_png, read_image
from dckd_basicsr.errors import DatasetError
from dckd_basicsr.prepare.sets.div2k import prepare_div2k
from dckd_basicsr.prepare.sets.sr import prepare_sr
from tests.photos import contents, photo, save, three_photos


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, Image]:
    return three_photos(tmp_path / "hr")


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
    monkeypatch.setattr("dckd_basicsr.prepare.databases.pack_photo", None)  # nothing is packed
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
    assert main(["prepare", "sr", *command[1:], "--workers", str(workers), "--skip-unusable"]) == 0
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
