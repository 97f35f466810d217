"""Filling in what an option file may leave out but BasicSR indexes without asking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .files import is_lmdb

__all__ = ["fill_defaults"]

_TRAIN_SET = {"use_hflip": True, "use_rot": True, "num_worker_per_gpu": 4, "dataset_enlarge_ratio": 1}


def _set(block: Any, defaults: Mapping[str, Any]) -> None:
    for key, value in defaults.items() if isinstance(block, dict) else ():
        block.setdefault(key, value)


def fill_defaults(opt: dict[str, Any], is_train: bool) -> None:
    """Add missing optional keys to an option dict, in place; where a block is not one, it stays as it is."""
    opt.setdefault("num_gpu", "auto")
    opt["path"] = opt.get("path") or {}
    if is_train:
        _set(opt.get("logger"), {"use_tb_logger": False})
    else:
        opt["val"] = opt.get("val") or {}
    _set(opt.get("val"), {"save_img": False, "suffix": None})
    datasets = opt.get("datasets")
    for name, dataset in datasets.items() if isinstance(datasets, dict) else ():
        if not isinstance(dataset, dict):
            continue
        if str(name).split("_")[0] == "train":
            _set(dataset, _TRAIN_SET)
        if "dataroot_gt" in dataset or "dataroot_lq" in dataset:
            dataset.setdefault("io_backend", {"type": "lmdb" if is_lmdb(dataset) else "disk"})
