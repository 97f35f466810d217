"""Several processes: the same gradients and tables as one, two nodes, slurm, a lost process, one writer."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from dckd_basicsr.weight_files import load_state
from tests.tiny import job_options, run, write_job, write_photos

ENVIRONMENT = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
TORCHRUN = ["--standalone", "--nproc_per_node=2"]
TRAIN = ["-m", "dckd_basicsr", "train", "-opt", "job.yml", "--launcher", "pytorch"]
# Means over the batch alone: contrast is a ratio of such means, and the consistency term turns a batch as a whole.
MEANS = [f"train:{term}=~" for term in ("contrastive_opt", "consistency_opt")]


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> Path:
    """The tiny job with plain SGD, so that weights show gradients, and five validation images of two sizes."""
    folder = tmp_path_factory.mktemp("processes")
    write_job(folder)
    from dckd_basicsr.prepare.sets.sr import prepare_sr

    photos = write_photos(folder / "odd", 3)
    write_photos(folder / "more", 2, (48, 60))
    for i in range(2):
        (folder / f"more/photo{i}.png").rename(photos / f"small{i}.png")
    prepare_sr(photos, folder / "val", [2], crop=None, workers=0, overwrite=True)
    options = job_options({"optim_g": {"type": "SGD", "lr": 0.1}, "total_iter": 4})
    options["datasets"]["train"] |= {"type": "PairedPatchDataset", "batch_size_per_gpu": 4}
    options["val"]["val_freq"] = 4
    (folder / "job.yml").write_text(yaml.safe_dump(options, sort_keys=False))
    return folder


def copy(job: Path, folder: Path) -> Path:
    """A folder of its own for a run, with the job's data linked."""
    folder.mkdir()
    for path in job.iterdir():
        (folder / path.name).symlink_to(path)
    return folder


def student(folder: Path, iteration: int = 4) -> dict[str, torch.Tensor]:
    return load_state(folder / f"experiments/tiny/models/net_g_{iteration}.pth")["params"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def alone(job) -> tuple[Path, str]:
    folder = copy(job, job.parent / "alone")
    done = run(folder, "train", "-opt", "job.yml", "--force_yml", *MEANS)
    assert done.returncode == 0, done.stderr
    return folder, done.stderr


@pytest.fixture(scope="module")
def pair(job) -> tuple[Path, str]:
    """The same total batch on two processes, each cutting its share in two."""
    folder = copy(job, job.parent / "pair")
    overrides = ["--force_yml", *MEANS, "datasets:train:batch_size_per_gpu=1", "train:accumulate=2"]
    done = run(folder, *TORCHRUN, *TRAIN, *overrides, module="torch.distributed.run")
    assert done.returncode == 0, done.stderr
    return folder, done.stderr


def test_one_and_two_processes_take_the_same_steps(alone, pair):
    assert "total batch 4 = 4 per GPU x 1 processes x 1 accumulated" in alone[1]
    assert "total batch 4 = 1 per GPU x 2 processes x 2 accumulated" in pair[1]
    one, two = student(alone[0]), student(pair[0])
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=2e-7)
    average = load_state(alone[0] / "experiments/tiny/models/net_g_4.pth")["params_ema"]
    assert max((one[name] - average[name]).abs().max() for name in one) > 1e-4  # the steps are far larger than that


def test_one_and_two_processes_log_the_same_losses(alone, pair):
    values = [[float(v) for v in re.findall(r"l_total: (\S+)", text)] for text in (alone[1], pair[1])]
    assert len(values[0]) == 4
    assert values[0] == pytest.approx(values[1], rel=2e-4)  # the log prints five digits


def test_shared_validation_gives_the_same_table(alone, pair, tmp_path):
    """Five images on two processes; and bit by bit when the weights are the same."""
    texts = [(folder / "experiments/tiny/validations.json").read_text() for folder, _ in (alone, pair)]
    assert [t.count("psnr") for t in texts] == [1, 1]
    options = yaml.safe_load((alone[0] / "job.yml").read_text())
    test = {key: options[key] for key in ("model_type", "scale", "num_gpu", "network_g", "val")}
    test["datasets"] = {"test_1": options["datasets"]["val"]}
    tables = []
    for name, launcher, batch in (("one", [], 1), ("two", TORCHRUN, 1), ("batches", TORCHRUN, 2)):
        folder = copy(alone[0], tmp_path / name)
        path = {"pretrain_network_g": str(alone[0] / "experiments/tiny/models/net_g_4.pth"), "param_key_g": "params"}
        test["val"]["batch"] = batch
        (folder / "test.yml").write_text(yaml.safe_dump({**test, "name": "measured", "path": path}))
        command = ["-m", "dckd_basicsr", "test", "-opt", "test.yml", "--launcher", "pytorch"]
        if launcher:
            done = run(folder, *launcher, *command, module="torch.distributed.run")
        else:
            done = run(folder, *command[2:-2])
        assert done.returncode == 0, done.stderr
        tables.append((folder / "results/measured/metrics.json").read_text())
    assert tables[0] == tables[1]
    assert '"count": 5' in tables[0]
    one, batches = (json.loads(tables[i])["held_out"]["images"] for i in (0, 2))
    assert list(one) == list(batches)
    for name, values in one.items():
        assert batches[name]["psnr"] == pytest.approx(values["psnr"], abs=1e-3)


