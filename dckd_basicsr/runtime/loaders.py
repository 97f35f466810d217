"""Data loaders of BasicSR's training pipeline, with patch and batch sizes that follow the iteration."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

from torch.utils.data import DataLoader

from ..data.paired_patch_dataset import PairedPatchDataset
from ..data.patches import PatchSampler, Stage, stages_from

__all__ = ["create_loaders", "patch_stages"]


Loaders = tuple[Any, Any, list[Any], int, int]


def create_loaders(
    stock: Callable[[dict[str, Any], logging.Logger], Loaders], opt: dict[str, Any], logger: logging.Logger
) -> Loaders:
    """Make the loaders of a training run, as ``stock`` (BasicSR's ``create_train_val_dataloader``) does.

    A training set of type ``PairedPatchDataset`` gets a :class:`PatchSampler` that starts at the iteration to resume
    from; every other set goes the stock way.

    Returns:
        training loader, its sampler, validation loaders, total epochs, total iterations.
    """
    from basicsr.data import build_dataloader, build_dataset

    if opt["datasets"]["train"]["type"] != "PairedPatchDataset":
        return stock(opt, logger)
    train_loader, sampler = _train_loader(opt, build_dataset(opt["datasets"]["train"]))
    validation = [
        build_dataloader(build_dataset(options), options, num_gpu=opt["num_gpu"], dist=opt["dist"])
        for name, options in opt["datasets"].items()
        if name.split("_")[0] == "val"
    ]
    total = int(opt["train"]["total_iter"])
    epochs = sampler.position(total)[0]  # of the last iteration, counted from 0
    logger.info("Training: %d images, %d iterations, %d epochs", sampler.images, total, epochs + 1)
    for stage in sampler.stages:
        logger.info("Up to iteration %d: GT patches of %d px, batch %d in total", *_shown(stage))
    return train_loader, sampler, validation, epochs, total


def patch_stages(opt: dict[str, Any]) -> list[Stage]:
    """The stages of a run: ``progressive``, or one stage from ``gt_size`` and ``batch_size_per_gpu``."""
    options, world = opt["datasets"]["train"], int(opt["world_size"])
    if options.get("progressive"):
        return stages_from(options["progressive"], world)
    batch = int(options["batch_size_per_gpu"]) * world
    return [Stage(int(opt["train"]["total_iter"]), int(options["gt_size"]), batch)]


def _train_loader(opt: dict[str, Any], dataset: PairedPatchDataset) -> tuple[DataLoader, PatchSampler]:
    options = opt["datasets"]["train"]
    sampler = PatchSampler(
        len(dataset),
        patch_stages(opt),
        rank=opt["rank"],
        world_size=opt["world_size"],
        ratio=math.ceil(options.get("dataset_enlarge_ratio", 1)),
        seed=int(opt["manual_seed"]),
        start_iteration=int(opt.get("start_iteration", 0)),
    )
    workers = int(options["num_worker_per_gpu"])
    loader = DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        pin_memory=options.get("pin_memory", False),
        persistent_workers=workers > 0 and options.get("persistent_workers", False),
    )
    return loader, sampler


def _shown(stage: Stage) -> tuple[int, int, int]:
    return stage.until, stage.gt_size, stage.batch
