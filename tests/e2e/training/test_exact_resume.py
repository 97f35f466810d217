"""Killed anywhere and resumed, a run ends as if nothing had happened: every tensor, every random stream, every record.

The student is a SwinIR, whose drop path draws from the global stream; data come from two workers, and the patch size
switches twice. So nothing of a run's state can be missing without a difference.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from dckd_basicsr.weight_files import load_state
from tests.tiny import job_options, run, write_job

STUDENT = {
    "type": "SwinIR", "upscale": 2, "img_size": 8, "window_size": 4, "depths": [2, 2], "embed_dim": 8,
    "num_heads": [2, 2], "mlp_ratio": 2, "upsampler": "pixelshuffledirect", "resi_connection": "1conv",
}  # fmt: skip
STAGES = [[3, 16, 4], [7, 24, 2], [100, 32, 2]]
TOTAL = 12
ENVIRONMENT = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}

# Kills itself in the middle of the write that is the COUNT-th to be flushed to disk.
KILLED_WHILE_SAVING = """
    import os, signal, sys
    fsync, left = os.fsync, [int(sys.argv.pop(1))]
    def killing(descriptor):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(descriptor)
    os.fsync = killing
    from dckd_basicsr.cli import main
    sys.exit(main(sys.argv[1:]))
"""


def write_run(folder: Path, job: Path, **dataset: Any) -> Path:
    shutil.copytree(job, folder)
    options = job_options({"total_iter": TOTAL})
    train = options["datasets"]["train"]
    del train["gt_size"], train["batch_size_per_gpu"]
    train |= {"type": "PairedPatchDataset", "progressive": STAGES, "num_worker_per_gpu": 2, **dataset}
    options["network_g"] = STUDENT
    options["val"]["val_freq"] = 4
    options["logger"]["save_checkpoint_freq"] = 2
    (folder / "job.yml").write_text(yaml.safe_dump(options, sort_keys=False))
    return folder


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exact") / "job"
    write_job(folder)
    return folder


@pytest.fixture(scope="module")
def straight(job) -> Path:
    folder = write_run(job.parent / "straight", job)
    done = run(folder, "train", "-opt", "job.yml")
    assert done.returncode == 0, done.stderr
    return folder


def kill_after(
    command: list[str], folder: Path, iteration: int, delay: float, environment: dict[str, str] = ENVIRONMENT
) -> int:
    """Start a run and kill -9 it, with its workers left to notice, ``delay`` s after it logged ``iteration``."""
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None
    seen = 0
    for line in process.stderr:
        match = re.search(r"iter: +(\d+), lr", line)
        seen = int(match[1]) if match else seen
        if seen >= iteration:
            break
    time.sleep(delay)
    os.kill(process.pid, signal.SIGKILL)
    process.stderr.close()
    process.wait(timeout=60)
    return seen


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """Return the places where two nested structures of tensors and plain values differ in any bit."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return [] if a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b) else [where]
    if isinstance(a, np.ndarray):
        return [] if np.array_equal(a, b) else [where]
    if isinstance(a, dict) and isinstance(b, dict):
        odd = [f"{where}/{key}" for key in a.keys() ^ b.keys()]
        return odd + [text for key in a.keys() & b.keys() for text in differences(a[key], b[key], f"{where}/{key}")]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return [text for i, pair in enumerate(zip(a, b)) for text in differences(*pair, f"{where}/{i}")]
    return [] if type(a) is type(b) and a == b else [where]


def compare(a: Path, b: Path, iteration: int = TOTAL) -> list[str]:
    """Return the differences between two runs' last checkpoints and records."""
    files = (f"models/net_g_{iteration}.pth", f"training_states/{iteration}.state")
    found = [text for f in files for text in differences(*(load_state(r / "experiments/tiny" / f) for r in (a, b)), f)]
    records = [(r / "experiments/tiny/validations.json").read_text() for r in (a, b)]
    return found + (["validations.json"] if records[0] != records[1] else [])


