"""What must hold between the blocks of a run: patches, validation, checkpoints, devices."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from ...data.patches import stages_from
from ...errors import ConfigError
from ...kinds import is_own
from ..blocks.dataset import PATCH_TYPES
from ..problems import block_of, show
from .terms import least_images

__all__ = ["device_problems", "run_rules"]


def run_rules(opt: Mapping[str, Any]) -> Iterator[str]:
    """Yield contradictions in what a training run is to do."""
    yield from _stage_rules(opt)
    yield from _part_rules(opt)
    yield from _validation_rules(opt)
    yield from _checkpoint_rules(opt)


def _stage_rules(opt: Mapping[str, Any]) -> Iterator[str]:
    train = block_of(opt, "datasets", "train")
    rows = train.get("progressive")
    if rows and train.get("type") not in PATCH_TYPES:
        yield f"datasets.train.progressive needs type: {PATCH_TYPES[0]}, got {show(train.get('type'))}"
    elif isinstance(rows, list):
        try:
            stages_from(rows, *_shares(opt))
        except (ConfigError, TypeError) as error:
            yield f"datasets.train: {error}"


def _shares(opt: Mapping[str, Any]) -> tuple[int, int]:
    """Processes, and the parts into which each cuts its share of a batch."""
    parts = block_of(opt, "train").get("accumulate", 1)
    world = int(os.environ.get("WORLD_SIZE", "1")) if opt.get("dist") is True else 1
    return world, parts if isinstance(parts, int) and parts > 0 else 1


def _part_rules(opt: Mapping[str, Any]) -> Iterator[str]:
    """Terms that compare the images of a batch, where a part of it has too few: at once, not days into the run."""
    train, (world, parts) = block_of(opt, "datasets", "train"), _shares(opt)
    rows, size = train.get("progressive"), train.get("batch_size_per_gpu")
    for place, least, used in least_images(opt):
        if rows is None and isinstance(size, int) and 0 < size < least:
            yield f"{place} needs {least} images in each part of a batch; raise datasets.train.batch_size_per_gpu"
        if train.get("type") not in PATCH_TYPES or not isinstance(rows, list):
            continue
        try:
            stages = stages_from(rows, world, parts)
        except (ConfigError, TypeError):
            continue  # reported above
        begins = 1
        for i, stage in enumerate(stages):
            if stage.batch // (world * parts) < least and used(begins):
                shared = f"{world} x {parts} (processes x train.accumulate)" if world * parts > 1 else "one process"
                yield (
                    f"{place} needs {least} images in each part of a batch, and from iteration {begins} on {shared} "
                    f"share {stage.batch} (datasets.train.progressive[{i}]); raise that batch, use fewer processes or "
                    "accumulate less"
                )
                break
            begins = stage.until + 1


def _validation_rules(opt: Mapping[str, Any]) -> Iterator[str]:
    """Sets that would be read and never measured."""
    sets = [f"datasets.{key}" for key in block_of(opt, "datasets") if str(key).split("_")[0] == "val"]
    if sets and opt.get("val") is None:
        without = " ".join(f"{name.replace('.', ':')}=~" for name in sets)
        yield (
            f"{', '.join(sets)} would never be measured without a block 'val'; give one (val_freq, metrics), or leave "
            f"the sets out ({without})"
        )


def _checkpoint_rules(opt: Mapping[str, Any]) -> Iterator[str]:
    metric, metrics = block_of(opt, "logger").get("keep_best"), block_of(opt, "val", "metrics")
    if isinstance(metric, str) and metric not in metrics:
        known = f"one of val.metrics: {', '.join(metrics)}" if metrics else "a metric, but val.metrics has none"
        yield f"logger.keep_best is '{metric}'; it must name {known}"


def device_problems(opt: Mapping[str, Any]) -> list[str]:
    """Return what the machine cannot give: GPUs."""
    if opt.get("device") == "mps":
        return list(_apple_problems(opt))
    wanted, has_gpu = opt.get("num_gpu"), torch.cuda.is_available()
    recorded = block_of(opt, "train", "runtime").get("cuda_graph") is True
    if recorded and (wanted == 0 or not has_gpu) and is_own(opt.get("model_type")):
        return ["train.runtime.cuda_graph is true, but the run is on a CPU; set it to auto or false"]
    if not isinstance(wanted, int) or wanted <= 0:
        return []
    if not has_gpu:
        return [f"num_gpu is {wanted}, but PyTorch finds no usable CUDA device; set num_gpu: auto, or 0 for the CPU"]
    if wanted > 1 and is_own(opt.get("model_type")) and opt.get("dist") is False:
        return [
            f"num_gpu is {wanted}, but {opt['model_type']} runs one process per GPU; start it with "
            f"`torchrun --nproc_per_node={wanted} -m dckd_basicsr train -opt FILE --launcher pytorch`, or "
            "set num_gpu: 1"
        ]
    return []


def _apple_problems(opt: Mapping[str, Any]) -> Iterator[str]:
    """What ``device: mps`` does not go with; BasicSR itself knows CUDA and the CPU alone."""
    wanted = opt.get("num_gpu", "auto")
    if not is_own(opt.get("model_type")):
        yield f"device is mps, which only this package's models know, not {show(opt.get('model_type'))}; leave it out"
    elif not torch.backends.mps.is_available():
        yield "device is mps, but PyTorch finds no Apple GPU here; leave it out"
    if wanted != "auto":
        yield f"device is mps, but num_gpu is {show(wanted)}, which counts CUDA devices; set num_gpu: auto"
    if opt.get("dist"):
        yield "device is mps, which serves one process; start it without --launcher"
    if block_of(opt, "train", "runtime").get("cuda_graph") is True:
        yield "train.runtime.cuda_graph is true, but device is mps; set it to auto or false"
    if block_of(opt, "datasets", "train").get("prefetch_mode") == "cuda":
        yield "datasets.train.prefetch_mode is cuda, but device is mps; leave it out, and pin_memory, too"
