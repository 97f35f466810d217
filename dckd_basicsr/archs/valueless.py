"""Running a built network without values: shapes come out, nothing is computed, and the network stays as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from .buffers import writable

__all__ = ["without_values"]


@contextmanager
def without_values(net: nn.Module) -> Iterator[None]:
    """Let ``net`` run on tensors that have shape, type and device, but no values, inside the block.

    Attributes and buffers are put back afterwards: BasicSR's EDSR, RCAN and SwinIR keep their ``mean`` on their input's
    device (``self.mean = self.mean.type_as(x)``), others keep masks, and would be left with ones that have no values.
    Buffers get back their values too: counters of one number (batch normalisation's) do count in there.
    """
    kept = [(module, dict(vars(module)), dict(module._buffers)) for module in net.modules()]
    values = [(buffer, buffer.clone()) for buffer in net.buffers() if writable(buffer)]
    try:
        with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
            yield
    finally:
        for module, attributes, buffers in kept:
            for store, before in ((vars(module), attributes), (module._buffers, buffers)):
                store.clear()
                store.update(before)
        with torch.no_grad():
            for buffer, value in values:
                buffer.copy_(value)
