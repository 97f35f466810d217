"""The memory that a forward pass needs beside the weights."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..archs.valueless import without_values

__all__ = ["allocated_on_gpu", "peak_of_tensors"]


class _Alive(TorchDispatchMode):
    """Adds up the bytes of the tensors that operations return, for as long as anything refers to them."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.seen: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(found):
            if isinstance(leaf, Tensor):
                self.take(leaf)
        return found

    def take(self, tensor: Tensor) -> None:
        """Count a tensor's memory once, whatever views of it there are."""
        storage = tensor.untyped_storage()
        if storage in self.seen:
            return
        self.seen.add(storage)
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, size)

    def _gone(self, size: int) -> None:
        self.now -= size


def peak_of_tensors(net: nn.Module, shape: tuple[int, ...]) -> int:
    """Return the most bytes of tensors that are alive at once while ``net(x)`` runs without gradients.

    Nothing is computed: tensors have shapes and no values. The input counts, weights do not. What a kernel takes for
    itself (an unfolded convolution) is not in it, nor what an allocator keeps.

    Args:
        net: in evaluation mode; it stays as it was.
        shape: of ``x``, which is float32.
    """
    with torch.no_grad(), without_values(net), _Alive() as alive:
        x = torch.empty(shape, device="meta")
        for buffer in (*net.parameters(), *net.buffers()):
            alive.seen.add(buffer.untyped_storage())  # an operation may return a view of one
        _ = net(x)
    return alive.peak


@torch.inference_mode()
def allocated_on_gpu(net: nn.Module, x: Tensor) -> int:
    """Return the most bytes that PyTorch's CUDA allocator handed out at once while ``net(x)`` ran, less the weights.

    Args:
        net: in evaluation mode, on the GPU of ``x``; run once before, so that nothing is counted that happens once.
        x: its input, which counts.
    """
    torch.cuda.synchronize(x.device)
    torch.cuda.reset_peak_memory_stats(x.device)
    before = torch.cuda.memory_allocated(x.device)
    _ = net(x)
    torch.cuda.synchronize(x.device)
    return torch.cuda.max_memory_allocated(x.device) - before + x.numel() * x.element_size()
