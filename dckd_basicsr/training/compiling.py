"""Compiling networks block by block, and recomputing the activations of their blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

__all__ = ["as_written", "can_compile", "compile_blocks", "recompute", "repeated_blocks"]

_VARIANTS = 256
"""Sizes, precisions and modes that one block's code may be compiled for; PyTorch gives up at 8, in silence."""


def can_compile(device: torch.device) -> bool:
    """Tell whether TorchInductor finds what it needs: Triton for a GPU, a C++ compiler for a CPU; not on Apple's."""
    if device.type == "mps":
        return False
    try:
        if device.type == "cuda":
            from torch.utils._triton import has_triton

            return has_triton()
        from torch._inductor.cpp_builder import get_cpp_compiler

        return bool(get_cpp_compiler())
    except Exception:  # whatever a missing or broken compiler raises: it is not there
        return False


def compile_blocks(net: nn.Module) -> list[nn.Module]:
    """Compile the repeated blocks of a network in place and return them; one that knows its own pieces says so."""
    _prepare()
    knows = type(net).compile is not nn.Module.compile
    blocks = [net] if knows else repeated_blocks(net)
    if any(module._forward_hooks or module._forward_pre_hooks for block in blocks for module in block.modules()):
        _see_hooks()
    for block in blocks:
        block.compile(dynamic=False)
    return blocks


def as_written(net: nn.Module) -> AbstractContextManager:
    """Return the context in which a network runs uncompiled: images to restore have many sizes, each a compilation.

    PyTorch before 2.6 knows no such context; there compiled networks stay so.
    """
    compiled = any(module._compiled_call_impl is not None for module in net.modules())
    stance = getattr(torch.compiler, "set_stance", None) if compiled else None
    return stance("force_eager") if stance is not None else nullcontext()


def _see_hooks() -> None:
    """Let blocks that are equal but for hooks inside have code of their own.

    By default PyTorch takes hooks for equal everywhere, so that a block with a feature map in it would run the code of
    one without.
    """
    config: Any = torch._dynamo.config
    if hasattr(config, "skip_nnmodule_hook_guards"):
        config.skip_nnmodule_hook_guards = False


def _prepare() -> None:
    config: Any = torch._dynamo.config
    config.suppress_errors = True  # what cannot be compiled runs as it is, with a warning
    for name in ("recompile_limit", "cache_size_limit"):  # the latter is its name before PyTorch 2.6
        if hasattr(config, name):
            setattr(config, name, max(getattr(config, name), _VARIANTS))
    import torch._inductor.config as inductor

    inductor.fallback_random = True  # drop path draws what it draws without the compiler


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
