"""What networks cost side by side: parameters, multiply-adds, memory, and time by turns on one machine."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..archs.complexity import multiply_adds
from ..archs.facts import ArchFacts
from ..errors import DCKDError
from ..inference.padding import pad_to
from .activations import allocated_on_gpu, peak_of_tensors
from .cost import timed

__all__ = ["Latency", "Profile", "Size", "Subject", "measure", "shape_of"]

_LOG = logging.getLogger("basicsr")

Size = tuple[int, int]
"""Width and height of an input in px."""


@dataclass(frozen=True)
class Subject:
    """A network that is measured.

    Attributes:
        name: in tables; no two of a profile share one.
        net: in evaluation mode, float32, on the CPU, its branches merged.
        facts: its size rules.
        architecture: the name of its class.
        parameters: how many it has as it is measured.
        torch_network: PyTorch runs it: on any device, and its operations can be counted.
    """

    name: str
    net: nn.Module
    facts: ArchFacts
    architecture: str
    parameters: int
    torch_network: bool = True


@dataclass(frozen=True)
class Latency:
    """How long a network takes for one image.

    Attributes:
        device: ``cpu`` or ``cuda``.
        size: of the input, before padding.
        milliseconds: median over the rounds.
        low: first quartile.
        high: third quartile.
        relative: to the reference, both of one round: the median of their ratios; None if it does not run there.
        per_megapixel: milliseconds for a million pixels of output.
    """

    device: str
    size: Size
    milliseconds: float
    low: float
    high: float
    relative: float | None
    per_megapixel: float


@dataclass
class Profile:
    """What a network costs.

    Attributes:
        subject: the network.
        multiply_adds: for a million pixels of output at the largest size, padding included; None if unknown.
        activations: by device, in bytes, at the largest size: on the CPU the peak of the tensors that are alive
            (:func:`.peak_of_tensors`), on a GPU what the allocator gave (:func:`.allocated_on_gpu`); None if unknown.
        latencies: by device and size.
    """

    subject: Subject
    multiply_adds: float | None = None
    activations: dict[str, int | None] = field(default_factory=dict)
    latencies: list[Latency] = field(default_factory=list)


def measure(
    subjects: Sequence[Subject],
    sizes: Sequence[Size],
    devices: Sequence[str] = ("cpu",),
    *,
    repeats: int = 7,
    reference: str | None = None,
    watch: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> list[Profile]:
    """Measure networks, in float32 and with the threads there are.

    In each round every network runs once at every size, one after the other, and the round after begins with another
    network: a phase in which the machine is slow hits all alike. Each runs once before, untimed, at every size.

    Args:
        subjects: at least one.
        sizes: of the inputs, at least one.
        devices: ``cpu``, ``cuda``; networks that PyTorch does not run are measured on the CPU alone.
        repeats: rounds.
        reference: the name of the network that others are compared with; the first by default.
        watch: goes through the calls that are to be made, for a progress bar.

    Raises:
        DCKDError: a network fails at a size; names both.
    """
    largest = max(sizes, key=lambda size: size[0] * size[1])
    found = [Profile(subject, _counted(subject, largest)) for subject in subjects]
    calls = [
        (device, turn, which, size)
        for device in devices
        for turn in range(repeats + 1)
        for size in sizes
        for which in _from(turn, len(subjects))
        if device == "cpu" or subjects[which].torch_network
    ]
    seconds: dict[tuple[str, int, Size], list[float]] = {}
    pixels: dict[tuple[int, Size], int] = {}
    nets: dict[int, nn.Module] = {}
    on = ""
    for device, turn, which, size in watch(calls):
        if device != on:
            nets, on = {i: each.net.to(device) for i, each in enumerate(subjects) if _runs(each, device)}, device
        subject = subjects[which]
        image = _image(subject, size).to(device)
        taken, pixels[which, size] = _run(subject, nets[which], image, size)
        if turn:
            seconds.setdefault((device, which, size), []).append(taken)
        elif size == largest:
            found[which].activations[device] = _memory(subject, nets[which], image)
    first = next((i for i, each in enumerate(subjects) if each.name == reference), 0)
    for (device, which, size), times in seconds.items():
        base = seconds.get((device, first, size))
        found[which].latencies.append(_latency(device, size, times, base, pixels[which, size]))
    for profile in found:
        profile.subject.net.to("cpu")
    return found


def shape_of(subject: Subject, size: Size) -> tuple[int, int, int, int]:
    """Return the shape of what the network gets for an image of this size: (1, C, H, W), padded."""
    return (1, subject.facts.input_channels or 3, *subject.facts.padded(size[1], size[0]))


def _from(turn: int, count: int) -> list[int]:
    return [(turn + i) % count for i in range(count)]


def _runs(subject: Subject, device: str) -> bool:
    return device == "cpu" or subject.torch_network


def _image(subject: Subject, size: Size) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, subject.facts.input_channels or 3, size[1], size[0], generator=generator)


def _run(subject: Subject, net: nn.Module, image: Tensor, size: Size) -> tuple[float, int]:
    try:
        return timed(net, subject.facts, image)
    except Exception as error:  # whatever somebody's network or its runtime raises
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DCKDError(f"{subject.name} fails on an input of {size[0]}x{size[1]} px ({reason})") from error


def _counted(subject: Subject, size: Size) -> float | None:
    if not subject.torch_network:
        return None
    try:
        count = multiply_adds(subject.net, shape_of(subject, size))
    except Exception as error:  # a network that reads values
        _LOG.debug("The multiply-adds of %s cannot be counted: %s", subject.name, error)
        return None
    return count / (size[0] * size[1] * subject.facts.scale**2 / 1e6)


def _memory(subject: Subject, net: nn.Module, image: Tensor) -> int | None:
    if not subject.torch_network:
        return None
    if image.device.type == "cuda":
        return allocated_on_gpu(net, pad_to(image, subject.facts))
    try:
        return peak_of_tensors(net, shape_of(subject, (image.shape[-1], image.shape[-2])))
    except Exception as error:  # a network that reads values
        _LOG.debug("The activations of %s cannot be counted: %s", subject.name, error)
        return None


def _latency(device: str, size: Size, times: Sequence[float], base: Sequence[float] | None, pixels: int) -> Latency:
    middle = statistics.median(times)
    low, _, high = statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else (middle,) * 3
    ratio = statistics.median(own / other for own, other in zip(times, base, strict=True)) if base else None
    return Latency(device, size, 1e3 * middle, 1e3 * low, 1e3 * high, ratio, 1e3 * middle / (pixels / 1e6))
