"""The published deblurring and deraining sets, in miniature: layouts, counts, names, what is missing."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from dckd_basicsr.cli import main
from dckd_basicsr.data.lmdb.reader import LmdbImages
from dckd_basicsr.errors import DatasetError
from dckd_basicsr.prepare.sets.gopro import GOPRO_COUNTS, prepare_gopro
from dckd_basicsr.prepare.sets.rain13k import RAIN13K_COUNTS, prepare_rain13k
from dckd_basicsr.prepare.subimages import crop_grid
from tests import ROOT

SCRIPTS = ROOT / "datasets_prep"


def save(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 256, (20, 28, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), image)


@pytest.fixture
def gopro(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three training pairs in two scenes and one test pair, as published, with counts to match."""
    for name, count in {"train": 3, "test": 1}.items():
        monkeypatch.setitem(GOPRO_COUNTS, name, count)
    root = tmp_path / "GOPRO_Large"
    frames = ["train/GOPR0372_07_00/{}/000047.png", "train/GOPR0372_07_00/{}/000048.png"]
    frames += ["train/GOPR0374_11_00/{}/000047.png", "test/GOPR0384_11_00/{}/000001.png"]
    for number, frame in enumerate(frames):
        for kind, name in enumerate(("sharp", "blur", "blur_gamma")):
            save(root / frame.format(name), 10 * number + kind)
    return root


