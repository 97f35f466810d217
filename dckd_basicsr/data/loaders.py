"""Data loaders of a training run: what is read follows from seed and iteration, and validation is read in order."""

from __future__ import annotations

import logging
import math
import multiprocessing
import signal
import sys
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from basicsr.data.prefetch_dataloader import CUDAPrefetcher
from torch.utils.data import DataLoader, Subset

from ..kinds import is_own
from .paired_lmdb_dataset import collate
from .patches import PatchSampler, Stage, stages_from
from .samples import NamedSamples, names_images

__all__ = ["Loaders", "accumulation", "create_loaders", "patch_stages", "share_of"]

_LOG = logging.getLogger("basicsr")


@dataclass(frozen=True)
class Loaders:
    """What a training run reads from.

    Attributes:
        train: batches of the sampler's current epoch.
        sampler: knows the epoch of every iteration.
        validation: one loader for each validation set.
    """

    train: DataLoader
    sampler: PatchSampler
    validation: list[DataLoader]

    def batches(self, opt: Mapping[str, Any], iteration: int) -> Generator[tuple[int, Any], None, None]:
        """Yield epoch and batch for every iteration after ``iteration``, without end."""
        epoch = self.sampler.position(iteration)[0]
        while True:
            self.sampler.set_epoch(epoch)
            for batch in _read(self.train, opt):
                yield epoch, batch
            epoch += 1


def _read(loader: DataLoader, opt: Mapping[str, Any]) -> Iterator[Any]:
    if opt["datasets"]["train"].get("prefetch_mode") != "cuda":
        yield from loader
        return
    prefetcher = CUDAPrefetcher(loader, opt)
    while (batch := prefetcher.next()) is not None:
        for value in batch.values():
            if isinstance(value, torch.Tensor):  # made on the prefetcher's stream, used on this one
                value.record_stream(torch.cuda.current_stream())
        yield batch


def create_loaders(opt: dict[str, Any], start_iteration: int = 0) -> Loaders:
    """Make the loaders of a run that goes on after ``start_iteration``.

    Raises:
        ConfigError: the set has too few images for a batch, or the processes cannot share a batch.
    """
    from basicsr.data import build_dataset

    options = opt["datasets"]["train"]
    dataset = NamedSamples(build_dataset(options))
    sampler = PatchSampler(
        len(dataset),
        patch_stages(opt),
        rank=opt["rank"],
        world_size=opt["world_size"],
        ratio=math.ceil(options.get("dataset_enlarge_ratio", 1)),
        seed=int(opt["manual_seed"]),
        start_iteration=start_iteration,
    )
    validation = [
        _in_order(build_dataset(settings), settings)
        for name, settings in opt["datasets"].items()
        if name.split("_")[0] == "val"
    ]
    _announce(opt, sampler)
    return Loaders(_training(dataset, sampler, options), sampler, validation)


def accumulation(opt: Mapping[str, Any]) -> int:
    """Return into how many parts a process cuts its share of a batch; BasicSR's own models know no parts."""
    if not is_own(opt["model_type"]):
        return 1
    return int(opt["train"].get("accumulate") or 1)


def patch_stages(opt: Mapping[str, Any]) -> list[Stage]:
    """The stages of a run: ``progressive``, or one stage from ``gt_size`` and ``batch_size_per_gpu``.

    Every stage's batch is what one optimizer step sees: per process x processes x accumulation.
    """
    options, world = opt["datasets"]["train"], int(opt["world_size"])
    if options.get("progressive"):
        return stages_from(options["progressive"], world, accumulation(opt))
    batch = int(options["batch_size_per_gpu"]) * world * _gpus(opt) * accumulation(opt)
    return [Stage(int(opt["train"]["total_iter"]), int(options.get("gt_size") or 0), batch)]


def _gpus(opt: Mapping[str, Any]) -> int:
    """GPUs of one process: models of BasicSR's own use several without a launcher."""
    return 1 if opt["dist"] else max(1, int(opt["num_gpu"]))


def share_of(loader: DataLoader, rank: int, world_size: int) -> DataLoader:
    """Return a loader of this process's share of an ordered loader's images: rank, rank + world_size, ..."""
    dataset: Any = _named(loader.dataset)
    if world_size > 1:
        dataset = Subset(dataset, range(rank, len(dataset), world_size))
    if dataset is loader.dataset:
        return loader
    return _ordered(dataset, loader.num_workers)


def _named(dataset: Any) -> Any:
    """Wrap datasets of files, so that errors name the image; others may be asked for attributes of their own."""
    return NamedSamples(dataset) if names_images(dataset) else dataset


def _training(dataset: NamedSamples, sampler: PatchSampler, options: Mapping[str, Any]) -> DataLoader:
    workers = int(options["num_worker_per_gpu"])
    settings: dict[str, Any] = {
        "batch_sampler": sampler,
        "num_workers": workers,
        "multiprocessing_context": _start_method(workers),
        "collate_fn": collate,
        "pin_memory": options.get("pin_memory", False),
        "persistent_workers": workers > 0 and options.get("persistent_workers", False),
        # Else every pass draws from the global stream, and a resumed run has made other passes than a straight one.
        "generator": torch.Generator(),
        "worker_init_fn": _leave_signals_to_parent,
    }
    if workers and options.get("prefetch_mode") == "cpu":
        # BasicSR has a thread do this, which hangs when an image cannot be read; workers read ahead anyway.
        settings["prefetch_factor"] = max(2, int(options.get("num_prefetch_queue", 1)))
    return DataLoader(dataset, **settings)


def _in_order(dataset: Any, options: Mapping[str, Any]) -> DataLoader:
    # BasicSR reads validation sets in the main process; a number of workers may be asked for.
    workers = int(options.get("num_worker_per_gpu", 0))
    return _ordered(_named(dataset), workers)


def _ordered(dataset: Any, workers: int) -> DataLoader:
    return DataLoader(
        dataset,
        batch_size=1,
        num_workers=workers,
        multiprocessing_context=_start_method(workers),
        generator=torch.Generator(),
        worker_init_fn=_leave_signals_to_parent,
    )


def _start_method(workers: int) -> str | None:
    """Return how workers start: on Linux they are forked, if the process is set to Python's default.

    That was the default itself before Python 3.14. A forked worker reads at once, and any data set; another one imports
    PyTorch and BasicSR first, and its data set has to be pickled.
    """
    default = multiprocessing.get_all_start_methods()[0]
    undecided = multiprocessing.get_start_method(allow_none=True) in (None, default)
    return "fork" if workers and undecided and sys.platform == "linux" else None


def _leave_signals_to_parent(worker: int) -> None:
    """Signals reach the whole process group, some launchers send them twice; the parent ends its workers in time."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _announce(opt: Mapping[str, Any], sampler: PatchSampler) -> None:
    world, parts, total = int(opt["world_size"]), accumulation(opt), int(opt["train"]["total_iter"])
    epochs = sampler.position(total)[0] + 1
    _LOG.info("Training: %d images, %d iterations, %d epochs", sampler.images, total, epochs)
    for stage in sampler.stages:
        patches = f"GT patches of {stage.gt_size} px, " if stage.gt_size else ""
        share = stage.batch // world // parts
        _LOG.info(
            "Up to iteration %d: %stotal batch %d = %d per GPU x %d processes x %d accumulated",
            *(stage.until, patches, stage.batch, share, world, parts),
        )
