"""Running a built network without values: shapes come out, nothing is computed, and the network stays as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from .frozen import all_modules

__all__ = ["without_values"]


@contextmanager
def without_values(net: nn.Module) -> Iterator[None]:
    """Let ``net`` run on tensors of the meta device, which have a shape and a type but no values, inside the block.

    Parameters and buffers are on that device too, and put back afterwards. So are attributes: BasicSR's EDSR, RCAN and
    SwinIR keep their ``mean`` on their input's device (``self.mean = self.mean.type_as(x)``), others keep masks.
    ``torch.autocast``, which knows no such device, does nothing on it. Fake tensors would need neither, but PyTorch's
    compiler, which takes a second to import.
    """
    autocast: Any = torch.autocast
    kept = [(m, dict(vars(m)), dict(m._parameters), dict(m._buffers)) for m in all_modules(net)]
    try:
        torch.autocast = lambda device, *args, **kwargs: (  # type: ignore[assignment, misc]
            nullcontext() if device == "meta" else autocast(device, *args, **kwargs)
        )
        with torch.no_grad():
            for module, _, parameters, buffers in kept:
                for name, parameter in parameters.items():
                    if parameter is not None:
                        module._parameters[name] = nn.Parameter(parameter.to("meta"), requires_grad=False)
                for name, buffer in buffers.items():
                    if buffer is not None:
                        module._buffers[name] = buffer.to("meta")
            yield
    finally:
        torch.autocast = autocast  # type: ignore[misc]
        for module, *before in kept:
            stores: tuple[dict[str, Any], ...] = (vars(module), module._parameters, module._buffers)
            for store, held in zip(stores, before):
                store.clear()
                store.update(held)
