"""Running means: a batch that is not finite leaves nothing in them, and processes share them as without recording."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from dckd_basicsr.archs import ArchFacts
from dckd_basicsr.archs.buffers import writable
from dckd_basicsr.models.arranging import recorded_step
from dckd_basicsr.training.flat import KeptBuffers, by_type
from dckd_basicsr.training.step_runner import NotRecordable
from dckd_basicsr.weight_files import load_state
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


class LevelNet(NormedNet):
    """Keeps a running mean by assignment."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("level", torch.zeros(1))

    def forward(self, x):
        if self.training:
            self.level = 0.9 * self.level + 0.1 * x.detach().mean()
        return super().forward(x) + self.level


class GrowingNet(NormedNet):
    """Builds buffers for the size at hand, out of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("map", torch.zeros(1), persistent=False)
        self.register_buffer("cache", None, persistent=False)

    def forward(self, x):
        if self.map.shape != x.shape[2:]:
            self.map, self.cache = x.detach().mean((0, 1)), x.detach().mean()
        return super().forward(x)


class ExpandedNet(NormedNet):
    """Has a constant that shares memory with itself; PyTorch refuses to write into it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((1, 3, 1, 1), 0.25).expand(1, 3, 2, 2), persistent=False)

    def forward(self, x):
        return super().forward(x - self.mean[:, :, :1, :1])


NETS = (NormedNet, LevelNet, GrowingNet, ExpandedNet)


def register() -> None:
    from basicsr.utils.registry import ARCH_REGISTRY

    import dckd_basicsr  # noqa: F401  before anything of basicsr; processes start without conftest.py

    ARCH_REGISTRY._obj_map.update({net.__name__: net for net in NETS})


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    from basicsr.utils.registry import ARCH_REGISTRY

    monkeypatch.setattr(ARCH_REGISTRY, "_obj_map", dict(ARCH_REGISTRY._obj_map))
    register()


@pytest.mark.parametrize("optimizer", ["{type: Adam, lr: 1e-3}", "{type: SGD, lr: 1e-3, fused: true}"])
@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("parts", [1, 2])
def test_a_batch_that_is_not_finite_leaves_no_trace(build, optimizer, recorded, parts):
    model = build("network_g={type: NormedNet}", f"train:optim_g={optimizer}", f"train:accumulate={parts}")
    if recorded:
        model.runner.recorded = recorded_step(model, record_operations)
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


def test_a_buffer_that_is_assigned_anew_loses_what_is_not_finite(build):
    model = build("network_g={type: LevelNet}")
    step(model, 1, BATCH)
    before = model.net_g.level.clone()
    assert before > 0
    step(model, 2, {**BATCH, "lq": BATCH["lq"] * NAN})
    assert model.guard.skipped == 1
    assert torch.equal(model.net_g.level, before)
    assert torch.equal(model.net_g_ema.level, before)
    step(model, 3, BATCH)
    assert model.net_g.level > before


def test_so_does_one_that_is_assigned_in_another_size():
    net = GrowingNet()
    for sound in (False, True):
        kept, small = KeptBuffers(net), net.map
        net(torch.rand(2, 3, 5, 5))
        grown = net.map
        kept.restore_unless(torch.tensor(sound))
        assert net.map is (grown if sound else small)
        assert (net.cache is None) != sound


@pytest.mark.parametrize("recorded", [False, True])
def test_an_expanded_buffer_is_left_alone(build, recorded):
    model = build("network_g={type: ExpandedNet}")
    if recorded:
        model.runner.recorded = recorded_step(model, record_operations)
    for i, factor in ((1, 1.0), (2, NAN)):
        step(model, i, {**BATCH, "lq": BATCH["lq"] * factor})
    assert model.guard.skipped == 1
    assert (model.runner.recorded is not None) == recorded
    model.history.update(model.net_g)
    for net in (model.net_g, model.net_g_ema, model.history.net):
        assert torch.equal(net.mean, torch.full((1, 3, 2, 2), 0.25))
        assert not writable(net.mean)


def test_writable_is_what_pytorch_writes_into():
    x = torch.zeros(2, 3)
    for tensor in (x, x.t(), x[:, :1], x[:1].expand(1, 3), torch.zeros(()), torch.zeros(0, 3).expand(0, 3)):
        assert writable(tensor)
        tensor.copy_(torch.ones(()))
    for tensor in (x[:1].expand(2, 3), torch.zeros(()).expand(4)):
        assert not writable(tensor)
        with pytest.raises(RuntimeError, match="single memory location"):
            tensor.copy_(torch.ones(()))


