"""The recorded step on a network of one layer: parts, processes, buffers, and what a recording may not leave behind."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import nn

from dckd_basicsr.distill import Generators
from dckd_basicsr.training import step_runner
from dckd_basicsr.training.step_runner import NotRecordable, RecordedStep
from tests.recording import record_operations


class Net(nn.Module):
    """A weight that trains, one that does not, one that is not used, and a buffer that counts."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([2.0]))
        self.frozen = nn.Parameter(torch.tensor([3.0]), requires_grad=False)
        self.unused = nn.Parameter(torch.tensor([4.0]))
        self.register_buffer("passes", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.passes.add_(1.0)
        return self.weight * x + self.frozen


class Run:
    def __init__(self, record=record_operations, net: Net | None = None) -> None:
        self.net, self.generators, self.calls = net or Net(), Generators(7), 0
        self.step = RecordedStep(self.compute, self.net, self.generators, torch.device("cpu"), record)

    def compute(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        self.calls += 1
        assert self.net.weight.grad is None
        noise = torch.rand(1, generator=self.generators.on("cpu"))
        first, second = self.net(x).mean(), (self.net(x) * 0 + torch.rand(1) + noise).mean()
        (first + second).backward()
        return {"l_a": first, "l_b": second, "d": x.mean().detach()}


def part(*values: float) -> tuple[torch.Tensor, ...]:
    return (torch.tensor(values),)


def test_values_and_gradients_of_every_part():
    run = Run()
    found = run.step([part(1.0, 3.0), part(5.0, 7.0), part(0.0, 0.0)])
    assert [values["l_a"].item() for values in found] == [7.0, 15.0, 3.0]
    assert [values["d"].item() for values in found] == [2.0, 6.0, 0.0]
    assert len({values["l_b"].item() for values in found}) == 3
    assert run.net.weight.grad.tolist() == [8.0]  # the sum over the parts
    assert (run.net.frozen.grad, run.net.unused.grad) == (None, None)
    run.net.weight.grad = None
    run.step([part(1.0, 1.0)])
    assert run.net.weight.grad.tolist() == [1.0]


def test_a_recording_runs_three_times_before_and_leaves_no_trace():
    run = Run()
    torch.manual_seed(3)
    streams = torch.get_rng_state(), run.generators.on("cpu").get_state()
    run.step([part(1.0, 1.0)])
    assert run.calls == 4
    assert run.net.passes.tolist() == [2.0]  # two passes, of the replay
    first = torch.Generator()
    for state, now in zip(streams, (torch.get_rng_state(), run.generators.on("cpu").get_state()), strict=True):
        first.set_state(state)
        torch.rand(1, generator=first)  # as one step draws
        assert torch.equal(first.get_state(), now)
    run.step([part(2.0, 2.0)])
    assert run.calls == 4


def test_another_size_is_recorded_anew_and_said(said):
    run = Run()
    for values in ((1.0, 3.0), (2.0, 4.0), (6.0,), (1.0, 3.0)):
        assert run.step([part(*values)])[0]["l_a"].item() == 2 * sum(values) / len(values) + 3
    assert run.calls == 12
    assert said == [f"Runtime: step recorded for inputs of {size}" for size in (2, 1, 2)]


@pytest.mark.parametrize(("error", "reason"), [("why\nand more", "why"), ("", "RuntimeError")])
def test_what_cannot_be_recorded_says_why_and_leaves_no_trace(error, reason):
    def refuse(run, generators):
        run()
        raise RuntimeError(error)

    run = Run(refuse)
    streams = torch.get_rng_state(), run.generators.on("cpu").get_state()
    with pytest.raises(NotRecordable, match=f"^{reason}$"):
        run.step([part(1.0)])
    assert run.net.passes.tolist() == [0.0]
    assert torch.equal(torch.get_rng_state(), streams[0])
    assert torch.equal(run.generators.on("cpu").get_state(), streams[1])


class Assigning(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.passes = self.passes + 1.0
        return self.weight * x + self.frozen


def test_a_buffer_that_is_assigned_is_put_back_and_named():
    net = Assigning()
    passes = net.passes
    with pytest.raises(NotRecordable, match="the student assigns its buffer 'passes' anew"):
        Run(net=net).step([part(1.0)])
    assert net.passes is passes
    assert passes.tolist() == [0.0]


def test_processes_share_gradients_and_refusals(monkeypatch):
    asked = []
    monkeypatch.setattr(step_runner, "average", lambda gradients: [g.mul_(0.5) for g in gradients])
    monkeypatch.setattr(step_runner, "gather", lambda problem: asked.append(problem) or [problem, ""])
    run = Run()
    run.step([part(2.0, 4.0)], shared=True)
    assert run.net.weight.grad.tolist() == [1.5]
    run.net.weight.grad = None
    run.step([part(2.0, 4.0)])
    assert run.net.weight.grad.tolist() == [3.0]
    assert asked == [""]
    monkeypatch.setattr(step_runner, "gather", lambda problem: [problem, "no memory there"])
    with pytest.raises(NotRecordable, match="no memory there"):
        Run().step([part(1.0)], shared=True)
    Run().step([part(1.0)])  # alone it asks nobody


# --- the calls to a GPU, in their order


class Gpu:
    """Stands in for a GPU's graphs and streams."""

    def __init__(self, monkeypatch) -> None:
        self.calls: list[object] = []
        gpu = self

        class Graph:
            def register_generator_state(self, generator: object) -> None:
                gpu.calls.append(("registered", generator))

            def replay(self) -> None:
                gpu.calls.append("replay")

        class Stream:
            def __init__(self, name: str) -> None:
                self.name = name

            def wait_stream(self, other: Stream) -> None:
                gpu.calls.append(f"{self.name} waits for {other.name}")

        @contextlib.contextmanager
        def graph(_: Graph, **options: object):
            gpu.calls.append(options)
            yield
            gpu.calls.append("recorded")

        monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
        monkeypatch.setattr(torch.cuda, "graph", graph)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda: Stream("main"))
        self.side, self.pool = Stream("side"), (0, 3)
        monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: self.pool)
        monkeypatch.setattr(step_runner, "recording_stream", lambda: self.side)
        monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 0)
        monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", lambda mode: gpu.calls.append(f"waiting: {mode}"))
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())


def test_a_graph_is_recorded_with_its_generators(monkeypatch):
    gpu, generators = Gpu(monkeypatch), [torch.Generator(), torch.Generator()]
    result, replay = step_runner.record_cuda_graph(lambda: gpu.calls.append("run") or "result", generators)
    replay()
    assert result == "result"
    assert gpu.calls == [
        *(("registered", generator) for generator in generators),
        {"pool": gpu.pool, "stream": gpu.side, "capture_error_mode": "thread_local"},
        *("run", "recorded", "replay"),
    ]


def test_a_gpu_warms_up_on_a_stream_of_its_own(monkeypatch):
    gpu = Gpu(monkeypatch)
    step_runner.warm_up(lambda: gpu.calls.append("run"), torch.device("cuda"))
    last = ["waiting: error", "run", "waiting: 0"]  # in the mode in which a wait for the GPU is an error
    assert gpu.calls == ["side waits for main", "run", "run", *last, "main waits for side"]
