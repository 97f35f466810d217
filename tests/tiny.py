"""A complete tiny job: photos, LMDBs, a teacher, a VQGAN and an option file, as a user would have them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml

from dckd_basicsr.archs import VQGAN
from dckd_basicsr.prepare.sets.sr import prepare_sr
from tests.warm import can_fork, run_warm

STUDENT = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1, "upscale": 2}
TEACHER = {**STUDENT, "num_feat": 12, "num_block": 2}
LAYOUT = {"ch": 32, "ch_mult": [1, 1, 2], "num_res_blocks": 1, "attn_resolutions": [64], "z_channels": 8}
METRICS = {
    "psnr": {"type": "calculate_psnr", "crop_border": 2, "test_y_channel": True},
    "ssim": {"type": "calculate_ssim", "crop_border": 2, "test_y_channel": True},
}


def write_photos(folder: Path, count: int = 3, size: tuple[int, int] = (70, 90)) -> Path:
    """Smooth random pictures: compressible, and not constant anywhere."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        small = rng.integers(0, 256, (size[0] // 6, size[1] // 6, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / f"photo{i}.png"), cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC))
    return folder


def write_job(folder: Path, **train: Any) -> Path:
    """Write data, weights and ``job.yml`` under ``folder``; keyword arguments replace keys of ``train``."""
    from basicsr.archs import build_network

    photos = write_photos(folder / "photos")
    prepare_sr(photos, folder / "data", [2], crop=32, step=16, workers=0)
    prepare_sr(photos, folder / "val", [2], crop=None, workers=0)
    torch.manual_seed(0)
    torch.save({"params": build_network(TEACHER).state_dict()}, folder / "teacher.pth")
    vqgan = VQGAN(LAYOUT, n_embed=16, embed_dim=6, decoder=False)
    vqgan.quantize.embedding.weight.data.mul_(20)  # codes apart enough that the distributions are not uniform
    torch.save({"state_dict": vqgan.state_dict()}, folder / "vqgan.pth")
    path = folder / "job.yml"
    path.write_text(yaml.safe_dump(job_options(train), sort_keys=False))
    return path


def job_options(train: dict[str, Any] | None = None) -> dict[str, Any]:
    """Options of a DCKD run with every term on; paths count from the folder of the job."""
    l1 = {"type": "L1Loss", "loss_weight": 1.0}
    return {
        "name": "tiny",
        "model_type": "DCKDModel",
        "scale": 2,
        "num_gpu": 0,
        "manual_seed": 3,
        "datasets": {
            "train": {
                "name": "tiny",
                "type": "PairedImageDataset",
                "dataroot_gt": "data/GT.lmdb",
                "dataroot_lq": "data/LQ_x2.lmdb",
                "io_backend": {"type": "lmdb"},
                "gt_size": 32,
                "use_hflip": True,
                "use_rot": True,
                "num_worker_per_gpu": 0,
                "batch_size_per_gpu": 2,
            },
            "val": {
                "name": "held_out",
                "type": "PairedImageDataset",
                "dataroot_gt": "val/GT.lmdb",
                "dataroot_lq": "val/LQ_x2.lmdb",
                "io_backend": {"type": "lmdb"},
            },
        },
        "network_g": dict(STUDENT),
        "network_teacher": dict(TEACHER),
        "network_vqgan": {"type": "VQGAN"},
        "path": {
            "pretrain_network_g": None,
            "pretrain_network_teacher": "teacher.pth",
            "pretrain_network_vqgan": "vqgan.pth",
        },
        "train": {
            "ema_decay": 0.9,
            "optim_g": {"type": "Adam", "lr": 1e-3, "betas": [0.9, 0.99]},
            "scheduler": {"type": "MultiStepLR", "milestones": [4], "gamma": 0.5},
            "total_iter": 6,
            "pixel_opt": l1,
            "logits_opt": l1,
            "contrastive_opt": {"type": "ContrastiveLoss", "weights": [0.25, 0.5, 1.0]},
            "distribution_opt": {"type": "DistributionLoss"},
            "consistency_opt": l1,
            "history": {"schedule": [[4, 2], [100, 3]]},
            **(train or {}),
        },
        "val": {"val_freq": 3, "save_img": False, "metrics": METRICS},
        "logger": {"print_freq": 1, "save_checkpoint_freq": 3, "use_tb_logger": False, "report": False},
    }


def run(folder: Path, *arguments: str, module: str = "dckd_basicsr", timeout: int = 180) -> subprocess.CompletedProcess:
    """Run ``python -m MODULE ARGUMENTS`` in ``folder`` as a user would, without a GPU; output is captured.

    The command itself is forked from a process that has imported PyTorch, where that can be done (:mod:`.warm`).
    """
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    if module == "dckd_basicsr" and can_fork():
        return run_warm(folder, arguments, environment, timeout)
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


def run_killed_at(iteration: int, folder: Path, *train: str) -> None:
    """Train in ``folder`` with a model that kills its process at ``DIES_AT``, then give the same command once more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIES_AT", str(iteration))
        assert run(folder, *train).returncode == -signal.SIGKILL
    assert "DIES_AT" not in os.environ
    done = run(folder, *train)
    assert done.returncode == 0, done.stderr
    assert "iter: 3." in done.stderr
