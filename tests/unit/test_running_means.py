"""Running means: a batch that is not finite leaves nothing in them, and processes share them as without recording."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from dckd_basicsr.archs import ArchFacts
from dckd_basicsr.distill import Generators
from dckd_basicsr.distill.objective import ObjectiveValues
from dckd_basicsr.models.accelerating import recorded_step
from dckd_basicsr.runtime.flat import KeptBuffers, by_type
from dckd_basicsr.runtime.static_step import StaticStep
from tests.models import BATCH
from tests.recording import record_operations

NAN = float("nan")


class NormedNet(nn.Module):
    """The smallest network for scale 2 that keeps running means."""

    facts = ArchFacts(scale=2)

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.PixelShuffle(2))

    def forward(self, x):
        return self.body(x)


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    from basicsr.utils.registry import ARCH_REGISTRY  # here, for the processes below start without conftest.py

    monkeypatch.setitem(ARCH_REGISTRY._obj_map, "NormedNet", NormedNet)


@pytest.mark.parametrize("optimizer", ["{type: Adam, lr: 1e-3}", "{type: SGD, lr: 1e-3, fused: true}"])
@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("parts", [1, 2])
def test_a_batch_that_is_not_finite_leaves_no_trace(build, optimizer, recorded, parts):
    model = build("network_g={type: NormedNet}", f"train:optim_g={optimizer}", f"train:accumulate={parts}")
    if recorded:
        model.static = recorded_step(model, record_operations)
    step(model, 1, BATCH)
    before = {name: value.clone() for name, value in model.net_g.state_dict().items()}
    assert before["body.1.num_batches_tracked"] == parts
    step(model, 2, {**BATCH, "lq": BATCH["lq"].index_fill(0, torch.tensor(1), NAN)})
    assert model.guard.skipped == 1
    for net in (model.net_g, model.net_g_ema):
        assert all(value.isfinite().all() for value in net.state_dict().values())
    assert all(torch.equal(value, before[name]) for name, value in model.net_g.state_dict().items())
    step(model, 3, BATCH)
    assert model.net_g.state_dict()["body.1.num_batches_tracked"] == 2 * parts
    assert not torch.equal(model.net_g.state_dict()["body.1.running_mean"], before["body.1.running_mean"])


def step(model, iteration, batch):
    model.feed_data(batch)
    model.optimize_parameters(iteration)


def test_nothing_is_read_to_put_them_back(monkeypatch):
    net = NormedNet()
    kept = KeptBuffers(net)
    with torch.no_grad():
        net.body[1].running_mean.fill_(NAN)
        net.body[1].num_batches_tracked.fill_(7)
    for name in ("item", "tolist", "__bool__"):
        monkeypatch.setattr(torch.Tensor, name, lambda self: pytest.fail("a tensor was read"))
    kept.restore_unless(torch.tensor(True))
    monkeypatch.undo()
    assert net.body[1].num_batches_tracked == 7
    kept.restore_unless(torch.tensor(False))
    assert net.body[1].num_batches_tracked == 0
    assert torch.equal(net.body[1].running_mean, torch.zeros(12))


def test_groups_are_of_one_type_and_in_order():
    a, b, c = torch.zeros(1), torch.zeros(2, dtype=torch.int64), torch.zeros(3)
    assert [[len(x) for x in group] for group in by_type([a, b, c])] == [[1, 3], [2]]
    assert by_type([]) == []


def _process(rank: int, folder: str) -> None:
    store = dist.FileStore(f"{folder}/store", 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    torch.manual_seed(rank)  # every process has data of its own, and started from means of its own
    batches = [(torch.rand(2, 3, 6, 6), torch.rand(2, 3, 6, 6)) for _ in range(3)]
    means = torch.rand(12)
    torch.save([_trained(batches, means, recorded) for recorded in (False, True)], f"{folder}/{rank}.pth")
    dist.destroy_process_group()


def _trained(batches: list[tuple[torch.Tensor, ...]], means: torch.Tensor, recorded: bool) -> dict[str, torch.Tensor]:
    """Train on batches of two parts each, through DistributedDataParallel or recorded."""
    torch.manual_seed(7)
    net = NormedNet()
    net.body[1].running_mean.copy_(means)
    wrapped = nn.parallel.DistributedDataParallel(net) if not recorded else net
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

    def compute(x: torch.Tensor) -> ObjectiveValues:
        loss = wrapped(x).square().mean()
        loss.backward()
        return ObjectiveValues({"l": loss}, {})

    static = StaticStep(compute, net, Generators(0), torch.device("cpu"), record_operations)
    for one, two in batches:
        optimizer.zero_grad(set_to_none=True)
        if recorded:
            static([(one,), (two,)], shared=True)
        else:
            with wrapped.no_sync():
                compute(one)
            compute(two)
        optimizer.step()
    return dict(net.state_dict())


def test_processes_share_them_as_without_recording(tmp_path: Path) -> None:
    mp.spawn(_process, (str(tmp_path),), nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pth", weights_only=True) for rank in range(2)]
    for plain, recorded in found:
        for name, value in plain.items():
            torch.testing.assert_close(recorded[name], value, msg=name)
    assert torch.equal(found[0][1]["body.0.weight"], found[1][1]["body.0.weight"])
