"""Two folders of photos to paired databases: matching, templates, sizes, crops, the command."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from basicsr.data.paired_image_dataset import PairedImageDataset

from dckd_basicsr.cli import main
from dckd_basicsr.data.lmdb.reader import LmdbImages
from dckd_basicsr.data.photos.images import Image
from dckd_basicsr.errors import DatasetError
from dckd_basicsr.prepare.sets.paired import prepare_paired
from dckd_basicsr.prepare.sets.pairing import pair_photos
from dckd_basicsr.prepare.sets.templates import Template, padding_differs, suggest_templates
from dckd_basicsr.prepare.verify import verify_pair
from tests import ROOT

SCRIPTS = ROOT / "datasets_prep"


def save(path: Path, seed: int, height: int = 24, width: int = 36) -> Image:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), image)
    return image


def folders(tmp_path: Path, gt: list[str], lq: list[str]) -> tuple[Path, Path]:
    for side, names in (("gt", gt), ("lq", lq)):
        for number, name in enumerate(names):
            save(tmp_path / side / name, number + 100 * (side == "lq"))
    return tmp_path / "gt", tmp_path / "lq"


def contents(path: Path) -> dict[str, Image]:
    with LmdbImages(path) as images:
        return {key: images.image(key) for key in images.keys}


# --- packing


def test_whole_pairs_are_packed_and_read_by_the_stock_dataset(tmp_path: Path) -> None:
    gt, lq = folders(tmp_path, ["2.png", "10.png", "sub/2.png"], ["2.png", "10.png", "sub/2.png"])
    summary = prepare_paired(gt, lq, tmp_path / "out", workers=0, verify=True)
    assert (summary.photos, summary.images, summary.verified) == (3, 3, True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["GT.lmdb", "LQ.lmdb"]
    packed = contents(summary.lq[1])
    assert list(packed) == list(contents(summary.gt)) == ["2", "10", "sub/2"]
    for key, image in packed.items():
        np.testing.assert_array_equal(image, cv2.imread(str(lq / f"{key}.png")))
    verify_pair(summary.gt, summary.lq[1], 1)
    dataset = PairedImageDataset(
        {
            "dataroot_gt": str(summary.gt),
            "dataroot_lq": str(summary.lq[1]),
            "io_backend": {"type": "lmdb"},
            "scale": 1,
            "phase": "val",
        }
    )
    entry = dataset[2]
    expected = cv2.cvtColor(cv2.imread(str(gt / "sub" / "2.png")), cv2.COLOR_BGR2RGB).transpose(2, 0, 1)
    np.testing.assert_array_equal((entry["gt"].numpy() * 255).round().astype(np.uint8), expected)
    assert entry["lq"].shape == entry["gt"].shape


def test_crops_overlap_and_cover_the_same_area(tmp_path: Path) -> None:
    gt, lq = folders(tmp_path, ["a.png", "b.png"], ["a.png", "b.png"])
    save(tmp_path / "gt" / "small.png", 5, 15, 40)
    save(tmp_path / "lq" / "small.png", 6, 15, 40)
    summary = prepare_paired(gt, lq, tmp_path / "out", crop=16, step=8, workers=0)
    places = [(top, left) for top in (0, 8) for left in (0, 8, 16, 20)]
    for folder, path in ((gt, summary.gt), (lq, summary.lq[1])):
        packed, whole = contents(path), cv2.imread(str(folder / "b.png"))
        assert len(packed) == 2 * len(places)
        for number, (top, left) in enumerate(places, start=1):
            np.testing.assert_array_equal(packed[f"b_s{number:03d}"], whole[top : top + 16, left : left + 16])
    assert summary.skipped == ("small",)
    kept = prepare_paired(gt, lq, tmp_path / "kept", crop=16, step=8, small="keep", workers=0)
    assert contents(kept.gt)["small_s001"].shape == (15, 40, 3)


def test_templates_on_both_sides_other_extensions_and_a_limit(tmp_path: Path) -> None:
    gt, lq = folders(tmp_path, ["s/norain-1.png", "s/norain-2.png"], ["s/rain-1.bmp", "s/rain-2.bmp"])
    summary = prepare_paired(
        gt, lq, tmp_path / "out", gt_template="norain-{}", template="rain-{}", limit=1, gt_name="A.lmdb", workers=0
    )
    assert summary.gt.name == "A.lmdb"
    packed = contents(summary.lq[1])
    assert list(packed) == ["s/norain-1"]
    np.testing.assert_array_equal(packed["s/norain-1"], cv2.imread(str(lq / "s" / "rain-1.bmp")))


def test_another_scale(tmp_path: Path) -> None:
    save(tmp_path / "gt" / "a.png", 0, 25, 38)
    save(tmp_path / "lq" / "ax4.png", 1, 6, 9)
    summary = prepare_paired(
        tmp_path / "gt", tmp_path / "lq", tmp_path / "out", template="{}x4", scale=4, crop=8, step=8, workers=0
    )
    verify_pair(summary.gt, summary.lq[4], 4)


def test_sizes_must_agree_and_nothing_is_left(tmp_path: Path) -> None:
    gt, lq = folders(tmp_path, ["a.png", "b.png"], ["a.png", "b.png"])
    save(lq / "b.png", 0, 24, 35)
    with pytest.raises(DatasetError, match=r"lq/b\.png' is 24x35, but '.*gt/b\.png' is 24x36.* 24x36 was expected"):
        prepare_paired(gt, lq, tmp_path / "out", workers=0)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit"),
        ({"scale": 0}, "scales"),
        ({"workers": -1}, "workers"),
        ({"template": "x"}, r"template 'x' must hold \{\} exactly once"),
        ({"gt_template": "a/{}"}, "no '/'"),
        ({"scale": 4, "crop": 10}, "crop 10"),
    ],
)
def test_bad_options_are_refused(tmp_path: Path, options: dict, message: str) -> None:
    gt, lq = folders(tmp_path, ["a.png"], ["a.png"])
    with pytest.raises(DatasetError, match=message):
        prepare_paired(gt, lq, tmp_path / "out", **{"workers": 0, **options})
    assert not list(tmp_path.glob("out/*"))


# --- templates


def test_template_strips_and_fills() -> None:
    template = Template.parse("rain-{}_x2")
    assert template.core_of("a.b/rain-7_x2") == "a.b/7"
    assert template.fill("a.b/7") == "a.b/rain-7_x2"
    for name in ("rain-_x2", "rain-7", "7_x2", "rain-7_x2/8"):
        assert template.core_of(name) is None
    assert str(template) == "rain-{}_x2"


@pytest.mark.parametrize(
    ("gt", "lq", "templates"),
    [
        (["norain-1", "norain-2", "norain-10"], ["rain-1", "rain-2", "rain-10"], ("norain-{}", "rain-{}")),
        (["norain-100", "norain-101"], ["rain-100", "rain-101"], ("norain-{}", "rain-{}")),
        (["1_clean", "2_clean"], ["1_rainy", "2_rainy"], ("{}_clean", "{}_rainy")),
        (["0001", "0002"], ["0001x4", "0002x4"], ("{}", "{}x4")),
        (["img_001", "img_002"], ["img_001_LR", "img_002_LR"], ("{}", "{}_LR")),
        (["city", "cat"], ["rain_city", "rain_cat"], ("{}", "rain_{}")),
        (["x_city", "x_cat"], ["y_city", "y_cat"], ("x_{}", "y_{}")),
        (["a/gt1", "b/gt1"], ["a/lq1", "b/lq1"], ("gt{}", "lq{}")),
        (["baby"], ["babyx4"], ("{}", "{}x4")),
        (["1", "2", "3"], ["rain1", "rain2"], ("{}", "rain{}")),
    ],
)
def test_suggested_templates(gt: list[str], lq: list[str], templates: tuple[str, str]) -> None:
    found = suggest_templates(gt, lq)
    assert found is not None
    assert (str(found[0]), str(found[1])) == templates
    assert found[2] == min(len(gt), len(lq))


def test_no_template_is_made_up() -> None:
    assert suggest_templates(["cat", "dog"], ["001", "002"]) is None
    assert padding_differs(["norain-001", "norain-002"], ["rain-1", "rain-2"])
    assert not padding_differs(["norain-001", "norain-002"], ["rain-1", "rain-3"])
    assert not padding_differs(["a", "b"], ["c", "d"])


def mismatch(gt: Path, lq: Path, **templates: str) -> str:
    with pytest.raises(DatasetError) as caught:
        pair_photos(gt, lq, **templates)
    return str(caught.value)


def test_mismatch_report(tmp_path: Path) -> None:
    gt, lq = folders(tmp_path, [f"norain-{i}.png" for i in range(1, 5)], [f"rain-{i}.png" for i in range(1, 5)])
    message = mismatch(gt, lq)
    assert "0 of 4 GT and 4 LQ photos do" in message
    assert "4 GT photos have no LQ photo: 'norain-1', 'norain-2', 'norain-3', ... (the first needs" in message
    assert "4 LQ photos have no GT photo: 'rain-1'" in message
    assert "--gt-template 'norain-{}' --template 'rain-{}' would pair all" in message
    assert len(pair_photos(gt, lq, gt_template="norain-{}", template="rain-{}")) == 4
    assert "does not fit --gt-template" in mismatch(gt, lq, gt_template="sharp-{}")

    (lq / "rain-2.png").unlink()
    assert "would pair 3 of 4 GT and 3 LQ photos" in mismatch(gt, lq)
    message = mismatch(gt, lq, gt_template="norain-{}", template="rain-{}")
    assert "1 GT photos have no LQ photo: 'norain-2' (the first needs 'rain-2')" in message
    assert "LQ photos have no GT" not in message
    assert "add the missing photos, or move the others away" in message


def test_mismatch_that_no_template_mends(tmp_path: Path) -> None:
    gt, lq = folders(tmp_path / "1", ["cat.png", "dog.png"], ["001.png", "002.png"])
    assert "no template pairs them" in mismatch(gt, lq)
    gt, lq = folders(tmp_path / "2", ["n-001.png", "n-002.png"], ["r-1.png", "r-2.png"])
    assert "padded differently" in mismatch(gt, lq)
    gt, lq = folders(tmp_path / "3", ["a.png", "b.png"], ["a.png", "b.png"])
    assert "leaving both templates out would pair all" in mismatch(gt, lq, template="{}x4")


# --- the command line


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    gt, lq = folders(tmp_path, ["1_clean.png", "2_clean.png"], ["1_rainy.png", "2_rainy.png"])
    command = [str(gt), str(lq), str(tmp_path / "out"), "--workers", "0", "--crop", "16", "--verify"]
    assert main(["prepare", "paired", *command]) == 1
    assert "--gt-template '{}_clean' --template '{}_rainy'" in capsys.readouterr().err
    command += ["--gt-template", "{}_clean", "--template", "{}_rainy"]
    monkeypatch.setattr(sys, "argv", ["paired.py", *command])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPTS / "paired.py"), run_name="__main__")
    assert ended.value.code == 0
    assert "packed 16 pairs from 2 photos" in capsys.readouterr().out  # steps of 8
    assert next(iter(contents(tmp_path / "out" / "LQ.lmdb"))) == "1_clean_s001"
    databases = [str(tmp_path / "out" / name) for name in ("GT.lmdb", "LQ.lmdb")]
    assert main(["prepare", "verify", *databases, "--scale", "1"]) == 0
