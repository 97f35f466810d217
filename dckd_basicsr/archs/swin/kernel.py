"""Window attention as one Triton kernel, which reads queries, keys and values where their product left them.

Shift, windows, the bias of relative positions and the mask of shifted windows are indices in here: nothing is moved,
and no weights of attention are written to memory. A program attends in one window, for one head; the backward pass
computes the weights again. Imported only where it is asked for: Triton comes with PyTorch for GPUs.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["window_attention"]

_PARTS = 64
"""Rows of programs of the backward pass; each adds the gradient of the bias over its windows, without atomics."""


@triton.jit
def _tokens(window, height, width, SIDE: tl.constexpr, SHIFT: tl.constexpr, ROOM: tl.constexpr):  # type: ignore[no-untyped-def]
    """Where the tokens of a window lie in the map that was not shifted, and on which sides of the border."""
    across = width // SIDE
    windows = across * (height // SIDE)
    place = tl.arange(0, ROOM)
    y = window % windows // across * SIDE + place // SIDE
    x = window % across * SIDE + place % SIDE
    region = 2 * (y >= height - SHIFT).to(tl.int32) + (x >= width - SHIFT).to(tl.int32)
    row = (window // windows).to(tl.int64) * height + (y + SHIFT) % height
    return row * width + (x + SHIFT) % width, region


@triton.jit
def _weights(  # type: ignore[no-untyped-def]
    q, k, bias, region, scale, SHIFT: tl.constexpr, COUNT: tl.constexpr, ROOM: tl.constexpr, PRECISION: tl.constexpr
):
    """The weights of attention (ROOM, ROOM) in float32; those of places past the window are 0."""
    place = tl.arange(0, ROOM)
    rows, columns = place[:, None], place[None, :]
    there = (rows < COUNT) & (columns < COUNT)
    scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
    scores += tl.load(bias + rows * COUNT + columns, mask=there, other=0.0)
    if SHIFT > 0:
        scores = tl.where(region[:, None] == region[None, :], scores, scores - 100.0)
    scores = tl.where(columns < COUNT, scores, float("-inf"))
    weights = tl.exp(scores - tl.max(scores, 1)[:, None])
    return weights / tl.sum(weights, 1)[:, None]


@triton.jit
def _forward_kernel(  # type: ignore[no-untyped-def]
    qkv, bias, out, height, width, heads, scale,
    SIDE: tl.constexpr, SHIFT: tl.constexpr, COUNT: tl.constexpr, ROOM: tl.constexpr,
    CHANNELS: tl.constexpr, WIDE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    token, region = _tokens(tl.program_id(0), height, width, SIDE, SHIFT, ROOM)
    channel = tl.arange(0, WIDE)[None, :]
    there = (tl.arange(0, ROOM)[:, None] < COUNT) & (channel < CHANNELS)
    total = heads * CHANNELS
    at = token[:, None] * (3 * total) + head * CHANNELS + channel
    q = tl.load(qkv + at, mask=there, other=0.0)
    k = tl.load(qkv + at + total, mask=there, other=0.0)
    v = tl.load(qkv + at + 2 * total, mask=there, other=0.0)
    weights = _weights(q, k, bias + head * COUNT * COUNT, region, scale, SHIFT, COUNT, ROOM, PRECISION)
    found = tl.dot(weights.to(v.dtype), v, input_precision=PRECISION)
    tl.store(out + token[:, None] * total + head * CHANNELS + channel, found.to(v.dtype), mask=there)


@triton.jit
def _backward_kernel(  # type: ignore[no-untyped-def]
    qkv, bias, grad, grad_qkv, grad_bias, height, width, heads, scale, windows, each,
    SIDE: tl.constexpr, SHIFT: tl.constexpr, COUNT: tl.constexpr, ROOM: tl.constexpr,
    CHANNELS: tl.constexpr, WIDE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    part, head = tl.program_id(0), tl.program_id(1)
    place = tl.arange(0, ROOM)
    channel = tl.arange(0, WIDE)[None, :]
    total = heads * CHANNELS
    of_bias = tl.zeros((ROOM, ROOM), tl.float32)
    for i in range(0, each):
        window = part * each + i
        token, region = _tokens(window, height, width, SIDE, SHIFT, ROOM)
        there = (place[:, None] < COUNT) & (channel < CHANNELS) & (window < windows)
        at = token[:, None] * (3 * total) + head * CHANNELS + channel
        q = tl.load(qkv + at, mask=there, other=0.0)
        k = tl.load(qkv + at + total, mask=there, other=0.0)
        v = tl.load(qkv + at + 2 * total, mask=there, other=0.0)
        g = tl.load(grad + token[:, None] * total + head * CHANNELS + channel, mask=there, other=0.0)
        weights = _weights(q, k, bias + head * COUNT * COUNT, region, scale, SHIFT, COUNT, ROOM, PRECISION)
        of_v = tl.dot(tl.trans(weights.to(g.dtype)), g, input_precision=PRECISION)
        of_weights = tl.dot(g, tl.trans(v), input_precision=PRECISION)
        of_scores = weights * (of_weights - tl.sum(weights * of_weights, 1)[:, None])
        of_bias += of_scores
        of_scores = (of_scores * scale).to(q.dtype)
        of_q = tl.dot(of_scores, k, input_precision=PRECISION)
        of_k = tl.dot(tl.trans(of_scores), q, input_precision=PRECISION)
        tl.store(grad_qkv + at, of_q.to(q.dtype), mask=there)
        tl.store(grad_qkv + at + total, of_k.to(q.dtype), mask=there)
        tl.store(grad_qkv + at + 2 * total, of_v.to(q.dtype), mask=there)
    inside = (place[:, None] < COUNT) & (place[None, :] < COUNT)
    at = (part * heads + head) * COUNT * COUNT + place[:, None] * COUNT + place[None, :]
    tl.store(grad_bias + at, of_bias, mask=inside)


def _constants(qkv: Tensor, heads: int, side: int, shift: int) -> dict[str, Any]:
    channels, single = qkv.shape[-1] // (3 * heads), qkv.dtype == torch.float32
    return {
        "SIDE": side,
        "SHIFT": shift,
        "COUNT": side * side,
        "ROOM": max(16, triton.next_power_of_2(side * side)),
        "CHANNELS": channels,
        "WIDE": max(16, triton.next_power_of_2(channels)),
        "PRECISION": "ieee" if single else "tf32",  # of float32 alone
        "num_warps": 8 if single else 4,  # so that the backward pass has registers enough
        "num_stages": 1,  # and less shared memory than the smaller GPUs have
    }


_NUMBERS = "int height, int width, int side, int shift, float scale"


@torch.library.custom_op(
    "dckd_basicsr::window_attention", mutates_args=(), schema=f"(Tensor qkv, Tensor bias, {_NUMBERS}) -> Tensor"
)
def window_attention(qkv: Tensor, bias: Tensor, height: int, width: int, side: int, shift: int, scale: float) -> Tensor:
    """Attend in windows of a map.

    Args:
        qkv: (B, H W, 3 C), queries, keys and values, each with its heads one after another; float32, bfloat16 or
            float16.
        bias: of relative positions, (heads, N, N) in float32, with N = ``side**2``.
        height: of the map, a multiple of ``side``.
        width: of the map, the same.
        side: of a window.
        shift: of the windows, from 0 to ``side`` - 1.
        scale: of the products.

    Returns:
        (B, H W, C), of the type of ``qkv``; it has gradients to ``qkv`` and ``bias``.
    """
    qkv, bias, heads = qkv.contiguous(), bias.contiguous(), len(bias)
    out = qkv.new_empty(*qkv.shape[:-1], qkv.shape[-1] // 3)
    grid = (len(qkv) * (height // side) * (width // side), heads)
    _forward_kernel[grid](qkv, bias, out, height, width, heads, scale, **_constants(qkv, heads, side, shift))
    return out


@torch.library.custom_op(
    "dckd_basicsr::window_attention_backward",
    mutates_args=(),
    schema=f"(Tensor grad, Tensor qkv, Tensor bias, {_NUMBERS}) -> (Tensor, Tensor)",
)
def _backward_of(
    grad: Tensor, qkv: Tensor, bias: Tensor, height: int, width: int, side: int, shift: int, scale: float
) -> tuple[Tensor, Tensor]:
    grad, qkv, bias, heads = grad.contiguous(), qkv.contiguous(), bias.contiguous(), len(bias)
    windows = len(qkv) * (height // side) * (width // side)
    each = triton.cdiv(windows, _PARTS)
    parts = triton.cdiv(windows, each)
    grad_qkv, grad_bias = torch.empty_like(qkv), bias.new_empty(parts, *bias.shape)
    _backward_kernel[(parts, heads)](
        *(qkv, bias, grad, grad_qkv, grad_bias, height, width, heads, scale, windows, each),
        **_constants(qkv, heads, side, shift),
    )
    return grad_qkv, grad_bias.sum(0)


@window_attention.register_fake
def _(qkv: Tensor, bias: Tensor, height: int, width: int, side: int, shift: int, scale: float) -> Tensor:
    return qkv.new_empty(*qkv.shape[:-1], qkv.shape[-1] // 3)


@_backward_of.register_fake
def _(
    grad: Tensor, qkv: Tensor, bias: Tensor, height: int, width: int, side: int, shift: int, scale: float
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(qkv, memory_format=torch.contiguous_format), torch.empty_like(bias)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.numbers = inputs[2:]


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    of_qkv, of_bias = _backward_of(grad, *ctx.saved_tensors, *ctx.numbers)
    return of_qkv, of_bias, None, None, None, None, None


window_attention.register_autograd(_backward, setup_context=_keep)
