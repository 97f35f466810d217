"""Filling in what an option file may leave out but BasicSR indexes without asking."""

from __future__ import annotations

from typing import Any

from .files import is_lmdb

__all__ = ["fill_defaults"]

_TRAIN_SET = {"use_hflip": True, "use_rot": True, "num_worker_per_gpu": 4, "dataset_enlarge_ratio": 1}


def fill_defaults(opt: dict[str, Any], is_train: bool) -> None:
    """Add missing optional keys to a checked option dict, in place."""
    opt.setdefault("num_gpu", "auto")
    opt["path"] = opt.get("path") or {}
    if is_train:
        opt["logger"].setdefault("use_tb_logger", False)
    else:
        opt["val"] = opt.get("val") or {}
    if opt.get("val") is not None:
        opt["val"].setdefault("save_img", False)
        opt["val"].setdefault("suffix", None)
    for name, dataset in opt["datasets"].items():
        if str(name).split("_")[0] == "train":
            for key, value in _TRAIN_SET.items():
                dataset.setdefault(key, value)
        if "dataroot_gt" in dataset or "dataroot_lq" in dataset:
            dataset.setdefault("io_backend", {"type": "lmdb" if is_lmdb(dataset) else "disk"})
