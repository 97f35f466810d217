"""Checkpoints through the command line: a full disk, a damaged file, what is kept, and runs that diverge."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dckd_basicsr.weight_files import load_state
from tests.tiny import run, write_job

TRAIN = ("train", "-opt", "job.yml")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> Path:
    """A folder in which the tiny job ran for 3 of 6 iterations."""
    folder = tmp_path_factory.mktemp("checkpoints")
    write_job(folder)
    done = run(folder, *TRAIN, "--force_yml", "train:total_iter=3")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def job(stopped, tmp_path) -> Path:
    return Path(shutil.copytree(stopped, tmp_path / "job"))


@pytest.fixture(scope="module")
def straight(stopped, tmp_path_factory) -> Path:
    folder = Path(shutil.copytree(stopped, tmp_path_factory.mktemp("checkpoints") / "straight"))
    done = run(folder, *TRAIN, "--auto_resume")
    assert done.returncode == 0, done.stderr
    return folder / "experiments/tiny"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def same(a: Path, b: Path) -> bool:
    one, two = load_state(a), load_state(b)
    return all(torch.equal(one[key][name], two[key][name]) for key in one for name in one[key])


def test_a_full_disk_leaves_the_last_checkpoint_and_the_run_goes_on_later(job, straight):
    folder = job / "experiments/tiny"
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "curve.jsonl"]  # which goes on
    before = {path: path.read_bytes() for path in files}

    def little_room() -> None:  # a file may grow to less than the training state needs, as on a disk that fills up
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    command = [sys.executable, "-m", "dckd_basicsr", *TRAIN, "--auto_resume"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=job, env=environment, capture_output=True, text=True, timeout=120, check=False,
        preexec_fn=little_room,
    )  # fmt: skip
    assert done.returncode == 1
    assert "6.state' cannot be written" in done.stderr
    assert "make room" in done.stderr
    assert "Traceback" not in done.stderr
    assert all(path.read_bytes() == data for path, data in before.items())
    assert not list(folder.rglob("*.tmp-*"))
    again = run(job, *TRAIN, "--auto_resume")
    assert again.returncode == 0, again.stderr
    assert "Resuming training from epoch: 0, iter: 3." in again.stderr
    assert same(folder / "models/net_g_6.pth", straight / "models/net_g_6.pth")


def test_a_damaged_checkpoint_is_passed_over(job, straight):
    folder = job / "experiments/tiny"
    shutil.copytree(straight / "models", folder / "models", dirs_exist_ok=True)
    shutil.copytree(straight / "training_states", folder / "training_states", dirs_exist_ok=True)
    weights = folder / "models/net_g_6.pth"
    weights.write_bytes(weights.read_bytes()[:-100])
    done = run(job, *TRAIN, "--auto_resume")
    assert done.returncode == 0, done.stderr
    assert "The checkpoint of iteration 6 is not complete: models/net_g_6.pth is not what was saved" in done.stderr
    assert "Resuming training from epoch: 0, iter: 3." in done.stderr
    assert same(weights, straight / "models/net_g_6.pth")


def test_a_validation_that_was_lost_is_made_up_for(job, straight):
    folder = job / "experiments/tiny"
    record = folder / "validations.json"
    whole = json.loads(record.read_text())
    assert [entry["iteration"] for entry in whole] == [3]
    record.write_text("[]")  # killed after saving, before validating
    done = run(job, *TRAIN, "--auto_resume")
    assert done.returncode == 0, done.stderr
    assert json.loads(record.read_text()) == json.loads((straight / "validations.json").read_text())
    assert json.loads(record.read_text())[0] == whole[0]


def test_the_last_and_the_best_are_kept(job):
    options = ["logger:keep_last=2", "logger:keep_best=psnr", "logger:save_checkpoint_freq=1", "val:val_freq=1"]
    done = run(job, *TRAIN, "--auto_resume", "--force_yml", "train:total_iter=8", *options)
    assert done.returncode == 0, done.stderr
    folder = job / "experiments/tiny"
    assert names(folder / "training_states") == {"7.state", "7.complete", "8.state", "8.complete"}
    assert names(folder / "models") == {"net_g_7.pth", "net_g_8.pth", "net_g_best.pth", "net_g_latest.pth"}
    record = json.loads((folder / "validations.json").read_text())
    best = max(record, key=lambda entry: (entry["metrics"]["psnr"], entry["iteration"]))
    if best["iteration"] in (7, 8):  # else its own checkpoint is gone, which is what the best file is for
        assert same(folder / "models/net_g_best.pth", folder / f"models/net_g_{best['iteration']}.pth")
    assert f"Best: {best['metrics']['psnr']:.4f} @ {best['iteration']} iter" in done.stderr


def test_a_diverging_run_is_stopped_and_leaves_sound_weights(job):
    done = run(
        job, *TRAIN, "--auto_resume", "--force_yml", "train:total_iter=60", "train:optim_g={type: SGD, lr: 1e38}",
        "train:divergence={max_skipped: 2}", "name=diverges",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "train.divergence.max_skipped is 2" in done.stderr
    assert "Lower the learning rate" in done.stderr
    folder = job / "experiments/diverges"
    kept = sorted(names(folder / "divergence"))
    assert len(kept) == 3
    assert set(load_state(folder / "divergence" / kept[0])) == {"iteration", "values", "lq", "gt"}
    for path in (folder / "models").glob("*.pth"):
        assert all(v.isfinite().all() for state in load_state(path).values() for v in state.values())


def test_a_plain_run_again_archives_aloud(job):
    done = run(job, *TRAIN, "--force_yml", "train:total_iter=1")
    assert done.returncode == 0, done.stderr
    assert "held a run up to iteration 3; it is now" in done.stderr
    archived = next((job / "experiments").glob("tiny_archived_*"))
    assert "3.state" in names(archived / "training_states")


def test_auto_resume_with_nothing_to_resume_starts(job):
    done = run(job, *TRAIN, "--auto_resume", "--force_yml", "name=fresh", "train:total_iter=1")
    assert done.returncode == 0, done.stderr
    assert "Start training from epoch: 0, iter: 0." in done.stderr


def test_a_run_that_cannot_be_built_leaves_no_folder(job):
    few = "datasets:train:batch_size_per_gpu=64"  # more patches than the set has images
    done = run(job, *TRAIN, "--force_yml", "name=unbuilt", few)
    assert done.returncode == 1
    assert "an epoch has 60 patches per process, fewer than a batch of 64" in done.stderr
    assert not (job / "experiments/unbuilt").exists()


def test_a_run_may_live_elsewhere_and_is_found_there(job):
    elsewhere = ["--force_yml", "path:experiments_root=runs/one"]
    assert run(job, *TRAIN, *elsewhere, "train:total_iter=2").returncode == 0
    done = run(job, *TRAIN, "--auto_resume", *elsewhere, "train:total_iter=4")
    assert done.returncode == 0, done.stderr
    assert "iter: 2." in done.stderr
    assert "net_g_4.pth" in names(job / "runs/one/models")
    assert "4.state" not in names(job / "experiments/tiny/training_states")