def test_a_student_that_assigns_buffers_is_not_recorded(build, caplog, monkeypatch):
    """A replay repeats what is done to memory, and would leave the first level in place for ever."""
    monkeypatch.setattr(logging.getLogger("basicsr"), "propagate", True)
    model = build("network_g={type: LevelNet}")
    model.runner.recorded, level = recorded_step(model, record_operations), model.net_g.level
    model.feed_data({"lq": torch.rand(2, 3, 16, 16), "gt": torch.rand(2, 3, 32, 32)})
    with pytest.raises(NotRecordable, match="assigns its buffer 'level' anew"):
        model.runner.recorded(model.parts())
    assert model.net_g.level is level
    assert level == 0
    step(model, 1, BATCH)
    assert model.runner.recorded is None
    assert any("assigns its buffer 'level' anew" in message for message in caplog.messages)
    assert model.net_g.level > 0


def test_groups_are_of_one_type_and_in_order():
    a, b, c = torch.zeros(1), torch.zeros(2, dtype=torch.int64), torch.zeros(3)
    assert [[len(x) for x in group] for group in by_type([a, b, c])] == [[1, 3], [2]]
    assert by_type([]) == []


def _process(rank: int, folder: str, ports: list[int]) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1")
    register()
    torch.save([_trained(rank, folder, ports, recorded) for recorded in (False, True)], f"{folder}/{rank}.pth")


def _trained(rank: int, folder: str, ports: list[int], recorded: bool) -> dict[str, Any]:
    """Train, save, go on; then do the same again from what was saved."""
    run = Path(folder, f"out{recorded}")
    model = _joined(folder, run, ports, recorded)
    for i in range(1, 5):
        step(model, i, _batch(rank, i))
    found = {"saved": _values(model)}
    model.save(0, 4)
    step(model, 5, _batch(rank, 5))
    found["uninterrupted"] = _values(model)
    dist.barrier()
    dist.destroy_process_group()
    saved = run / "experiments/tiny"
    model = _joined(folder, run, ports, recorded, f"path:pretrain_network_g={saved}/models/net_g_4.pth")
    model.resume_training(load_state(saved / "training_states/4.state"))
    step(model, 5, _batch(rank, 5))
    found["resumed"] = _values(model)
    dist.destroy_process_group()
    return found


def _joined(folder: str, run: Path, ports: list[int], recorded: bool, *overrides: str) -> Any:
    from basicsr.models import build_model

    from dckd_basicsr.config import parse_options

    os.chdir(folder)
    os.environ["MASTER_PORT"] = str(ports.pop())
    arguments = ["-opt", "job.yml", "--launcher", "pytorch", "--force_yml", "network_g={type: NormedNet}"]
    more = ["train:ema_decay=0.5", "train:accumulate=2", "train:history={schedule: [[100, 2]]}", *overrides]
    opt, _ = parse_options(run, argv=[*arguments, *more])
    for key in ("models", "training_states"):
        Path(opt["path"][key]).mkdir(parents=True, exist_ok=True)
    model = build_model(opt)
    if recorded:
        model.runner.recorded = recorded_step(model, record_operations)
    return model


def _batch(rank: int, iteration: int) -> dict[str, torch.Tensor]:
    """Every process has data of its own."""
    generator = torch.Generator().manual_seed(1000 * rank + iteration)
    return {"lq": torch.rand(2, 3, 16, 16, generator=generator), "gt": torch.rand(2, 3, 32, 32, generator=generator)}


def _values(model: Any) -> list[dict[str, torch.Tensor]]:
    nets = (model.get_bare_model(model.net_g), model.net_g_ema, model.history.net)
    return [{name: value.clone() for name, value in net.state_dict().items()} for net in nets]


def test_processes_go_on_with_those_of_the_first(model_job, tmp_path):
    """In the student, its average and its history; recorded or not, and after a resume."""
    for path in model_job.iterdir():
        (tmp_path / path.name).symlink_to(path)
    mp.spawn(_process, (str(tmp_path), [_free_port() for _ in range(4)]), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pth", weights_only=True) for rank in range(2))
    for one, two in zip(first, second, strict=True):
        for moment in one:
            _assert_equal(one[moment], two[moment])
        _assert_equal(one["resumed"], one["uninterrupted"])
    for plain, recorded in zip(first[0]["uninterrupted"], first[1]["uninterrupted"], strict=True):
        for name, value in plain.items():
            torch.testing.assert_close(recorded[name], value, msg=name)
    assert first[0]["saved"][0]["body.1.num_batches_tracked"] == 8


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _assert_equal(ones: list[dict[str, torch.Tensor]], others: list[dict[str, torch.Tensor]]) -> None:
    for one, other in zip(ones, others, strict=True):
        assert [name for name, value in one.items() if not torch.equal(value, other[name])] == []