@pytest.fixture
def rain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two training pairs, one as JPEG, and two test sets of the five."""
    for name, counts in {"Rain13K": (3, 2), "Test100": (1,), "Rain100L": (2,)}.items():
        monkeypatch.setitem(RAIN13K_COUNTS, name, counts)
    root = tmp_path / "Datasets"
    names = ["train/Rain13K/{}/1.jpg", "train/Rain13K/{}/2.png", "test/Test100/{}/1.png"]
    names += [f"test/Rain100L/{{}}/{number}.png" for number in (1, 2)]
    for number, name in enumerate(names):
        for kind, side in enumerate(("target", "input")):
            save(root / name.format(side), 10 * number + kind)
    return root


def contents(path: Path) -> dict[str, np.ndarray]:
    with LmdbImages(path) as images:
        return {key: images.image(key) for key in images.keys}


def test_published_counts() -> None:
    assert GOPRO_COUNTS == {"train": 2103, "test": 1111}
    assert RAIN13K_COUNTS == {
        "Rain13K": (13712, 13711),
        "Test100": (100, 98),
        "Rain100H": (100,),
        "Rain100L": (100,),
        "Test2800": (2800,),
        "Test1200": (1200,),
    }


def test_gopro_as_published(tmp_path: Path, gopro: Path) -> None:
    for root in (gopro, gopro.parent):  # the folder itself, or what holds it
        out = tmp_path / f"out_{root.name}"
        prepared = prepare_gopro(root, out, crop=16, step=8, workers=0, verify=True)
        names = ["GoPro_test_GT", "GoPro_test_LQ", "GoPro_train_GT_sub", "GoPro_train_LQ_sub"]
        assert sorted(path.stem for path in out.iterdir()) == names
        assert prepared.missing == ()
        summary = prepared.parts["GoPro train"]
        assert (summary.photos, summary.images) == (3, 3 * 2 * 3)
    lq = contents(out / "GoPro_train_LQ_sub.lmdb")
    whole = cv2.imread(str(gopro / "train" / "GOPR0374_11_00" / "blur" / "000047.png"))
    np.testing.assert_array_equal(lq["GOPR0374_11_00/000047_s006"], whole[4:20, 12:28])
    test = contents(out / "GoPro_test_GT.lmdb")
    assert {key: image.shape for key, image in test.items()} == {"GOPR0384_11_00/000001": (20, 28, 3)}


def test_gopro_other_blur_whole_and_flattened(tmp_path: Path, gopro: Path) -> None:
    prepare_gopro(gopro, tmp_path / "gamma", blur="blur_gamma", crop=None, workers=0)
    lq = contents(tmp_path / "gamma" / "GoPro_train_LQ.lmdb")
    whole = cv2.imread(str(gopro / "train" / "GOPR0372_07_00" / "blur_gamma" / "000048.png"))
    np.testing.assert_array_equal(lq["GOPR0372_07_00/000048"], whole)
    flat = tmp_path / "flat"
    for number in range(3):
        for kind, side in enumerate(("target", "input")):
            save(flat / "train" / side / f"GOPR_{number}.png", 10 * number + kind)
    prepared = prepare_gopro(flat, tmp_path / "o", crop=16, step=8, workers=0)
    assert list(prepared.parts) == ["GoPro train"]
    assert prepared.missing == (f"GoPro test: no folder '{flat / 'test'}'",)
    assert "GOPR_2_s006" in contents(tmp_path / "o" / "GoPro_train_GT_sub.lmdb")
    with pytest.raises(DatasetError, match="'blur' or 'blur_gamma', got 'gamma'"):
        prepare_gopro(flat, tmp_path / "o", blur="gamma")  # type: ignore[arg-type]


def test_gopro_counts(tmp_path: Path, gopro: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, count in {"train": 2103, "test": 1111}.items():
        monkeypatch.setitem(GOPRO_COUNTS, name, count)
    with pytest.raises(DatasetError) as caught:
        prepare_gopro(gopro, tmp_path / "out", workers=0)
    message = str(caught.value)
    assert f"GoPro train in '{gopro / 'train'}' holds 3 pairs, 2103 were expected" in message
    assert f"GoPro test in '{gopro / 'test'}' holds 1 pairs, 1111 were expected" in message
    assert "https://seungjunnah.github.io/Datasets/gopro" in message
    with pytest.raises(DatasetError, match=r"no folder '.*nothing/train'; GoPro test: no folder.*Download it from"):
        prepare_gopro(tmp_path / "nothing", tmp_path / "out", workers=0)
    assert not (tmp_path / "out").exists()
    for name in GOPRO_COUNTS:  # with a limit, less than all will do
        monkeypatch.setitem(GOPRO_COUNTS, name, 5)
    limited = prepare_gopro(gopro, tmp_path / "out", crop=16, step=16, workers=0, limit=1)
    assert [summary.photos for summary in limited.parts.values()] == [1, 1]


def test_gopro_grid_is_that_of_the_papers() -> None:
    grid = crop_grid(720, 1280, 512, 256)
    assert grid == [(top, left) for top in (0, 208) for left in (0, 256, 512, 768)]
    assert GOPRO_COUNTS["train"] * len(grid) == 16824


def test_a_damaged_test_frame_takes_everything_back(tmp_path: Path, gopro: Path) -> None:
    bad = gopro / "test" / "GOPR0384_11_00" / "blur" / "000001.png"
    bad.write_bytes(bad.read_bytes()[:-50])
    with pytest.raises(DatasetError, match=r"blur/000001\.png' is damaged"):
        prepare_gopro(gopro, tmp_path / "out", crop=16, step=8, workers=0)
    assert not (tmp_path / "out").exists()
    bad.unlink()
    with pytest.raises(DatasetError, match="holds no photos"):
        prepare_gopro(gopro, tmp_path / "out", crop=16, step=8, workers=0)


def test_rain13k(tmp_path: Path, rain: Path) -> None:
    prepared = prepare_rain13k(rain, tmp_path / "out", workers=0, verify=True)
    assert sorted(path.stem for path in (tmp_path / "out").iterdir()) == [
        "Rain100L_GT",
        "Rain100L_LQ",
        "Rain13K_train_GT",
        "Rain13K_train_LQ",
        "Test100_GT",
        "Test100_LQ",
    ]
    assert {name: summary.images for name, summary in prepared.parts.items()} == {
        "Rain13K": 2,
        "Test100": 1,
        "Rain100L": 2,
    }
    assert [line.split(":")[0] for line in prepared.missing] == ["Rain100H", "Test2800", "Test1200"]
    packed = contents(tmp_path / "out" / "Rain13K_train_LQ.lmdb")
    np.testing.assert_array_equal(packed["1"], cv2.imread(str(rain / "train" / "Rain13K" / "input" / "1.jpg")))
    cropped = prepare_rain13k(rain, tmp_path / "crop", crop=16, step=16, workers=0)
    assert cropped.parts["Rain13K"].gt.name == "Rain13K_train_GT_sub.lmdb"
    assert cropped.parts["Test100"].images == 1


def test_rain13k_counts(tmp_path: Path, rain: Path) -> None:
    save(rain / "test" / "Test1200" / "input" / "1.png", 0)
    save(rain / "test" / "Test1200" / "target" / "1.png", 0)
    with pytest.raises(DatasetError, match=r"Test1200 in '.*' holds 1 pairs, 1200 were.*swz30/MPRNet \(section Derain"):
        prepare_rain13k(rain, tmp_path / "out", workers=0)
    save(rain / "test" / "Test100" / "input" / "2.png", 0)
    with pytest.raises(DatasetError, match="do not pair up"):
        prepare_rain13k(rain, tmp_path / "out", workers=0)
    with pytest.raises(DatasetError, match=r"Rain13K: no folder.*Test1200: no folder"):
        prepare_rain13k(tmp_path / "nothing", tmp_path / "out", workers=0)
    assert not (tmp_path / "out").exists()


def test_commands_say_what_was_not_packed(
    tmp_path: Path, gopro: Path, rain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", "rain13k", str(rain), str(tmp_path / "r"), "--workers", "0"]) == 0
    printed = capsys.readouterr().out
    assert "Test100:\npacked 1 pairs from 1 photos" in printed
    assert "not packed, download from https://github.com/swz30/MPRNet if wanted:\n  Rain100H: no folder" in printed
    assert main(["prepare", "gopro", str(gopro), str(tmp_path / "g"), "--crop", "16", "--workers", "0"]) == 0
    printed = capsys.readouterr().out
    assert "GoPro train:\npacked 18 pairs from 3 photos" in printed
    assert "not packed" not in printed


@pytest.mark.parametrize("kind", ["paired", "gopro", "rain13k"])
def test_scripts_and_help(kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [f"{kind}.py", "--help"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(SCRIPTS / f"{kind}.py"), run_name="__main__")
    assert f"basicsr prepare {kind} " in capsys.readouterr().out.split("example")[1]
