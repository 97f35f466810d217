"""Which patches a training run reads: sizes and batches by iteration, the same on every process and after a resume."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch.utils.data import Sampler

from ..errors import ConfigError

__all__ = ["PatchRequest", "PatchSampler", "Place", "Stage", "stages_from"]


class PatchRequest(NamedTuple):
    """What a dataset is asked for: image number ``image``, a ``gt_size`` px patch, drawn with ``seed`` alone."""

    image: int
    gt_size: int
    seed: int


class Place(NamedTuple):
    """Where a patch lies and what is done to it.

    Attributes:
        top, left, size: in LQ pixels, of the image reflected to ``size`` if it is smaller.
        turn: 1 for a flip left to right, plus 2 for one upside down, plus 4 for a transposition after them.
    """

    top: int
    left: int
    size: int
    turn: int

    @classmethod
    def of(cls, request: PatchRequest, shape: Sequence[int], scale: int, opt: Mapping[str, Any]) -> Place:
        """Draw the place that a request stands for; the same in every dataset, process and run.

        Args:
            request: what is asked for.
            shape: of the LQ image: height, width, and whatever follows.
            scale: GT pixels per LQ pixel.
            opt: of the dataset: ``use_hflip`` and ``use_rot``, both on if not given.
        """
        draw = random.Random(request.seed)
        size = request.gt_size // scale
        top, left = (draw.randint(0, max(size, side) - size) for side in shape[:2])
        hflip, vflip, transpose = (draw.random() < 0.5 for _ in range(3))
        allowed = (1 if opt.get("use_hflip", True) else 0) | (6 if opt.get("use_rot", True) else 0)
        return cls(top, left, size, (hflip | vflip << 1 | transpose << 2) & allowed)


@dataclass(frozen=True)
class Stage:
    """Up to and including iteration ``until``: GT patches of ``gt_size`` px, ``batch`` of them over all processes."""

    until: int
    gt_size: int
    batch: int


def stages_from(progressive: Sequence[Sequence[int]], world_size: int, accumulate: int = 1) -> list[Stage]:
    """Read ``[[until, gt_size, total_batch], ...]``, for ``world_size`` processes that cut their share in parts.

    Raises:
        ConfigError: not of that form, ``until`` not growing, or a batch that the processes cannot share evenly.
    """
    stages = []
    for row in progressive:
        if len(row) != 3 or any(not isinstance(v, int) or v < 1 for v in row):
            raise ConfigError(f"progressive needs rows of [until, gt_size, total_batch], whole numbers, got {row}")
        stages.append(Stage(*row))
    if not stages or any(a.until >= b.until for a, b in zip(stages, stages[1:])):  # noqa: RUF007 (pairs of stages)
        raise ConfigError(f"progressive needs rows with growing iterations, got {[s.until for s in stages]}")
    for stage in stages:
        if stage.batch % (world_size * accumulate):
            parts = f" in {accumulate} accumulated parts" if accumulate > 1 else ""
            raise ConfigError(
                f"progressive asks for {stage.batch} patches of {stage.gt_size} px in total, which {world_size} "
                f"processes cannot share evenly{parts}; change the batch, the number of processes or train.accumulate"
            )
    return stages


class PatchSampler(Sampler[list[PatchRequest]]):
    """Batches of patch requests of one process.

    An epoch is ``ratio`` passes over the images, each in an order of its own, dealt out to the processes; what the
    processes cannot share, or is less than a batch, is left out at its end. The size of a batch and of its patches
    follow from the iteration. Order and the patches' seeds follow from (run seed, number of the pass), so what is read
    does not depend on worker scheduling, and a run that starts at ``start_iteration`` goes on where it stopped. One
    pass is held at a time: 16 bytes an image, however long the epoch.

    Args:
        images: number of images.
        stages: patch and batch sizes; the last stage goes on.
        rank: this process.
        world_size: number of processes.
        ratio: passes in an epoch.
        seed: of the run, the same on all processes.
        start_iteration: iterations done before.
    """

    def __init__(
        self,
        images: int,
        stages: Sequence[Stage],
        rank: int = 0,
        world_size: int = 1,
        ratio: int = 1,
        seed: int = 0,
        start_iteration: int = 0,
    ) -> None:
        self.images = images
        self.stages = list(stages)
        self.rank = rank
        self.world_size = world_size
        self.ratio = ratio
        self.per_epoch = images * ratio // world_size  # samples of each process
        self.seed = seed
        largest = max(stage.batch for stage in self.stages) // world_size
        if self.per_epoch < largest:
            raise ConfigError(
                f"an epoch has {self.per_epoch} patches per process, fewer than a batch of {largest}; "
                "raise dataset_enlarge_ratio in datasets.train"
            )
        self.start_epoch, self._taken_at_start = self.position(start_iteration)
        self.start_iteration = start_iteration
        self.epoch = self.start_epoch
        self._known = (self.start_epoch, start_iteration, self._taken_at_start)

    def stage(self, iteration: int) -> Stage:
        """The stage of an iteration, counted from 1."""
        return next((stage for stage in self.stages if iteration <= stage.until), self.stages[-1])

    def position(self, iterations: int) -> tuple[int, int]:
        """After so many iterations: the epoch, and the samples each process has taken from it."""
        epoch = taken = 0
        for i in range(1, iterations + 1):
            batch = self._batch(i)
            if taken + batch > self.per_epoch:
                epoch, taken = epoch + 1, 0
            taken += batch
        return epoch, taken

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iterator walks; BasicSR's loop calls it before each."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[PatchRequest]]:
        # Everything follows from the epoch: a loader may open an iterator, read ahead, and drop it again.
        first_pass = self.epoch * self.ratio
        iteration, taken = self._entry()
        samples = self._samples(first_pass, taken * self.world_size + self.rank)
        while taken + self._batch(iteration + 1) <= self.per_epoch:
            iteration += 1
            size, batch = self.stage(iteration).gt_size, self._batch(iteration)
            yield [PatchRequest(image, size, seed) for image, seed in islice(samples, batch)]
            taken += batch

    def _samples(self, first_pass: int, place: int) -> Iterator[tuple[int, int]]:
        """Yield this process's images and their seeds, from a place among all samples of the epoch on, without end."""
        number = place // self.images
        while True:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + first_pass + number)
            order = torch.randperm(self.images, generator=generator).numpy()
            seeds = torch.randint(2**62, (self.images,), generator=generator).numpy()
            number += 1
            while place < number * self.images:
                at = place % self.images
                yield int(order[at]), int(seeds[at])
                place += self.world_size

    def __len__(self) -> int:
        """Batches of the chosen epoch."""
        iteration, taken = self._entry()
        count = 0
        while taken + self._batch(iteration + 1) <= self.per_epoch:
            iteration, taken, count = iteration + 1, taken + self._batch(iteration + 1), count + 1
        return count

    def _batch(self, iteration: int) -> int:
        return self.stage(iteration).batch // self.world_size

    def _entry(self) -> tuple[int, int]:
        """Where this run enters the chosen epoch: iterations done before, and samples already taken from it."""
        start = (self.start_epoch, self.start_iteration, self._taken_at_start)
        known = self._known if self._known[0] <= self.epoch else start  # epochs come in their order; count on
        epoch, iteration, taken = known if known[0] >= self.start_epoch else start
        while epoch < self.epoch:
            if taken + self._batch(iteration + 1) > self.per_epoch:
                epoch, taken = epoch + 1, 0
            else:
                iteration, taken = iteration + 1, taken + self._batch(iteration + 1)
        self._known = (epoch, iteration, taken)
        return iteration, taken
