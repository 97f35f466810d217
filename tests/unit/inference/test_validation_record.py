"""The record of validations: the best so far, and what a resumed run knows."""

from __future__ import annotations

import json

import pytest

from dckd_basicsr.errors import CheckpointError
from dckd_basicsr.inference.validation_record import ValidationRecord


def test_the_best_is_the_latest_of_equals(tmp_path):
    record = ValidationRecord(tmp_path / "validations.json")
    for iteration, psnr in ((3, 20.0), (6, 22.0), (9, 22.0), (12, 21.0)):
        record.add(iteration, "a", {"psnr": psnr, "lpips": 1 / psnr})
    record.add(12, "b", {"psnr": 40.0})
    record.write()
    assert record.best("a", "psnr").iteration == 9
    assert record.best("a", "lpips", higher=False).iteration == 9
    assert record.best("b", "psnr").metrics == {"psnr": 40.0}
    assert record.best("b", "ssim") is None
    assert len(json.loads((tmp_path / "validations.json").read_text())) == 5


def test_resuming_forgets_what_came_later_and_knows_what_the_state_held(tmp_path):
    path = tmp_path / "validations.json"
    before = ValidationRecord(path)
    for iteration in (3, 6, 9):
        before.add(iteration, "b", {"psnr": float(iteration)})
        before.add(iteration, "a", {"psnr": float(iteration)})
    before.write()
    resumed = ValidationRecord(path)
    resumed.resume(6)
    assert [(e.iteration, e.dataset) for e in resumed.entries] == [(3, "b"), (3, "a"), (6, "b"), (6, "a")]
    assert resumed.has(6, "a")
    assert not resumed.has(9, "a")
    moved = ValidationRecord(tmp_path / "elsewhere.json")
    moved.resume(6, before.as_plain())
    assert moved.entries == resumed.entries
    other = ValidationRecord(path)
    other.resume(6, with_file=False)
    assert other.entries == []


def test_measuring_again_replaces(tmp_path):
    record = ValidationRecord(None)
    record.add(3, "a", {"psnr": 1.0})
    record.add(3, "a", {"psnr": 2.0})
    assert [e.metrics["psnr"] for e in record.entries] == [2.0]


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "validations.json"
    path.write_text("[{")
    with pytest.raises(CheckpointError, match=r"validations\.json' is damaged"):
        ValidationRecord(path).resume(3)
