"""What a recording that fails leaves behind: nothing. Through stand-ins that fail as PyTorch 2.4 to 2.11 do."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext

import pytest
import torch

from dckd_basicsr.distill import Generators
from dckd_basicsr.training import step_runner
from dckd_basicsr.training.step_runner import NotRecordable, RecordedStep, record_cuda_graph


class State:
    recording = False


class Generator:
    """Draws only where the recording that its state believes in is on."""

    def __init__(self, device="cuda:0"):
        self.device, self.state = device, State()

    def graphsafe_set_state(self, other):
        self.state = other.state

    def draw(self, cuda):
        if self.state.recording != cuda.recording:
            raise RuntimeError("Offset increment outside graph capture encountered unexpectedly.")


class Cuda:
    """The little that a recording asks of a GPU."""

    def __init__(self):
        self.recording, self.stream, self.mode = False, "default", 0
        self.default_generators = (Generator(),)
        self.announced = []
        self.filled, self.users = [], {}  # memory pools: those that are allocated from, and how many use each
        self.tells_allocator = False  # a failed recording, as from 2.12 on

    @contextmanager
    def graph(self, graph, pool, stream, capture_error_mode):
        before, self.stream, self.recording = self.stream, stream, True
        self.filled.append(pool)
        self.users[pool] = 1
        for generator in (*self.default_generators, *self.announced):
            generator.state.recording = True
        try:
            yield
        except Exception as error:  # as capture_end, which comes before the stream is put back
            self.recording = False
            if self.tells_allocator:
                self.end(0, pool)
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture") from error
        self.recording, self.stream = False, before
        self.end(0, pool)
        for generator in (*self.default_generators, *self.announced):
            generator.state.recording = False

    def end(self, device, pool):
        if pool not in self.filled:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.filled.remove(pool)

    def release(self, device, pool):
        self.users[pool] -= 1


@pytest.fixture
def cuda(monkeypatch):
    cuda = Cuda()

    class Graph:
        replay = staticmethod(lambda: None)
        register_generator_state = staticmethod(cuda.announced.append)

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", cuda.graph)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: cuda.stream)
    monkeypatch.setattr(torch.cuda, "set_stream", lambda stream: setattr(cuda, "stream", stream))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "default_generators", cuda.default_generators)
    monkeypatch.setattr(torch, "Generator", Generator)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 7))
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", cuda.end, raising=False)
    monkeypatch.setattr(torch._C, "_cuda_releasePool", cuda.release, raising=False)
    monkeypatch.setattr(step_runner, "recording_stream", lambda: "recording")
    return cuda


@pytest.mark.parametrize("error", [RuntimeError("operation not permitted"), KeyError("no such thing")])
def test_generators_draw_again_and_the_stream_is_put_back(cuda, error):
    own = Generator()

    def run():
        for generator in (own, *cuda.default_generators):
            generator.draw(cuda)
        raise error

    with pytest.raises(type(error)) as raised:
        record_cuda_graph(run, [own])
    assert raised.value is error  # and not that the recording failed
    assert cuda.stream == "default"
    for generator in (own, *cuda.default_generators):
        generator.draw(cuda)


@pytest.mark.parametrize(("tells", "older_name"), [(False, False), (False, True), (True, False)])
def test_the_allocator_learns_that_the_recording_is_over(cuda, monkeypatch, tells, older_name):
    cuda.tells_allocator = tells
    if older_name:
        monkeypatch.delattr(torch._C, "_cuda_endAllocateToPool")
        monkeypatch.setattr(torch._C, "_cuda_endAllocateCurrentStreamToPool", cuda.end, raising=False)

    def run():
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        record_cuda_graph(run, [])
    assert cuda.filled == []
    assert cuda.users == {(0, 7): 1 if tells else 0}, "released by whoever told the allocator"


def test_a_recording_that_goes_well_keeps_its_generators(cuda):
    own = Generator()
    states = [own.state, cuda.default_generators[0].state]
    result, _ = record_cuda_graph(lambda: 5, [own])
    assert result == 5
    assert [own.state, cuda.default_generators[0].state] == states
    assert cuda.announced == [own]
    assert cuda.users == {(0, 7): 1}, "the graph releases it at its own end"


def test_a_later_pytorch_has_generators_announced_by_nobody(cuda):
    del torch.cuda.CUDAGraph.register_generator_state
    assert record_cuda_graph(lambda: 5, [Generator()])[0] == 5


def test_the_last_warm_up_must_not_wait_for_the_gpu(monkeypatch):
    modes, mode = [], [1]

    class Stream:
        def wait_stream(self, other):
            assert isinstance(other, Stream)

    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: mode[-1])
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", mode.append)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(step_runner, "recording_stream", Stream)
    step_runner.warm_up(lambda: modes.append(mode[-1]), torch.device("cuda"))
    assert modes == [1, 1, "error"]
    assert mode[-1] == 1

    def wait():
        if mode[-1] == "error":
            raise RuntimeError("called a synchronizing CUDA operation")

    with pytest.raises(RuntimeError, match="synchronizing"):
        step_runner.warm_up(wait, torch.device("cuda"))
    assert mode[-1] == 1


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RuntimeError("no memory here\nmore"), "no memory here"),
        (KeyError("mask"), "KeyError 'mask'"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_whatever_is_raised_the_step_runs_unrecorded(error, text):
    net = torch.nn.Linear(1, 1)

    def compute(x):
        raise error

    def never(run, generators):
        pytest.fail("a step that cannot run was recorded")

    step = RecordedStep(compute, net, Generators(0), torch.device("cpu"), never)
    with pytest.raises(NotRecordable) as raised:
        step([(torch.ones(1, 1),)])
    assert str(raised.value) == text


def test_random_streams_are_as_they_were():
    net, generators = torch.nn.Linear(2, 1), Generators(0)
    wanted, before = torch.rand(3, generator=Generators(0).on("cpu")), torch.get_rng_state()

    def compute(x):
        torch.rand(3)
        loss = (net(x) + torch.rand(1, generator=generators.on("cpu"))).sum()
        loss.backward()
        return {"l": loss}

    def fail(run, generators):
        run()
        raise TypeError("in the recording")

    step = RecordedStep(compute, net, generators, torch.device("cpu"), fail)
    with pytest.raises(NotRecordable, match="TypeError in the recording"):
        step([(torch.ones(1, 2),)])
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(torch.rand(3, generator=generators.on("cpu")), wanted)