def test_the_comparison_sees_a_single_bit(straight):
    state = load_state(straight / f"experiments/tiny/training_states/{TOTAL}.state")
    assert differences(state, state) == []
    other = load_state(straight / f"experiments/tiny/training_states/{TOTAL}.state")
    other["streams"][0]["torch"][100] ^= 1
    other["dckd"]["history"]["net"]["conv_first.bias"][0] += 1e-7
    assert len(differences(state, other)) == 2


def test_killed_at_random_moments_and_while_saving(straight, job, tmp_path):
    folder = write_run(tmp_path / "killed", job)
    command = [sys.executable, "-m", "dckd_basicsr", "train", "-opt", "job.yml", "--auto_resume"]
    draw = random.Random()  # another moment in every test run; the seed would not make the timing repeatable anyway
    for first in (1, 4, 7):
        kill_after(command, folder, first + draw.randrange(3), draw.random() * 0.06)
    # four files a checkpoint with a flush of file and folder each: somewhere inside the next save
    saving = [sys.executable, "-c", textwrap.dedent(KILLED_WHILE_SAVING), str(draw.randrange(1, 7)), *command[3:]]
    killed = subprocess.run(saving, cwd=folder, env=ENVIRONMENT, capture_output=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = run(folder, *command[3:])
    assert done.returncode == 0, done.stderr
    assert compare(straight, folder) == []


def test_killed_on_two_processes_with_the_stock_dataset(job, tmp_path):
    launch = [
        "--standalone", "--nproc_per_node=2", "-m", "dckd_basicsr", "train", "-opt", "job.yml", "--launcher", "pytorch",
        "--auto_resume", "--force_yml", "datasets:train:progressive=~", "datasets:train:type=PairedImageDataset",
        "datasets:train:gt_size=24", "datasets:train:batch_size_per_gpu=2", "datasets:train:num_worker_per_gpu=1",
        "deterministic=true",
    ]  # fmt: skip
    straight, folder = write_run(tmp_path / "straight", job), write_run(tmp_path / "killed", job)
    whole = run(straight, *launch, module="torch.distributed.run")
    assert whole.returncode == 0, whole.stderr
    kill_after([sys.executable, "-m", "torch.distributed.run", *launch], folder, 5, 0.03)
    time.sleep(1)  # the workers of a killed launcher notice and end
    done = run(folder, *launch, module="torch.distributed.run")
    assert done.returncode == 0, done.stderr
    assert "Resuming training from epoch: 0, iter: " in done.stderr
    assert compare(straight, folder) == []
    generators = load_state(folder / f"experiments/tiny/training_states/{TOTAL}.state")["dckd"]["generators"]
    assert len(generators) == 2
    assert not torch.equal(generators[0]["host"], generators[1]["host"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_once_and_ends_the_run(job, tmp_path, straight, number):
    folder = write_run(tmp_path / "stopped", job)
    command = [sys.executable, "-m", "dckd_basicsr", "train", "-opt", "job.yml", "--auto_resume"]
    process = subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None
    output = ""
    for line in process.stderr:
        output += line
        if "iter:       3, lr" in line:
            for _ in range(2 if number == signal.SIGTERM else 1):  # some launchers send it to the group and again
                os.killpg(process.pid, number)  # as Ctrl-C does: the workers get it too
            break
    output += process.stderr.read()
    assert process.wait(timeout=60) == 128 + number, output
    stopped = re.search(rf"stopped by {number.name} after iteration (\d+) of {TOTAL}; everything is saved", output)
    assert stopped, output
    assert "Traceback" not in output
    states = {int(p.stem) for p in (folder / "experiments/tiny/training_states").glob("*.complete")}
    assert max(states) == int(stopped[1])
    assert run(folder, *command[3:]).returncode == 0
    assert compare(straight, folder) == []


def test_models_of_basicsr_resume_exactly_too(job, tmp_path):
    """SRModel with a drop path, on the stock dataset with workers; its files are written and checked the same way."""
    options = job_options()
    keep = ("name", "scale", "num_gpu", "datasets", "logger")  # not val: stock validation does not pad for SwinIR
    options = {key: options[key] for key in keep} | {"model_type": "SRModel", "network_g": STUDENT, "path": {}}
    options["datasets"]["train"]["num_worker_per_gpu"] = 2
    options["train"] = {
        "ema_decay": 0.9, "total_iter": 6, "optim_g": {"type": "Adam", "lr": 1e-3},
        "scheduler": {"type": "MultiStepLR", "milestones": [4], "gamma": 0.5},
        "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
    }  # fmt: skip
    straight, folder = (Path(shutil.copytree(job, tmp_path / name)) for name in ("straight", "killed"))
    for where in (straight, folder):
        (where / "job.yml").write_text(yaml.safe_dump(options, sort_keys=False))
    command = ["train", "-opt", "job.yml", "--auto_resume", "--force_yml", "manual_seed=5"]
    whole = run(straight, *command)
    assert whole.returncode == 0, whole.stderr
    kill_after([sys.executable, "-m", "dckd_basicsr", *command], folder, 4, 0.0)
    state = folder / "experiments/tiny/training_states"
    assert (state / "3.complete").is_file()
    (state / "6.state").write_bytes(b"cut short")
    done = run(folder, *command)
    assert done.returncode == 0, done.stderr
    assert "iter: 3." in done.stderr
    files = ("models/net_g_6.pth", "training_states/6.state")
    for f in files:
        assert differences(*(load_state(where / "experiments/tiny" / f) for where in (straight, folder))) == []


def test_a_drawn_seed_is_kept(job, tmp_path):
    folder = write_run(tmp_path / "drawn", job)
    drawn = ["train", "-opt", "job.yml", "--auto_resume", "--force_yml", "manual_seed=~"]
    assert run(folder, *drawn, "train:total_iter=4").returncode == 0
    done = run(folder, *drawn, "train:total_iter=6")
    assert done.returncode == 0, done.stderr
    seeds = {load_state(folder / f"experiments/tiny/training_states/{i}.state")["seed"] for i in (2, 4, 6)}
    assert len(seeds) == 1
    assert f"manual_seed: {seeds.pop()}" in (folder / "experiments/tiny/options.yml").read_text()


def test_going_back_sets_the_later_checkpoints_aside(job, straight, tmp_path):
    folder = Path(shutil.copytree(straight, tmp_path / "back"))
    back = ["train", "-opt", "job.yml", "--force_yml"]
    state = "path:resume_state=experiments/tiny/training_states/4.state"
    done = run(folder, *back, state, "train:total_iter=6", "logger:keep_last=1")
    assert done.returncode == 0, done.stderr
    assert "Checkpoints beyond iteration 4, from where this run goes on, are now in" in done.stderr
    again = run(folder, "train", "-opt", "job.yml", "--auto_resume")
    assert again.returncode == 0, again.stderr
    assert "iter: 6." in again.stderr
    # the first of the two runs ended, and so was validated, at 6
    assert [d for d in compare(straight, folder) if "validations" not in d] == []


@pytest.mark.gpu
def test_on_a_gpu_a_resumed_run_is_bit_identical_in_deterministic_mode(job, tmp_path):
    options = ["num_gpu=1", "deterministic=true"]
    straight, folder = write_run(tmp_path / "straight", job), write_run(tmp_path / "stopped", job)
    visible = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}

    command = [
        sys.executable,
        "-m",
        "dckd_basicsr",
        "train",
        "-opt",
        "job.yml",
        "--auto_resume",
        "--force_yml",
        *options,
    ]
    kill_after(command, folder, 5, 0.0, visible)
    for where in (straight, folder):
        done = subprocess.run(command, cwd=where, env=visible, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
    assert compare(straight, folder) == []
