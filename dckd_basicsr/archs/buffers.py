"""What networks hold beside their parameters: which buffers can be written, and copies of a network that follow it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["follow", "writable"]


def writable(tensor: Tensor) -> bool:
    """Tell whether PyTorch writes into a tensor: not into an expanded one, which shares memory with itself."""
    return all(stride or size < 2 for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


@torch.no_grad()
def follow(net: nn.Module, source: nn.Module, weight: float) -> None:
    """Move a copy's parameters towards those of its source in one multi-tensor operation; buffers are copied.

    Args:
        net: the copy, changed in place; expanded buffers are constants and stay.
        source: a network with the same names.
        weight: how far, from 0 to 1.
    """
    theirs, mine = dict(source.named_parameters()), dict(net.named_parameters())
    torch._foreach_lerp_(list(mine.values()), [theirs[name].detach() for name in mine], weight)
    buffers = dict(source.named_buffers())
    for name, buffer in net.named_buffers():
        if writable(buffer):
            buffer.copy_(buffers[name])
