"""Option files of stock BasicSR and other plugins pass, unless they would certainly fail."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import pytest

from dckd_basicsr.config import apply_overrides, check_options
from dckd_basicsr.errors import ConfigError

METRIC = {"type": "calculate_psnr", "crop_border": 4, "test_y_channel": True}

STOCK: dict[str, Any] = {
    "name": "002_SwinIR",
    "model_type": "SwinIRModel",
    "scale": 4,
    "num_gpu": "auto",
    "datasets": {
        "train": {
            "name": "DF2K",
            "type": "PairedImageDataset",
            "dataroot_gt": ".",
            "dataroot_lq": ".",
            "io_backend": {"type": "disk"},
            "gt_size": 256,
            "own_key": 1,
            "batch_size_per_gpu": 4,
        },
        "val": {"name": "Set5", "type": "PairedImageDataset", "dataroot_gt": ".", "dataroot_lq": "."},
    },
    "network_g": {"type": "SwinIR", "upscale": 4, "in_chans": 3, "anything": "kwargs take it"},
    "network_d": None,
    "path": {"pretrain_network_g": None, "strict_load_g": True, "own_folder": "x"},
    "train": {
        "ema_decay": 0.999,
        "optim_g": {"type": "Adam", "lr": 2e-4},
        "scheduler": {"type": "OwnSchedulerLR"},
        "total_iter": 500000,
        "gt_usm": True,
        "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
    },
    "val": {"val_freq": 5e3, "save_img": False, "metrics": {"psnr": dict(METRIC)}},
    "logger": {"print_freq": 100, "save_checkpoint_freq": 5e3, "use_tb_logger": True, "wandb": {"project": None}},
    "own_block": {"a": 1},
}


def test_other_models_keep_their_own_keys() -> None:
    check_options(STOCK)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model_type=NoModel", "unknown model 'NoModel'"),
        ("network_g:type=NoNet", "unknown network 'NoNet'"),
        ("train:pixel_opt:weight=1", "unknown key 'weight' in train.pixel_opt (L1Loss)"),
        ("train:total_iter=~", "missing key 'total_iter' in train"),
        ("logger=~", "missing key 'logger' in the option file"),
        ("train=5", "'train' in the option file must be a block"),
        ("path:pretrain_network_g=x.pth", "path.pretrain_network_g: 'x.pth' does not exist"),
        ("datasets:val:dataroot_lq=nowhere", "datasets.val.dataroot_lq: 'nowhere' does not exist"),
    ],
)
def test_other_models_are_stopped_where_they_would_fail(override: str, message: str) -> None:
    opt = apply_overrides(deepcopy(STOCK), [override])
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_options(opt)
