"""The data benchmarks measure what they say: equal data, every variant, ratios within rounds."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from dckd_basicsr.data.lmdb.reader import LmdbImages
from dckd_basicsr.prepare.sets.sr import prepare_sr
from tests.benchmarks import common, data, pack


def test_ratios_are_taken_within_rounds() -> None:
    speeds = iter([1.0, 2.0, 10.0, 40.0, 2.0, 6.0])
    measured = common.paired_rounds({"a": lambda: next(speeds), "b": lambda: next(speeds)}, 3)
    assert measured == {"a": [1, 10, 2], "b": [2, 40, 6]}
    assert common.medians(measured) == {"a": 2, "b": 6}
    assert common.ratios(measured, "a") == {"a": 1, "b": 3}


def test_photos_have_the_bits_per_pixel_of_photos() -> None:
    image = common.photo(1, 240, 320)
    assert (image.shape, image.dtype) == ((240, 320, 3), np.uint8)
    stored = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1].nbytes
    assert 0.3 < stored / image.nbytes < 0.75  # DIV2K: about a half
    assert not np.array_equal(image, common.photo(2, 240, 320))


def test_reading_is_measured_for_equal_data(tmp_path: Path) -> None:
    data.write_databases(tmp_path, 1, (96, 112), crop=64)
    found = data.datasets(tmp_path, gt_size=32)
    assert next(iter(found)) == data.STOCK
    for name in ("GT.lmdb", "LQ_x4.lmdb"):
        with LmdbImages(tmp_path / "stock" / name) as stock, LmdbImages(tmp_path / "raw" / name) as raw:
            assert sorted(stock.keys) == sorted(raw.keys)
            assert all(np.array_equal(stock.image(key), raw.image(key)) for key in raw.keys)
    assert all(data.per_core(dataset, 0.01, gt_size=32) > 0 for dataset in found.values())
    assert data.per_core(found["PairedLMDBDataset, raw"], 0.01, gt_size=32, images=True) > 0
    assert data.through_loader(found["PairedLMDBDataset, raw"], 0.01, gt_size=32, workers=1) > 0


def test_basicsrs_steps_and_ours_pack_the_same_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack.write_photos(tmp_path, 1, (96, 112))
    pack.basicsr_steps(tmp_path, tmp_path / "stock", 1, crop=64, step=32)
    prepare_sr(tmp_path / "HR", tmp_path / "ours", [4], lq=tmp_path / "LR", crop=64, step=32, workers=0)
    for theirs, mine in (("HR.lmdb", "GT.lmdb"), ("LR.lmdb", "LQ_x4.lmdb")):
        with LmdbImages(tmp_path / "stock" / theirs) as stock, LmdbImages(tmp_path / "ours" / mine) as ours:
            assert sorted(stock.keys) == sorted(ours.keys)
            assert all(np.array_equal(stock.image(key), ours.image(key)) for key in ours.keys)
    capsys.readouterr()


def test_figures_carry_their_machine(tmp_path: Path) -> None:
    common.write_json(tmp_path / "x.json", {"rows": [1]})
    found = json.loads((tmp_path / "x.json").read_text())
    assert found["rows"] == [1]
    assert found["machine"]["cores"] >= 1
    assert {"torch", "opencv", "basicsr"} <= found["machine"]["versions"].keys()
