"""The multiply-adds of a network, counted without computing anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from .valueless import without_values

__all__ = ["multiply_adds"]


def multiply_adds(net: nn.Module, shape: tuple[int, ...], run: Callable[[Any, Any], Any] | None = None) -> int:
    """Count the multiply-adds of ``net(x)``, or of ``run(net, x)``, for an ``x`` of this shape.

    Convolutions, linear layers and matrix products, attention's included; half of what PyTorch's FLOP counter counts.
    """
    counter = FlopCounterMode(display=False)
    # The counter knows attention's matrix products and its GPU kernels, but takes its CPU kernel for nothing.
    math = sdpa_kernel(SDPBackend.MATH)
    with without_values(net), math, counter:
        x = torch.empty(shape, device="meta")
        _ = net(x) if run is None else run(net, x)
    flops = counter.get_total_flops()
    assert flops % 2 == 0
    return flops // 2
