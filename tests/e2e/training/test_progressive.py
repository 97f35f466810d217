"""Progressive sizes through the command line: two switches, a stop between them, and two processes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml

from dckd_basicsr.weight_files import load_state
from tests.tiny import job_options, run, write_job

# GT patch and total batch: 16 px x 4 up to 2, 24 px x 2 up to 5, 32 px x 2 from 6
STAGES = [[2, 16, 4], [5, 24, 2], [100, 32, 2]]


def write_progressive(folder: Path) -> None:
    write_job(folder)
    options = job_options({"total_iter": 8})
    train = options["datasets"]["train"]
    for key in ("gt_size", "batch_size_per_gpu"):
        del train[key]
    train |= {"type": "PairedPatchDataset", "progressive": STAGES, "num_worker_per_gpu": 1}
    options["logger"]["save_checkpoint_freq"] = 4
    (folder / "job.yml").write_text(yaml.safe_dump(options, sort_keys=False))


def switches(output: str) -> list[tuple[str, ...]]:
    return re.findall(r"From iteration (\d+): batches of (\d+) LQ patches of (\d+)x", output)


def losses(output: str) -> dict[str, str]:
    return dict(re.findall(r"iter: +(\d+), lr.*?(l_pix: .*)", output))


@pytest.fixture(scope="module")
def straight(tmp_path_factory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("progressive")
    write_progressive(folder)
    done = run(folder, "train", "-opt", "job.yml")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout + done.stderr


def test_sizes_switch_at_the_stated_iterations(straight):
    assert switches(straight[1]) == [("1", "4", "8"), ("3", "2", "12"), ("6", "2", "16")]
    assert (
        "Up to iteration 5: GT patches of 24 px, total batch 2 = 2 per GPU x 1 processes x 1 accumulated" in straight[1]
    )


def test_a_run_stopped_between_two_switches_goes_on_as_if_it_had_not(straight, tmp_path):
    write_progressive(tmp_path)
    assert run(tmp_path, "train", "-opt", "job.yml", "--force_yml", "train:total_iter=4").returncode == 0
    done = run(tmp_path, "train", "-opt", "job.yml", "--auto_resume")
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert switches(output) == [("5", "2", "12"), ("6", "2", "16")]
    wanted = losses(straight[1])
    assert losses(output) == {i: wanted[i] for i in ("5", "6", "7", "8")}
    a, b = (load_state(f / "experiments/tiny/models/net_g_8.pth") for f in (straight[0], tmp_path))
    for key in ("params", "params_ema"):
        assert all(torch.equal(a[key][k], b[key][k]) for k in a[key])


def test_two_processes_share_the_stated_batch(tmp_path):
    write_progressive(tmp_path)
    done = run(
        tmp_path, "--standalone", "--nproc_per_node=2", "-m", "dckd_basicsr", "train", "-opt", "job.yml",
        "--launcher", "pytorch", module="torch.distributed.run",
    )  # fmt: skip
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert switches(output) == [("1", "2", "8"), ("3", "1", "12"), ("6", "1", "16")]  # per process
    assert len(losses(output)) == 8


def test_a_batch_two_processes_cannot_share_is_refused(tmp_path):
    write_progressive(tmp_path)
    done = run(
        tmp_path, "--standalone", "--nproc_per_node=2", "-m", "dckd_basicsr", "train", "-opt", "job.yml",
        "--launcher", "pytorch", "--force_yml", "datasets:train:progressive=[[9, 16, 3]]",
        module="torch.distributed.run",
    )  # fmt: skip
    assert done.returncode != 0
    assert "2 processes cannot share evenly" in done.stderr
