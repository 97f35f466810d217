"""Averaging gradients in one exchange, between real processes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from dckd_basicsr.runtime.processes import average


def _process(rank: int, folder: str) -> None:
    store = dist.FileStore(f"{folder}/store", 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    gradients = [torch.full((2, 3), float(rank)), torch.tensor([1.0 + 2.0 * rank]), torch.arange(4.0).view(2, 2).t()]
    average(gradients)
    torch.save(gradients, f"{folder}/{rank}.pth")
    dist.destroy_process_group()


def test_every_process_has_the_means(tmp_path: Path) -> None:
    mp.spawn(_process, (str(tmp_path),), nprocs=2)
    wanted = [torch.full((2, 3), 0.5), torch.tensor([2.0]), torch.arange(4.0).view(2, 2).t()]
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pth", weights_only=True)
        for a, b in zip(found, wanted, strict=True):
            assert torch.equal(a, b)


def test_alone_nothing_changes() -> None:
    gradients = [torch.ones(2)]
    average(gradients)
    assert torch.equal(gradients[0], torch.ones(2))
