"""Bad inputs around runs: what checkpoints, processes, inheritance and fitting weights ask of the options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from basicsr.archs import build_network

from tests.tiny import STUDENT

from .row import TRAIN, BadInput, forced

__all__ = ["RUNS"]

_INSPECT = "inspect -opt job.yml"


def write(name: str, text: str) -> Callable[[], object]:
    """Write an option file."""
    return lambda: Path(name).write_text(text, encoding="utf-8")


def save_state(**changes: object) -> Callable[[], object]:
    """Write a training state without its weights."""
    state = {"epoch": 0, "iter": 4, "optimizers": [], "schedulers": [], **changes}
    return lambda: torch.save(state, "4.state")


def _state_and_weights() -> None:
    save_state()()
    for name in ("average.pth", "models/net_g_4.pth"):
        Path(name).parent.mkdir(exist_ok=True)
        torch.save({"params": build_network(STUDENT).state_dict()}, name)


RUNS = (
    forced(
        "best weights by a metric that is not measured",
        "logger:keep_best=lpips",
        "logger.keep_best is 'lpips'; it must name one of val.metrics: psnr, ssim",
    ),
    forced("no checkpoint to keep", "logger:keep_last=0", "'keep_last' in logger must be at least 1, got 0"),
    forced("parts of a batch", "train:accumulate=0", "'accumulate' in train must be at least 1, got 0"),
    forced(
        "parts that do not divide a batch",
        "train:accumulate=3 'datasets:train:progressive=[[9, 16, 4]]' datasets:train:type=PairedPatchDataset "
        "datasets:train:gt_size=~",
        "progressive asks for 4 patches of 16 px in total",
        "1 processes cannot share evenly in 3 accumulated parts",
    ),
    forced(
        "setting of the divergence guard",
        "'train:divergence={max_skiped: 3}'",
        "unknown key 'max_skiped' in train.divergence; did you mean 'max_skipped'?",
    ),
    forced(
        "negative number of skipped steps",
        "'train:divergence={max_skipped: -1}'",
        "max_skipped must be at least 0, got -1",
    ),
    forced(
        "no iterations in which skipped steps are counted",
        "'train:divergence={window: 0}'",
        "window must be at least 1 iteration, got 0",
    ),
    forced(
        "unknown backend",
        "'dist_params={backend: mpi}'",
        "'backend' in dist_params must be one of 'nccl', 'gloo' or null, got 'mpi'",
    ),
    forced("port out of range", "'dist_params={port: 70000}'", "port must be between 1 and 65535, got 70000"),
    forced(
        "determinism that is no switch", "deterministic=often", "'deterministic' in the option file must be true or"
    ),
    forced(
        "negative learning rate",
        "train:optim_g:lr=-0.001",
        "train.optim_g (Adam) refuses these arguments: Invalid learning rate: -0.001",
    ),
    forced(
        "optimizer arguments that exclude each other",
        "train:optim_g:fused=true train:optim_g:foreach=true",
        "train.optim_g (Adam) refuses these arguments",
        "foreach",
    ),
    BadInput(
        "launcher flag without the launcher",
        f"{TRAIN} --launcher pytorch",
        ("--launcher pytorch needs what torchrun sets (RANK, WORLD_SIZE", "or leave the flag out"),
    ),
    BadInput(
        "slurm flag without srun",
        f"{TRAIN} --launcher slurm",
        ("--launcher slurm needs what srun sets (SLURM_PROCID", "srun --ntasks=N"),
    ),
    forced(
        "teacher of another width",
        "network_teacher:num_feat=10",
        "path.pretrain_network_teacher: the weights in 'teacher.pth' do not fit EDSR",
        "conv_first.weight is (12, 3, 3, 3) in the file and (10, 3, 3, 3) in the network",
        "the file looks like EDSR with num_feat 12, num_block 2, upscale 2",
    ),
    forced(
        "student's weights are a VQGAN's",
        "path:pretrain_network_g=vqgan.pth path:param_key_g=state_dict",
        "the weights in 'vqgan.pth' do not fit EDSR",
        "the file looks like VQGAN",
    ),
    BadInput(
        "base file missing",
        "train -opt child.yml",
        ("child.yml", "nowhere.yml", "does not exist"),
        write("child.yml", "_base_: nowhere.yml\n"),
    ),
    BadInput(
        "files that build on each other",
        "train -opt child.yml",
        ("child.yml", "parent.yml"),
        lambda: (write("child.yml", "_base_: parent.yml\n")(), write("parent.yml", "_base_: child.yml\n")()),
    ),
    BadInput(
        "misspelt key in an inherited block",
        "train -opt child.yml",
        ("child.yml (on job.yml): 1 problem", "unknown key 'num_fet' in network_g (EDSR); did you mean 'num_feat'?"),
        write("child.yml", "_base_: job.yml\nnetwork_g: {num_fet: 4}\n"),
    ),
    BadInput(
        "network of another type over an inherited one",
        "train -opt child.yml",
        (
            "missing key 'num_in_ch' in network_g (RCAN); nothing of the inherited network_g is kept, as its type",
            "changed from 'EDSR' to 'RCAN': give its keys anew, or add _replace_: false",
        ),
        write("child.yml", "_base_: job.yml\nnetwork_g: {type: RCAN}\n"),
    ),
    BadInput(
        "state without an iteration",
        f"{TRAIN} --force_yml path:resume_state=4.state",
        ("path.resume_state: '4.state' is not a BasicSR training state",),
        save_state(iter="four"),
    ),
    BadInput(
        "state without its weights",
        f"{TRAIN} --force_yml path:resume_state=4.state",
        ("net_g_4.pth', which does not exist; copy it back, or resume from another state",),
        save_state(),
    ),
    forced(
        "terms of a model that has none",
        "model_type=SRModel",
        "model_type SRModel does not train on this package's loss terms",
        "inspect takes DCKDModel and RestorationModel",
        command=_INSPECT,
    ),
    BadInput(
        "inspect with weights that are not there", f"{_INSPECT} --weights none.pth", ("'none.pth' does not exist",)
    ),
    BadInput(
        "inspect beyond the end of the run",
        f"{_INSPECT} --iteration 7",
        ("--iteration is 7, beyond train.total_iter 6",),
    ),
    BadInput(
        "inspect with weights and a state",
        f"{_INSPECT} --weights average.pth --force_yml path:resume_state=4.state",
        ("--weights and path.resume_state both say which weights to look at; give one of them",),
        _state_and_weights,
    ),
    BadInput(
        "inspect without batches",
        f"{_INSPECT} --batches 0",
        ("argument --batches: must be a whole number, at least 1, got '0'",),
        status=2,
    ),
    forced(
        "batch larger than the set",
        "datasets:train:batch_size_per_gpu=64",
        "an epoch has 60 patches per process, fewer than a batch of 64; raise dataset_enlarge_ratio",
    ),
)
