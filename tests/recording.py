"""A stand-in for a CUDA graph on the CPU: the same rules, so that what it accepts has a chance on a GPU.

While recording, every tensor operation is noted with the memory it reads and writes; a replay runs the same operations
on the same memory, without Python in between. As on a GPU, reading a value on the host is an error, and so is drawing
from a generator that nobody announced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READS = ("aten._local_scalar_dense.default", "aten.is_nonzero.default", "aten.equal.default", "aten.nonzero.default")


class _Recorder(TorchDispatchMode):
    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.generators = generators
        self.operations: list[tuple[Any, tuple, dict, list[Tensor]]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if str(func) in READS:
            raise RuntimeError(f"operation not permitted while recording: {func}")
        generator = kwargs.get("generator")
        if generator is not None and generator._cdata not in [g._cdata for g in self.generators]:
            raise RuntimeError(f"{func} draws from a generator that was not announced")
        result = func(*args, **kwargs)
        inputs = {x.untyped_storage().data_ptr() for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        outputs = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        fresh = [x for x in outputs if x.untyped_storage().data_ptr() not in inputs]
        self.operations.append((func, args, kwargs, fresh if len(fresh) == len(outputs) else []))
        return result

    def replay(self) -> None:
        with torch.no_grad():
            for func, args, kwargs, fresh in self.operations:
                again = [x for x in tree_leaves(func(*args, **kwargs)) if isinstance(x, Tensor)]
                for old, new in zip(fresh, again):
                    old.copy_(new)


def record_operations(run: Callable[[], Any], generators: Sequence[torch.Generator]) -> tuple[Any, Callable[[], None]]:
    """Take the place of ``record_cuda_graph``. The recorded run computes, which on a GPU it does not."""
    with _Recorder(generators) as recorder:
        result = run()
    return result, recorder.replay
