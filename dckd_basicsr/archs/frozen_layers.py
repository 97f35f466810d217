"""Layers of a frozen network through which gradients pass, without what only the gradients of weights need.

PyTorch's convolution keeps its input for the backward pass also where the weights do not train, and GroupNorm followed
by swish keeps three images where one is enough. In an encoder whose weights are frozen that is most of its memory.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["keep_no_inputs", "norm_and_swish", "under_autocast"]

_WITH_AUTOCAST = [kind for kind in ("cpu", "cuda", "mps", "xpu") if torch.amp.is_autocast_available(kind)]
"""PyTorch fails when it is asked about others: meta, and Apple's GPUs before 2.5."""


def under_autocast(x: Tensor) -> bool:
    """Tell whether autocast is on for the device of a tensor, whatever device that is."""
    return x.device.type in _WITH_AUTOCAST and torch.is_autocast_enabled(x.device.type)


class _Convolution(torch.autograd.Function):
    """A convolution that keeps its weights for the backward pass, and of its input the shape."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, settings: tuple[Any, ...]) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.settings = x.shape, settings
        return torch.convolution(x, weight, bias, *settings)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (weight,) = gradients, ctx.saved_tensors
        shape_alone = gradient.new_empty(1).expand(ctx.shape)
        wanted = [True, False, False]
        given, _, _ = torch.ops.aten.convolution_backward(gradient, shape_alone, weight, None, *ctx.settings, wanted)
        return given, None, None, None


def keep_no_inputs(net: nn.Module) -> int:
    """Let the frozen convolutions in ``net`` keep no input for the backward pass; changes ``net``.

    Values and gradients are the same to the last bit. Nothing changes where no gradient is asked for, nor under
    autocast, which does not reach into functions of one's own.

    Returns:
        The number of convolutions. Those that train, or pad by name or otherwise than with zeros, stay as they are.
    """
    count = 0
    for module in net.modules():
        frozen = not any(p.requires_grad for p in module.parameters(recurse=False))
        named = isinstance(module, nn.Conv2d) and isinstance(module.padding, str)
        if type(module) is nn.Conv2d and frozen and module.padding_mode == "zeros" and not named:
            module.forward = partial(_convolve, module)  # type: ignore[method-assign]  # unlike a method, is pickled
            count += 1
    return count


def _convolve(layer: nn.Conv2d, x: Tensor) -> Tensor:
    wanted = torch.is_grad_enabled() and x.requires_grad and not under_autocast(x)
    if not wanted or any(p.requires_grad for p in layer.parameters()):
        return F.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)
    settings = (layer.stride, layer.padding, layer.dilation, False, (0, 0), layer.groups)
    result: Tensor = _Convolution.apply(x, layer.weight, layer.bias, settings)
    return result


def norm_and_swish(x: Tensor, norm: nn.GroupNorm) -> Tensor:
    """Return ``swish(norm(x))`` of a frozen GroupNorm, statistics in float32, of which ``x`` alone is kept.

    It is not the same to the last bit: mean and deviation of a group come from those of its channels, so that no memory
    layout has to be turned into another, and scale and shift are applied in one operation.

    Args:
        x: (B, C, H, W) in any floating type.
        norm: with weights, which get no gradient.
    """
    result: Tensor = _NormAndSwish.apply(x, norm.weight, norm.bias, norm.num_groups, norm.eps)
    return result


class _NormAndSwish(torch.autograd.Function):
    """Keeps its input and, of each group, mean and deviation; what lies between is computed again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        spread, mean = torch.var_mean(x.to(wide), (2, 3), correction=0)  # (B, C) each
        grouped = mean.unflatten(1, (groups, -1))
        mean = grouped.mean(2, keepdim=True)
        spread = (spread.unflatten(1, (groups, -1)) + (grouped - mean).square()).mean(2, keepdim=True)
        rate = (spread + eps).rsqrt()  # (B, groups, 1)
        ctx.save_for_backward(x, weight, bias, mean, rate)
        return F.silu(_normalised(x, weight, bias, mean, rate)[0]).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, rate = ctx.saved_tensors
        between, scale = _normalised(x, weight, bias, mean, rate)
        given = torch.ops.aten.silu_backward(gradients[0].to(rate.dtype), between)
        # The usual gradient of (x - mean) * rate * weight, whose sums over a group are taken channel by channel first.
        groups, count = mean.shape[1], x[0].numel() // mean.shape[1]
        sums = given.sum((2, 3)), (given * x).sum((2, 3))
        plain, timed = ((each * weight).unflatten(1, (groups, -1)).sum(2, keepdim=True) for each in sums)
        slope = (plain * mean - timed) * rate.pow(3) / count
        offset = -slope * mean - plain * rate / count
        width = (1, 1, weight.numel() // groups)
        other = torch.addcmul(_over_pixels(offset.repeat(width)), x, _over_pixels(slope.repeat(width)))
        return torch.addcmul(other, given, scale).to(x.dtype), None, None, None, None


def _normalised(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
    """Return the normalised images and the factor of each channel, (B, C, 1, 1), both as wide as ``rate``."""
    groups = mean.shape[1]
    scale = rate * weight.to(rate.dtype).view(groups, -1)
    shift = bias.to(rate.dtype).view(groups, -1) - mean * scale
    return torch.addcmul(_over_pixels(shift), x, _over_pixels(scale)), _over_pixels(scale)


def _over_pixels(values: Tensor) -> Tensor:
    """Return (B, groups, C / groups) as (B, C, 1, 1)."""
    return values.flatten(1)[..., None, None]
