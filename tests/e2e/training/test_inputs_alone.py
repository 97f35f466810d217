"""A folder of photos and a teacher are enough: trained through the command line, killed, resumed, on two processes."""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path

import pytest

from dckd_basicsr.weight_files import load_state
from tests.e2e.training.test_exact_resume import TOTAL, compare, differences, kill_after, write_run
from tests.tiny import run, write_job

ALONE = ["train:pixel_opt=~", "datasets:train:dataroot_gt=~"]
TRAIN = ["train", "-opt", "job.yml", "--auto_resume", "--force_yml", *ALONE]
TAUGHT = ["train:distribution_opt=~", "train:contrastive_opt=~", "train:consistency_opt=~"]


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("inputs") / "job"
    write_job(folder)
    return folder


def on_photos(folder: Path, job: Path) -> Path:
    """A run whose training set is the folder of photos, nothing else being there to read."""
    inputs = {"type": "SinglePatchDataset", "dataroot_lq": "photos", "io_backend": {"type": "disk"},
              "dataset_enlarge_ratio": 8}  # fmt: skip
    write_run(folder, job, **inputs)
    shutil.rmtree(folder / "data")
    return folder


def test_killed_and_resumed_it_ends_with_the_same_bits(job: Path, tmp_path: Path) -> None:
    straight, folder = on_photos(tmp_path / "straight", job), on_photos(tmp_path / "killed", job)
    options = [*TRAIN, *TAUGHT, "train:accumulate=2"]
    whole = run(straight, *options)
    assert whole.returncode == 0, whole.stderr
    assert "l_logits: " in whole.stderr
    assert "l_pix" not in whole.stderr
    assert "# psnr: " in whole.stderr  # the validation set has a ground truth
    command = [sys.executable, "-m", "dckd_basicsr", *options]
    draw = random.Random()
    for first in (2, 6):
        kill_after(command, folder, first + draw.randrange(3), draw.random() * 0.06)
    done = run(folder, *options)
    assert done.returncode == 0, done.stderr
    assert "Resuming training" in done.stderr
    assert compare(straight, folder) == []
    first, last = (load_state(folder / f"experiments/tiny/models/net_g_{i}.pth")["params"] for i in (2, TOTAL))
    assert len(differences(first, last)) > 5


def test_every_term_that_needs_no_ground_truth_on_two_processes(job: Path, tmp_path: Path) -> None:
    folder = on_photos(tmp_path / "job", job)
    launch = ["--standalone", "--nproc_per_node=2", "-m", "dckd_basicsr", *TRAIN, "train:total_iter=4"]
    launch[launch.index("--auto_resume") : launch.index("--auto_resume") + 1] = ["--launcher", "pytorch"]
    done = run(folder, *launch, module="torch.distributed.run")
    assert done.returncode == 0, done.stderr
    assert all(f"{name}: " in done.stderr for name in ("l_logits", "l_contrast", "l_dist", "l_consist"))
