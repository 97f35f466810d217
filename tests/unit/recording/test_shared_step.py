"""What recorded steps share between real processes: means of gradients, and whether to record at all."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from dckd_basicsr.distill import Generators
from dckd_basicsr.training.processes import average
from dckd_basicsr.training.step_runner import NotRecordable, RecordedStep
from tests.recording import record_operations


def _process(rank: int, folder: str) -> None:
    store = dist.FileStore(f"{folder}/store", 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    gradients = [torch.full((2, 3), float(rank)), torch.tensor([1.0 + 2.0 * rank]), torch.arange(4.0).view(2, 2).t()]
    average(gradients)
    torch.save(gradients, f"{folder}/{rank}.pth")
    (Path(folder) / f"{rank}.txt").write_text(" | ".join(_recorded(rank, failing) for failing in (None, 1)))
    dist.destroy_process_group()


def _recorded(rank: int, failing: int | None) -> str:
    """Step on data of this rank; what comes of it, in words."""
    torch.manual_seed(0)
    net = nn.Linear(2, 1, bias=False)

    def compute(x: torch.Tensor) -> dict[str, torch.Tensor]:
        if rank == failing:
            raise RuntimeError("no memory here")
        loss = net(x).sum()
        loss.backward()
        return {"l": loss}

    step = RecordedStep(compute, net, Generators(0), torch.device("cpu"), record_operations)
    try:
        step([(torch.full((1, 2), float(rank)),)], shared=True)
    except NotRecordable as error:
        return f"refused: {error}"
    return f"gradient {net.weight.grad.tolist()}"


def test_processes_agree(tmp_path: Path) -> None:
    mp.spawn(_process, (str(tmp_path),), nprocs=2)
    wanted = [torch.full((2, 3), 0.5), torch.tensor([2.0]), torch.arange(4.0).view(2, 2).t()]
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pth", weights_only=True)
        for a, b in zip(found, wanted, strict=True):
            assert torch.equal(a, b)
        # a step that one process cannot record, none replays: they would wait for each other in different places
        assert (tmp_path / f"{rank}.txt").read_text() == "gradient [[0.5, 0.5]] | refused: no memory here"


def test_alone_nothing_changes() -> None:
    gradients = [torch.ones(2)]
    average(gradients)
    assert torch.equal(gradients[0], torch.ones(2))