def test_processes_see_different_data_and_noise(pair):
    state = load_state(pair[0] / "experiments/tiny/training_states/4.state")
    streams, generators = state["streams"], state["dckd"]["generators"]
    assert (len(streams), len(generators)) == (2, 2)
    for place in ("torch", "numpy"):
        a, b = (s[place] for s in streams)
        assert not torch.equal(*(x if isinstance(x, torch.Tensor) else x[1] for x in (a, b)))
    assert not torch.equal(generators[0]["host"], generators[1]["host"])


def test_two_nodes_with_addresses_of_their_own(job, pair, tmp_path):
    """Two launchers with a rendezvous, as on two machines, each with an address of its own on the loopback network."""
    endpoint = f"127.0.0.2:{free_port()}"
    nodes = []
    for rank, address in enumerate(("127.0.0.2", "127.0.0.3")):
        folder = copy(job, tmp_path / f"node{rank}")
        command = [
            sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc_per_node=1", "--rdzv_backend=c10d",
            f"--rdzv_endpoint={endpoint}", "--rdzv_id=tiny", f"--local_addr={address}",
            f"--rdzv_conf=is_host={int(rank == 0)}", *TRAIN, "--force_yml", *MEANS,
            "datasets:train:batch_size_per_gpu=1", "train:accumulate=2",
        ]  # fmt: skip
        nodes.append(subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True))
    outputs = [node.communicate(timeout=180)[1] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], outputs
    ours, theirs = student(tmp_path / "node0"), student(pair[0])
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not (tmp_path / "node1/experiments").exists()  # rank 0 alone writes


def test_a_process_that_dies_stops_the_job_with_a_message(job, tmp_path):
    folder = copy(job, tmp_path / "dies")
    command = [sys.executable, "-m", "torch.distributed.run", *TORCHRUN, *TRAIN]
    command += ["--force_yml", "train:total_iter=100000", "logger:save_checkpoint_freq=50000", "val:val_freq=50000"]
    job_process = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    assert job_process.stderr is not None
    for line in job_process.stderr:
        if re.search(r"iter: +20, lr", line):
            break
    children = subprocess.run(["pgrep", "-P", str(job_process.pid)], capture_output=True, text=True, check=True)
    start = time.monotonic()
    os.kill(int(children.stdout.split()[-1]), signal.SIGKILL)
    output = job_process.communicate(timeout=90)[1]
    assert job_process.returncode != 0
    assert time.monotonic() - start < 60
    assert "lost contact with another one, which died or was killed" in output
    assert "--auto_resume" in output


def test_slurm_starts_the_same_run(job, pair, tmp_path):
    """srun's environment, with an scontrol that knows the node list; rank and address come from there."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "scontrol").write_text(
        '#!/bin/sh\n[ "$*" = "show hostnames node[1-2]" ] && echo 127.0.0.1 && echo other\n'
    )
    (tools / "scontrol").chmod(0o755)
    folder, port = copy(job, tmp_path / "slurm"), free_port()
    command = [sys.executable, *TRAIN[:-1], "slurm", "--force_yml", *MEANS, f"dist_params={{port: {port}}}"]
    command += ["datasets:train:batch_size_per_gpu=1", "train:accumulate=2"]
    tasks = []
    for rank in range(2):
        slurm = {"SLURM_PROCID": str(rank), "SLURM_NTASKS": "2", "SLURM_NODELIST": "node[1-2]", "SLURM_LOCALID": "0"}
        environment = {**ENVIRONMENT, **slurm, "PATH": f"{tools}:{os.environ['PATH']}"}
        tasks.append(subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True))
    outputs = [task.communicate(timeout=120)[1] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], outputs
    ours, theirs = student(folder), student(pair[0])
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_signal_to_the_launcher_saves_on_all_processes_and_ends(job, tmp_path):
    folder = copy(job, tmp_path / "stopped")
    command = [sys.executable, "-m", "torch.distributed.run", *TORCHRUN, *TRAIN]
    command += ["--force_yml", "train:total_iter=100000", "logger:save_checkpoint_freq=50000", "val:val_freq=50000"]
    launcher = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    assert launcher.stderr is not None
    for line in launcher.stderr:
        if re.search(r"iter: +10, lr", line):
            break
    launcher.send_signal(signal.SIGTERM)
    output = launcher.communicate(timeout=60)[1]
    stops = re.findall(r"stopped by SIGTERM after iteration (\d+) of 100000; everything is saved", output)
    assert len(stops) == 2, output
    assert stops[0] == stops[1]
    states = load_state(folder / f"experiments/tiny/training_states/{stops[0]}.state")["streams"]
    assert len(states) == 2
    assert (folder / f"experiments/tiny/training_states/{stops[0]}.complete").is_file()
