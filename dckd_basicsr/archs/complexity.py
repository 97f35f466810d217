"""The multiply-adds of a network or a step, counted without computing anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from .valueless import without_values

__all__ = ["Count", "counting", "multiply_adds"]


class Count:
    """What has been counted so far."""

    def __init__(self, counter: FlopCounterMode) -> None:
        self._counter = counter

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds: half of the floating-point operations that PyTorch's counter counts."""
        flops = self._counter.get_total_flops()
        assert flops % 2 == 0
        return flops // 2


@contextmanager
def counting() -> Iterator[Count]:
    """Count what runs inside the block: convolutions, linear layers and matrix products, attention's included.

    Backward passes count too, if they run inside. Biases, norms, activations, pooling, interpolation and other
    element-wise work are not counted.
    """
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution_backward: _backward})
    # The counter knows attention's matrix products and its GPU kernels, but takes its CPU kernel for nothing.
    with sdpa_kernel(SDPBackend.MATH), counter:
        yield Count(counter)


def _backward(
    gradient: Sequence[int],
    x: Sequence[int],
    weight: Sequence[int],
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
    wanted: Sequence[bool],
    **others: Any,
) -> int:
    """Return the operations of a convolution's backward pass: those of the forward pass, for input and for weight.

    PyTorch's own formula takes the gradient of a grouped convolution's weight for that of a full one, which is
    ``groups`` times as many: in a depthwise convolution as many as it has channels.
    """
    positions = prod((x if transposed else gradient)[2:])
    return 2 * x[0] * positions * prod(weight) * (bool(wanted[0]) + bool(wanted[1]))


def multiply_adds(net: nn.Module, shape: tuple[int, ...], run: Callable[[Any, Any], Any] | None = None) -> int:
    """Count ``net(x)``, or ``run(net, x)``, for an ``x`` of this shape, as :func:`counting` counts."""
    with without_values(net), counting() as count:
        x = torch.empty(shape, device="meta")
        _ = net(x) if run is None else run(net, x)
    return count.multiply_adds
