"""Forward, losses and backward of a training step, recorded once for each size of a batch and replayed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..distill.generators import Generators
from ..distill.objective import ObjectiveValues
from .processes import average, gather
from .random_state import random_state, restore_random_state

__all__ = ["NotRecordable", "Record", "StaticStep", "record_cuda_graph"]

_LOG = logging.getLogger("basicsr")
_WARM_UPS = 3  # autotuning, compilation and lazy initialisation must be over; PyTorch's manual says three

Compute = Callable[..., ObjectiveValues]
Record = Callable[[Callable[[], Any], Sequence[torch.Generator]], tuple[Any, Callable[[], None]]]
"""Runs a function once while recording what it does to the device; returns its result and what repeats it."""


def record_cuda_graph(run: Callable[[], Any], generators: Sequence[torch.Generator]) -> tuple[Any, Callable[[], None]]:
    """Record into a CUDA graph, with random streams that go on from replay to replay."""
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    # thread_local: the thread that pins the next batch's memory must not spoil the recording
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        result = run()
    return result, graph.replay


class NotRecordable(Exception):
    """A step cannot be recorded; the message says why."""


@dataclass
class _Recorded:
    """One recording: the memory it reads from and writes to, and what repeats it."""

    inputs: tuple[Tensor, ...]
    gradients: dict[nn.Parameter, Tensor]
    losses: list[str]
    measures: list[str]
    row: Tensor
    replay: Callable[[], None]

    def fits(self, inputs: Sequence[Tensor]) -> bool:
        return [x.shape for x in self.inputs] == [x.shape for x in inputs]


class StaticStep:
    """Replays a step's device work without Python in between: the same kernels on the same memory.

    What a step may read: its inputs, parameters and buffers (changed in place), generators of the device. What it may
    not: anything that Python decides anew in every iteration.

    Args:
        compute: from inputs to values, with gradients left in the parameters, whose ``grad`` is None before.
        net: the bare student.
        generators: of the degradations.
        device: where all of it is.
        record: what records; CUDA graphs by default.
    """

    def __init__(
        self,
        compute: Compute,
        net: nn.Module,
        generators: Generators,
        device: torch.device,
        record: Record = record_cuda_graph,
    ) -> None:
        self._compute = compute
        self._net = net
        self._generators = generators
        self._device = device
        self._record = record
        self._recorded: _Recorded | None = None

    def __call__(self, parts: Sequence[tuple[Tensor, ...]], *, shared: bool = False) -> list[ObjectiveValues]:
        """Compute every part of a batch; leave the sum of their gradients in the parameters.

        Args:
            parts: inputs of ``compute``, all of one size.
            shared: average the gradients over the processes.

        Raises:
            NotRecordable: on this process or, if ``shared``, on any other one, so that all of them go on alike.
                Parameters, buffers and random streams are as they were.
        """
        if self._recorded is None or not self._recorded.fits(parts[0]):
            self._recorded = None  # frees its memory first
            self._recorded = self._agreed_recording(parts[0], shared)
        recorded, found = self._recorded, []
        total: list[Tensor] = []
        for part in parts:
            torch._foreach_copy_(list(recorded.inputs), list(part))
            recorded.replay()
            found.append(_values(recorded))
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

    def _agreed_recording(self, like: Sequence[Tensor], shared: bool) -> _Recorded:
        recorded, problem = None, ""
        try:
            recorded = self._recording(like)
        except RuntimeError as error:
            problem = str(error).split("\n")[0] or type(error).__name__
        problems = [each for each in (gather(problem) if shared else [problem]) if each]
        if problems or recorded is None:
            raise NotRecordable(problems[0])
        return recorded

    def _recording(self, like: Sequence[Tensor]) -> _Recorded:
        inputs = tuple(x.clone() for x in like)
        parameters = [p for p in self._net.parameters() if p.requires_grad]
        losses: list[str] = []
        measures: list[str] = []

        def run() -> Tensor:
            for parameter in parameters:  # so that the gradient is written, not added, in memory of the recording
                parameter.grad = None
            values = self._compute(*inputs)
            losses[:], measures[:] = values.losses, values.measures
            return torch.stack([v.detach().float() for v in (*values.losses.values(), *values.measures.values())])

        with self._everything_kept():
            _warm_up(run, self._device)
        with self._everything_kept():
            row, replay = self._record(run, self._generators.of_devices())
        gradients = {p: p.grad for p in parameters if p.grad is not None}
        _LOG.info("Runtime: step recorded for inputs of %s", ", ".join("x".join(map(str, x.shape)) for x in inputs))
        return _Recorded(inputs, gradients, losses, measures, row, replay)

    @contextmanager
    def _everything_kept(self) -> Iterator[None]:
        """Put random streams and buffers back to where they were."""
        streams, own = random_state(self._device), self._generators.training_state()
        buffers = [buffer.clone() for buffer in self._net.buffers()]
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, kept in zip(self._net.buffers(), buffers, strict=True):
                    buffer.copy_(kept)
            self._generators.load_training_state(own, self._device)
            restore_random_state(streams, self._device)


def _warm_up(run: Callable[[], Any], device: torch.device) -> None:
    if device.type != "cuda":
        for _ in range(_WARM_UPS):
            run()
        return
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UPS):
            run()
    torch.cuda.current_stream().wait_stream(stream)


def _values(recorded: _Recorded) -> ObjectiveValues:
    """Read the row in one copy: the next replay writes over it."""
    scalars = recorded.row.clone().unbind()
    count = len(recorded.losses)
    return ObjectiveValues(
        dict(zip(recorded.losses, scalars[:count])), dict(zip(recorded.measures, scalars[count:], strict=True))
    )
