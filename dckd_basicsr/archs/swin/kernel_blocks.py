"""Swin blocks whose attention is the Triton kernel, once it has shown on this machine that it computes the same."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from .attention import plain_attention, position_bias
from .blocks import for_any_size, swin_blocks
from .kernel import window_attention

__all__ = ["kernel_attention"]

Region = Callable[[], AbstractContextManager[Any]]
_TOLERANCE = 1e-4
"""Of the largest value; float32 that is summed in another order stays below 1e-5."""


def kernel_attention(net: nn.Module, side: int, *, frozen: bool, region: Region) -> int:
    """Let the attention of the Swin blocks of ``net`` run as one kernel.

    A block of each kind is compared first: values and, unless ``frozen``, gradients, on random numbers.

    Args:
        net: changed in place, unless a comparison fails; its state dict stays as it is.
        side: of the maps that the blocks mostly see, in tokens.
        frozen: gradients are not asked for.
        region: makes the context of the precision in which the network runs.

    Returns:
        How many blocks were changed: all but those with dropout of weights, or with hooks inside their attention.

    Raises:
        RuntimeError: it computes something else, or does not run; says what.
    """
    found = [block for block in swin_blocks(net) if plain_attention(block) and not _hooked(block.attn)]
    checked = set()
    for block in found:
        kind = (block.dim, block.num_heads, block.window_size, block.shift_size)
        if kind not in checked:
            _check(block, side, frozen, region)
            checked.add(kind)
    for block in found:
        block.forward = MethodType(_forward, block)
    return len(found)


def _hooked(attn: nn.Module) -> bool:
    return any(module._forward_hooks or module._forward_pre_hooks for module in attn.modules())


def _forward(block: Any, x: Tensor, x_size: tuple[int, int]) -> Tensor:
    """Tokens (B, H W, C) of a map of ``x_size``, whose sides are multiples of the window, to tokens of that shape."""
    attn, (height, width) = block.attn, x_size
    qkv = attn.qkv(block.norm1(x))
    h = window_attention(
        qkv, position_bias(attn).float(), height, width, block.window_size, block.shift_size, attn.scale
    )
    x = x + block.drop_path(attn.proj_drop(attn.proj(h)))
    return x + block.drop_path(block.mlp(block.norm2(x)))


def _check(block: Any, side: int, frozen: bool, region: Region) -> None:
    """Compare a copy of a block with large random weights, on two maps that are not square."""
    exact = deepcopy(block).eval().requires_grad_(True)
    for module in (exact, exact.attn):  # as the network has it, whatever it has been given before
        vars(module).pop("forward", None)
    device = exact.norm1.weight.device
    stream = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=stream).to(device)

    with torch.no_grad():
        for name, parameter in exact.attn.named_parameters():
            weight = name.endswith("weight")
            parameter.copy_(drawn(*parameter.shape) * (parameter.shape[-1] ** -0.5 if weight else 1.0))
    for_any_size(exact)
    ours = deepcopy(exact)
    ours.forward = MethodType(_forward, ours)
    window = exact.window_size
    height = -(-max(side, window) // window) * window
    size = (height, height + window)
    x, direction = (drawn(2, size[0] * size[1], exact.dim) for _ in range(2))
    wanted = _answers(exact, x, size, direction, frozen, nullcontext)
    usual = _answers(exact, x, size, direction, frozen, region)
    found = _answers(ours, x, size, direction, frozen, region)
    for name, value in wanted.items():
        largest = float(value.abs().max())
        error, admitted = (float((each[name] - value).abs().max()) / largest for each in (found, usual))
        if not error <= 2 * admitted + _TOLERANCE:  # NaN too
            raise RuntimeError(f"{name} of a block of {exact.dim} channels is {error:.1e} of its largest value off")


def _answers(
    block: Any, x: Tensor, size: tuple[int, int], direction: Tensor, frozen: bool, region: Region
) -> dict[str, Tensor]:
    """Return the output of a block by name, and the gradients to what its attention depends on."""
    x = x.clone().requires_grad_(not frozen)
    with torch.set_grad_enabled(not frozen):
        with region():
            out = block(x, size)
        if frozen:
            return {"the output": out.float()}
        inputs = {"the input": x, **dict(block.attn.named_parameters())}
        gradients = torch.autograd.grad((out.float() * direction).sum(), list(inputs.values()))
    named = {f"the gradient of {name}": value for name, value in zip(inputs, gradients, strict=True)}
    return {"the output": out.detach().float(), **named}
