"""The fast data path through the command line: the run of the slow one, bit by bit, and resumed exactly."""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path

import pytest

from dckd_basicsr.prepare.sets.sr import prepare_sr
from tests.e2e.training.test_exact_resume import compare, kill_after, write_run
from tests.tiny import run, write_job, write_photos

RAW = {"type": "PairedLMDBDataset", "dataroot_gt": "raw/GT.lmdb", "dataroot_lq": "raw/LQ_x2.lmdb"}
MIXED = {
    **RAW,
    "dataroot_gt": ["raw/GT.lmdb", "more/GT.lmdb"],
    "dataroot_lq": ["raw/LQ_x2.lmdb", "more/LQ_x2.lmdb"],
    "weights": [2, 1],
    "persistent_workers": True,
}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fast") / "job"
    write_job(folder)
    prepare_sr(folder / "photos", folder / "raw", [2], crop=32, step=16, workers=0, payload="raw")
    prepare_sr(write_photos(folder / "others", 2, (60, 60)), folder / "more", [2], crop=None, workers=0)
    return folder


def test_a_run_on_raw_pixels_is_the_run_on_pngs(job: Path) -> None:
    folders = [write_run(job.parent / "png", job), write_run(job.parent / "raw", job, **RAW, num_worker_per_gpu=1)]
    for folder in folders:
        done = run(folder, "train", "-opt", "job.yml")
        assert done.returncode == 0, done.stderr
    assert compare(*folders) == []


def test_a_killed_run_on_two_weighted_databases_goes_on_exactly(job: Path) -> None:
    straight, folder = write_run(job.parent / "straight", job, **MIXED), write_run(job.parent / "killed", job, **MIXED)
    assert run(straight, "train", "-opt", "job.yml").returncode == 0
    command = [sys.executable, "-m", "dckd_basicsr", "train", "-opt", "job.yml", "--auto_resume"]
    kill_after(command, folder, 3 + random.Random().randrange(5), 0.03)
    done = run(folder, *command[3:])
    assert done.returncode == 0, done.stderr
    assert "Resuming training from epoch" in done.stderr
    assert compare(straight, folder) == []


def test_validation_and_test_read_it_too(job: Path, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    shutil.copytree(job, folder)
    prepare_sr(folder / "photos", folder / "val_raw", [2], crop=None, workers=0, payload="raw")
    results = []
    for payload, kind in (("val", "PairedImageDataset"), ("val_raw", "PairedLMDBDataset")):
        name = f"name={payload}"
        val = f"datasets:val:dataroot_gt={payload}/GT.lmdb", f"datasets:val:dataroot_lq={payload}/LQ_x2.lmdb"
        more = [name, *val, f"datasets:val:type={kind}", "train:total_iter=3", "train:contrastive_opt=~"]
        done = run(folder, "train", "-opt", "job.yml", "--force_yml", *more, "train:distribution_opt=~")
        assert done.returncode == 0, done.stderr
        results.append((folder / f"experiments/{payload}/validations.json").read_text())
    assert results[0] == results[1]
    assert '"psnr"' in results[0]
