"""How fast a step runs on the machine at hand: precision, memory layout, compilation, CUDA graphs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from ..archs.facts import ArchFacts
from ..archs.swin.arranging import Attention
from ..archs.tf32 import forbid_tf32, tf32
from ..distill.encoder import FrozenEncoder
from ..errors import ConfigError
from .compiling import can_compile, compile_blocks

__all__ = [
    "PrecisionSettings",
    "RuntimeSettings",
    "arrange",
    "arrange_encoder",
    "backward_region",
    "float32_region",
    "lay_out",
    "may_fuse",
    "region",
    "set_float32",
    "settled",
]

Precision = Literal["auto", "fp32", "tf32", "bf16", "fp16"]
Switch = bool | Literal["auto"] | None
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class PrecisionSettings:
    """Arithmetic inside the networks; losses, averages and optimizer are float32 always.

    Attributes:
        student: null leaves float32 as PyTorch has it (on GPUs TF32 in convolutions, not in matrix products; in neither
            where frozen is fp32); fp32 is exact float32, also in the run's validation (not in `basicsr test`, which has
            float32 as PyTorch has it); tf32 is TF32 in both; bf16 and fp16 are mixed precision, the latter with a
            scaled loss; auto is bf16 where the machine is fast at it, else on older GPUs fp16, else null.
        frozen: the same for teacher, history model and encoder. The distances to the codes are exact float32 always.
            Student and encoder share a backward pass, which uses TF32 in products if one asks for tf32 and the other
            for no kind of float32.
    """

    student: Precision | None = None
    frozen: Precision | None = None


@dataclass(frozen=True)
class RuntimeSettings:
    """The block ``train.runtime``. What is not given is off, or auto with ``preset: auto``.

    Attributes:
        preset: auto takes auto for everything that is not given.
        precision: arithmetic inside the networks.
        channels_last: memory layout of convolutional networks; auto takes it where the network's facts say it pays.
        compile: compile the repeated blocks of all networks and the encoder with TorchInductor, which takes a minute or
            more at the start; auto does where a compiler is found.
        cuda_graph: record forward, losses and backward once for each size of a batch and replay them, so that the GPU
            never waits for Python; auto does on one GPU, unless recompute is on.
        attention: how windows of a SwinIR attend, in student, teachers and history model. null is as the network does
            it, to the last bit; sdpa uses PyTorch's fused kernels, and triton a kernel of this package, with the same
            values to rounding. The kernel is compared with the network at the start, and left out with a warning if it
            differs or does not run. auto is null as long as nobody has measured what is faster on a GPU.
        recompute: do not keep the activations of the student's repeated blocks but compute them again in the backward
            pass: less memory, about a third more work in the student.
    """

    preset: Literal["auto"] | None = None
    precision: PrecisionSettings = field(default_factory=PrecisionSettings)
    channels_last: Switch = None
    compile: Switch = None
    cuda_graph: Switch = None
    attention: Attention | None = None
    recompute: bool = False

    def __post_init__(self) -> None:
        if self.cuda_graph is True and self.recompute:
            raise ValueError("cuda_graph cannot record recomputed activations; switch off cuda_graph or recompute")


def settled(settings: RuntimeSettings, device: torch.device, processes: int = 1) -> RuntimeSettings:
    """Return the settings with every ``auto`` decided for this machine, except that of ``channels_last``.

    Raises:
        ConfigError: something was asked for that the device has not.
    """
    gpu = device.type == "cuda"
    if settings.cuda_graph is True and not gpu:
        place = "a CPU" if device.type == "cpu" else f"device {device.type}"
        raise ConfigError(f"train.runtime.cuda_graph is true, but the run is on {place}; set it to auto or false")
    filled = {name: _filled(getattr(settings, name), settings.preset) for name in ("compile", "cuda_graph")}
    compiled = can_compile(device) if filled["compile"] == "auto" else bool(filled["compile"])
    graph = gpu and processes == 1 and not settings.recompute
    precision = {
        name: _precision(_filled(getattr(settings.precision, name), settings.preset), device, compiled)
        for name in ("student", "frozen")
    }
    return replace(
        settings,
        preset=None,
        precision=PrecisionSettings(**precision),
        channels_last=_filled(settings.channels_last, settings.preset),
        compile=compiled,
        attention=None if settings.attention == "auto" else settings.attention,
        cuda_graph=graph if filled["cuda_graph"] == "auto" else bool(filled["cuda_graph"]),
    )


def _filled(value: Any, preset: str | None) -> Any:
    return preset if value is None else value


def _precision(asked: Precision | None, device: torch.device, compiled: bool) -> Precision | None:
    if asked != "auto":
        return asked
    if device.type == "cuda":
        major = torch.cuda.get_device_capability(device)[0]
        return "bf16" if major >= 8 else "fp16" if major >= 7 else None
    # Without the compiler a CPU loses in bf16's normalisations what it wins in its products.
    return "bf16" if device.type == "cpu" and compiled and _cpu_has_bf16() else None


def _cpu_has_bf16() -> bool:
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check() for check in checks if check)


def set_float32(precision: PrecisionSettings) -> None:
    """Forbid TF32 for what runs outside of all regions (losses, validation) if either side asks for exact float32.

    It is never allowed there: what asks for it gets it in its own :func:`region`.
    """
    if "fp32" in (precision.student, precision.frozen):
        forbid_tf32()


def float32_region(precision: Precision | None) -> AbstractContextManager:
    """Return the context in which operations in float32 are as exact as this precision asks; no rounding to others."""
    return tf32(precision == "tf32") if precision in ("fp32", "tf32") else nullcontext()


def region(precision: Precision | None, device: torch.device) -> AbstractContextManager:
    """Return the context in which a network runs forward with this precision."""
    dtype = _DTYPES.get(precision or "")
    return torch.autocast(device.type, dtype=dtype) if dtype else float32_region(precision)


def backward_region(precision: PrecisionSettings, *, encoder: bool) -> AbstractContextManager:
    """Return the context of the backward pass, which runs through the student and, if there is one, the encoder.

    The two cannot be told apart in there, so TF32 is allowed only if both admit it.
    """
    asked = {precision.student, precision.frozen} if encoder else {precision.student}
    return tf32(True) if "tf32" in asked and not asked & {None, "fp32"} else nullcontext()


def may_fuse(device: torch.device, settings: RuntimeSettings) -> bool:
    """Tell whether optimizers can be fused: on GPUs, but PyTorch 2.4 refuses the gradients of some compiled layers.

    Kernels of 1x1 and depthwise convolutions have strides there that its fused steps take for another layout.
    """
    return device.type == "cuda" and not (settings.compile and torch.__version__ < "2.5")


def arrange(net: nn.Module, settings: RuntimeSettings, facts: ArchFacts | None = None) -> str:
    """Lay out and compile a network in place; its state dict keeps its names.

    Args:
        net: the bare network, on its device.
        settings: what is asked for, as :func:`settled` gives it.
        facts: tell whether channels_last pays; None where that is known to be so.

    Returns:
        What was done, for the log.
    """
    done = ["channels_last"] if lay_out(net, settings, facts) else []
    if settings.compile:
        blocks = compile_blocks(net)
        done.append(f"{len(blocks)} x {type(blocks[0]).__name__} compiled" if blocks else "nothing repeated to compile")
    return ", ".join(done) or "as it is"


def arrange_encoder(encoder: FrozenEncoder, settings: RuntimeSettings) -> str:
    """Lay out, round and compile the encoder in place; its codebook stays float32. Returns what was done."""
    encoder.round_to(_DTYPES.get(settings.precision.frozen or "", torch.float32))
    encoder.float32_region = partial(float32_region, settings.precision.frozen)
    done = ["channels_last"] if lay_out(encoder.vqgan.encoder, settings, None) else []
    if settings.compile:
        compile_blocks(encoder)
        done.append("compiled")
    return ", ".join(done) or "as it is"


def lay_out(net: nn.Module, settings: RuntimeSettings, facts: ArchFacts | None) -> bool:
    """Put a network's parameters into the memory layout that the settings ask for; tell whether it is channels_last."""
    wanted = settings.channels_last
    pays = wanted is True or (wanted == "auto" and (facts is None or facts.channels_last))
    if pays:
        net.to(memory_format=torch.channels_last)
    return pays
