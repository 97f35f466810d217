"""A record of a run that was tested: which test sets have to be in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import dckd_basicsr  # noqa: F401 (registers)
from dckd_basicsr.compare import PlannedRun, planned_runs
from dckd_basicsr.compare.environment import environment
from dckd_basicsr.compare.made import made_record
from dckd_basicsr.errors import DatasetError
from dckd_basicsr.inference.results import add_results
from tests.made_records import made_sweep

PHOTOS = {"name": "photos", "type": "SingleImageDataset", "dataroot_lq": "photos"}
OTHERS = {f"datasets:test_{i}": None for i in (2, 3, 4)}


def teacher() -> PlannedRun:
    """A run that tests on Set5, and on photos without ground truth."""
    sweep = made_sweep()
    base = replace(sweep.bases["small"], train="demo_x4_edsr.yml")
    return planned_runs(replace(sweep, bases={"small": base}, test_options={**OTHERS, "datasets:test_5": PHOTOS}))[0]


def test_a_set_without_ground_truth_has_no_values_to_wait_for(tmp_path: Path) -> None:
    run = teacher()
    images = {"baby": {"psnr": 30.0}}
    add_results(tmp_path / "results" / run.name, "Set5", images)
    record = made_record(run, tmp_path, variables={"OMP_NUM_THREADS": "7"})
    assert record.images == {"Set5": images}
    assert list(record.test_options["datasets"]) == ["test_1", "test_5"]
    assert record.cost.parameters > 1_000_000
    assert record.environment.get("threads", "7") == "7"  # a machine with a GPU names none


def test_the_environment_is_that_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "GPU")
    assert environment()["device"] == "GPU"
    on_cpu = environment(gpu=False, threads=7)
    assert on_cpu["device"].startswith("CPU ")
    assert on_cpu["threads"] == "7"


def test_a_set_with_ground_truth_has_to_be_measured(tmp_path: Path) -> None:
    run = teacher()
    add_results(tmp_path / "results" / run.name, "photos", {"1": {"niqe": 3.0}})
    with pytest.raises(DatasetError, match="has no values of Set5; test the run again"):
        made_record(run, tmp_path)
