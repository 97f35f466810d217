"""How fast a step runs on the machine at hand: precision, memory layout, compilation, recomputed activations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..archs.facts import ArchFacts

__all__ = ["PrecisionSettings", "RuntimeSettings", "arrange", "recompute", "region", "set_float32"]

Precision = Literal["fp32", "tf32", "bf16"]
_DTYPES = {"bf16": torch.bfloat16}


@dataclass(frozen=True)
class PrecisionSettings:
    """Arithmetic inside the networks; losses, averages and optimizer are float32 always.

    Attributes:
        student: null leaves float32 as PyTorch has it (on GPUs TF32 in convolutions, not in matrix products); fp32 is
            exact float32, tf32 TF32 in both, bf16 mixed precision.
        frozen: the same for teacher, history model and encoder. TF32 is a switch of the process: it is on if either
            asks for it.
    """

    student: Precision | None = None
    frozen: Precision | None = None


@dataclass(frozen=True)
class RuntimeSettings:
    """The block ``train.runtime``.

    Attributes:
        precision: arithmetic inside the networks.
        channels_last: memory layout of convolutional networks; auto takes it where the network's facts say it pays.
        compile: compile the repeated blocks of all networks with TorchInductor; the first iterations take minutes.
        recompute: do not keep the activations of the student's repeated blocks but compute them again in the backward
            pass: less memory, about a third more work in the student.
    """

    precision: PrecisionSettings = field(default_factory=PrecisionSettings)
    channels_last: bool | Literal["auto"] = False
    compile: bool = False
    recompute: bool = False


def set_float32(precision: PrecisionSettings) -> None:
    """Switch TF32 on or off for the process, if the options say anything about it."""
    asked = {precision.student, precision.frozen} - {None}
    if asked:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = asked != {"fp32"}


def region(precision: Precision | None, device: torch.device) -> AbstractContextManager:
    """Return the context in which a network runs with this precision."""
    dtype = _DTYPES.get(precision or "")
    return torch.autocast(device.type, dtype=dtype) if dtype else nullcontext()


def arrange(net: nn.Module, settings: RuntimeSettings, facts: ArchFacts | None = None) -> str:
    """Lay out and compile a network in place; its state dict keeps its names.

    Args:
        net: the bare network, on its device.
        settings: what is asked for.
        facts: tell whether channels_last pays; None where that is known to be so.

    Returns:
        What was done, for the log.
    """
    done = []
    wanted = settings.channels_last
    if wanted is True or (wanted == "auto" and (facts is None or facts.channels_last)):
        net.to(memory_format=torch.channels_last)
        done.append("channels_last")
    if settings.compile:
        torch._dynamo.config.suppress_errors = True  # what cannot be compiled runs as it is, with a warning
        blocks = repeated_blocks(net)
        for block in blocks:
            block.compile()
        done.append(f"{len(blocks)} x {type(blocks[0]).__name__} compiled" if blocks else "nothing repeated to compile")
    return ", ".join(done) or "as it is"


def recompute(net: nn.Module) -> int:
    """Let the repeated blocks of a student compute their activations again in the backward pass; return their number.

    The random streams are put back for that, so drop path and dropout repeat what they did.
    """
    blocks = repeated_blocks(net)
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    return len(blocks)


def repeated_blocks(net: nn.Module) -> list[nn.Module]:
    """Return the blocks a network is made of: the class with most instances among those that hold a good part of it.

    Compiling or recomputing block by block keeps the compiler's start short, since equal blocks share their code.
    """
    instances: dict[type, list[nn.Module]] = {}
    for module in _outermost(net):
        instances.setdefault(type(module), []).append(module)
    total = sum(p.numel() for p in net.parameters())
    shares = Counter({kind: sum(p.numel() for m in found for p in m.parameters()) for kind, found in instances.items()})
    large = [kind for kind, found in instances.items() if len(found) > 1 and shares[kind] >= 0.25 * total]
    return instances[max(large, key=lambda kind: (len(instances[kind]), shares[kind]))] if large else []


def _outermost(net: nn.Module) -> Iterator[nn.Module]:
    """Yield modules of the network's own classes, but none inside another one of its class."""

    def walk(module: nn.Module, above: frozenset[type]) -> Iterator[nn.Module]:
        for child in module.children():
            own = not type(child).__module__.startswith("torch.nn") and type(child) not in above
            if own:
                yield child
            yield from walk(child, above | {type(child)})

    yield from walk(net, frozenset({type(net)}))
