"""Running a step over the parts of a batch: as it is, or recorded once for each size and replayed. Knows no model."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..archs.buffers import writable
from ..data.random_state import random_state, restore_random_state
from .processes import average, gather

__all__ = [
    "NotRecordable",
    "Record",
    "RecordedStep",
    "StepRunner",
    "Streams",
    "on_recording_stream",
    "record_cuda_graph",
    "recording_stream",
    "warm_up",
]

_LOG = logging.getLogger("basicsr")
_WARM_UPS = 3  # autotuning, compilation and lazy initialisation must be over; PyTorch's manual says three

Values = dict[str, Tensor]
"""Scalars on the device by name."""
Compute = Callable[..., Values]
Prepare = Callable[..., tuple[Tensor, ...]]
Record = Callable[[Callable[[], Any], Sequence[torch.Generator]], tuple[Any, Callable[[], None]]]
"""Runs a function once while recording what it does to the device; returns its result and what repeats it."""


class Streams(Protocol):
    """Random streams that a step draws from beside the global ones, as ``distill.Generators`` has them."""

    def of_devices(self) -> list[torch.Generator]: ...

    def training_state(self) -> dict[str, Any]: ...

    def load_training_state(self, state: Mapping[str, Any], device: torch.device | str) -> None: ...


def record_cuda_graph(run: Callable[[], Any], generators: Sequence[torch.Generator]) -> tuple[Any, Callable[[], None]]:
    """Record into a CUDA graph, with random streams that go on from replay to replay.

    Raises:
        Exception: what ``run`` raised, or why the recording could not be ended. The stream is then the one it was, and
            generators draw again, but not from where they were.
    """
    graph, stream, first = torch.cuda.CUDAGraph(), torch.cuda.current_stream(), None
    pool = torch.cuda.graph_pool_handle()  # a graph whose recording failed does not tell its own
    _register(graph, generators)
    try:
        # thread_local: the thread that pins the next batch's memory must not spoil the recording
        with torch.cuda.graph(graph, pool=pool, stream=recording_stream(), capture_error_mode="thread_local"):
            try:
                result = run()
            except Exception as error:
                first = error
                raise
    except Exception as error:
        _leave_recording(stream, generators)
        _leave_pool(pool)
        raise (first or error) from None  # what ends the recording knows only that it failed
    return result, graph.replay


@contextmanager
def on_recording_stream() -> Iterator[None]:
    """Run what is inside on the stream of recordings, after all that is under way and before all that follows."""
    torch.cuda.synchronize()
    with torch.cuda.stream(recording_stream()):
        yield
    torch.cuda.synchronize()


def recording_stream() -> torch.cuda.Stream:
    """Return the one stream of this GPU on which steps are warmed up and recorded, and gradients hooked into."""
    return _stream_of(torch.cuda.current_device())


@cache
def _stream_of(device: int) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


def _register(graph: torch.cuda.CUDAGraph, generators: Sequence[torch.Generator]) -> None:
    """Announce generators, which PyTorch 2.12 and later find by themselves: there it warns, or is gone."""
    announce: Callable[[torch.Generator], None] | None = getattr(graph, "register_generator_state", None)
    if announce is None:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for generator in generators:
            announce(generator)


def _leave_recording(stream: torch.cuda.Stream, generators: Sequence[torch.Generator]) -> None:
    """Undo what a failed recording leaves: its stream, and up to PyTorch 2.11 generators that believe it goes on."""
    torch.cuda.set_stream(stream)
    default = torch.cuda.default_generators[torch.cuda.current_device()]
    for generator in (default, *generators):
        generator.graphsafe_set_state(torch.Generator(generator.device))


def _leave_pool(pool: Any) -> None:
    """Tell the allocator of memory that a failed recording is over, which up to PyTorch 2.11 nobody does.

    It would keep for good what is used on several streams, such as prefetched batches, and fail when its cache is
    emptied.
    """
    device = torch.cuda.current_device()
    now, before = "_cuda_endAllocateToPool", "_cuda_endAllocateCurrentStreamToPool"
    try:
        getattr(torch._C, now if hasattr(torch._C, now) else before)(device, pool)
    except RuntimeError:  # it has been told
        return
    torch._C._cuda_releasePool(device, pool)


class NotRecordable(Exception):
    """A step cannot be recorded; the message says why."""


@dataclass
class _Recorded:
    """One recording: the memory it reads from and writes to, and what repeats it."""

    sizes: list[torch.Size]
    variant: Hashable
    inputs: tuple[Tensor, ...]
    gradients: dict[nn.Parameter, Tensor]
    names: list[str]
    row: Tensor
    replay: Callable[[], None]

    def fits(self, part: Sequence[Tensor], variant: Hashable) -> bool:
        return (self.sizes, self.variant) == ([x.shape for x in part], variant)

    def values(self) -> Values:
        """Read the row in one copy: the next replay writes over it."""
        return dict(zip(self.names, self.row.clone().unbind(), strict=True))


class RecordedStep:
    """Replays a step's device work without Python in between: the same kernels on the same memory.

    What a step may read: its inputs, parameters and buffers (changed in place), generators of the device. What it may
    not: anything that Python decides anew in every iteration.

    Args:
        compute: from inputs to values, with gradients left in the parameters, whose ``grad`` is None before.
        prepare: from a part of a batch to inputs of ``compute``, with what Python decides anew; called for each part
            right before its replay, so that what it makes is there for one part at a time. By default the part itself.
        net: the bare module whose parameters and buffers the step changes.
        streams: random ones of the step's own.
        device: where all of it is.
        record: what records; CUDA graphs by default.
    """

    def __init__(
        self,
        compute: Compute,
        net: nn.Module,
        streams: Streams,
        device: torch.device,
        record: Record = record_cuda_graph,
        prepare: Prepare = lambda *part: part,
    ) -> None:
        self._compute = compute
        self._prepare = prepare
        self._net = net
        self._streams = streams
        self._device = device
        self._record = record
        self._recorded: _Recorded | None = None

    def __call__(
        self, parts: Sequence[tuple[Tensor, ...]], *, shared: bool = False, variant: Hashable = None
    ) -> list[Values]:
        """Compute every part of a batch; leave the sum of their gradients in the parameters.

        Args:
            parts: of a batch, all of one size.
            shared: average the gradients over the processes.
            variant: what else the step depends on; where it changes, the step is recorded anew.

        Raises:
            NotRecordable: on this process or, if ``shared``, on any other one, so that all of them go on alike.
                Parameters, buffers and random streams are as they were.
        """
        if self._recorded is None or not self._recorded.fits(parts[0], variant):
            self._recorded = None  # frees its memory first
            self._recorded = self._agreed_recording(parts[0], shared, variant)
        recorded, found = self._recorded, []
        total: list[Tensor] = []
        for part in parts:
            torch._foreach_copy_(list(recorded.inputs), list(self._prepare(*part)))
            recorded.replay()
            found.append(recorded.values())
            if len(parts) > 1 and not total:
                total = [gradient.clone() for gradient in recorded.gradients.values()]
            elif len(parts) > 1:
                torch._foreach_add_(total, list(recorded.gradients.values()))
        gradients = total or list(recorded.gradients.values())
        if shared:
            average(gradients)
        for parameter, gradient in zip(recorded.gradients, gradients, strict=True):
            parameter.grad = gradient
        return found

    def _agreed_recording(self, part: Sequence[Tensor], shared: bool, variant: Hashable) -> _Recorded:
        recorded, problem = None, ""
        try:
            recorded = self._recording(part, variant)
        except Exception as error:  # whatever it is, the others wait below; unrecorded, the step raises it again
            text = str(error).split("\n")[0]
            problem = text if text and isinstance(error, RuntimeError) else f"{type(error).__name__} {text}".strip()
        problems = [each for each in (gather(problem) if shared else [problem]) if each]
        if problems or recorded is None:
            for parameter in self._net.parameters():
                parameter.grad = None  # what the attempts have left
            raise NotRecordable(problems[0])
        return recorded

    def _recording(self, part: Sequence[Tensor], variant: Hashable) -> _Recorded:
        with self._everything_kept():
            inputs = tuple(x.clone() for x in self._prepare(*part))
        parameters = [p for p in self._net.parameters() if p.requires_grad]
        names: list[str] = []

        def run() -> Tensor:
            for parameter in parameters:  # so that the gradient is written, not added, in memory of the recording
                parameter.grad = None
            values = self._compute(*inputs)
            names[:] = values
            return torch.stack([v.detach().float() for v in values.values()])

        with self._everything_kept():
            warm_up(run, self._device)
        with self._everything_kept():
            row, replay = self._record(run, self._streams.of_devices())
        gradients = {p: p.grad for p in parameters if p.grad is not None}
        _LOG.info("Runtime: step recorded for inputs of %s", ", ".join("x".join(map(str, x.shape)) for x in inputs))
        return _Recorded([x.shape for x in part], variant, inputs, gradients, names, row, replay)

    @contextmanager
    def _everything_kept(self) -> Iterator[None]:
        """Put random streams and buffers back to where they were.

        Raises:
            RuntimeError: the student has put new tensors in the place of buffers, which no replay would do.
        """
        streams, own = random_state(self._device), self._streams.training_state()
        held = [(module, dict(module._buffers)) for module in self._net.modules()]
        values = [(buffer, buffer.clone()) for buffer in self._net.buffers() if writable(buffer)]
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, value in values:
                    buffer.copy_(value)
            replaced = [n for module, before in held for n, b in before.items() if module._buffers.get(n) is not b]
            for module, before in held:
                module._buffers.update(before)
            self._streams.load_training_state(own, self._device)
            restore_random_state(streams, self._device)
        if replaced:
            raise RuntimeError(f"the student assigns its buffer '{replaced[0]}' anew; let it write in place (copy_)")


def warm_up(run: Callable[[], Any], device: torch.device) -> None:
    """Run a few times; on a GPU the last time in a mode in which waiting for it is an error.

    What waits cannot be recorded, and a recording that fails leaves more behind than a step that does.
    """
    if device.type != "cuda":
        for _ in range(_WARM_UPS):
            run()
        return
    stream, mode = recording_stream(), torch.cuda.get_sync_debug_mode()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UPS - 1):
            run()
        torch.cuda.set_sync_debug_mode("error")
        try:
            run()
        finally:
            torch.cuda.set_sync_debug_mode(mode)
    torch.cuda.current_stream().wait_stream(stream)


class StepRunner:
    """Runs a step over the parts of a batch; gradients add up in the parameters.

    Args:
        compute: from a part to values, with gradients added to the parameters'; in a process group they are averaged.
        recorded: does the same by replaying, while it can be recorded; None runs the step as it is.
        shared: there is a process group.
        alone: makes the context in which ``compute`` does not average, for all parts but the last.
    """

    def __init__(
        self,
        compute: Compute,
        recorded: RecordedStep | None = None,
        *,
        shared: bool = False,
        alone: Callable[[], AbstractContextManager] = nullcontext,
    ) -> None:
        self.compute = compute
        self.recorded = recorded
        self.shared = shared
        self.alone = alone

    def __call__(self, parts: Sequence[tuple[Tensor, ...]], variant: Hashable = None) -> list[Values]:
        """Return the values of every part.

        Args:
            parts: of a batch, all of one size.
            variant: what the step depends on beside its inputs, see :class:`RecordedStep`.
        """
        if self.recorded is not None:
            try:
                return self.recorded(parts, shared=self.shared, variant=variant)
            except NotRecordable as error:
                _LOG.warning("the step cannot be recorded as a CUDA graph and runs without: %s", error)
                self.recorded = None
        found = []
        for i, part in enumerate(parts):
            later = self.shared and i + 1 < len(parts)  # gradients are averaged once, with the last part
            with self.alone() if later else nullcontext():
                found.append(self.compute(*part))
        return found
