"""Constructing networks whose parameters have no values: what a check can look at before anything is built."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn
from torch.overrides import TorchFunctionMode

__all__ = ["network_class", "without_parameters"]


class _NoValues(TorchFunctionMode):
    """Put uninitialized tensors, which layers make their parameters of, on the meta device.

    Making *everything* on the meta device, as ``torch.device("meta")`` does, fails where a constructor reads numbers
    out of small tensors: SwinIR takes its drop path rates from ``torch.linspace``.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        if func is torch.empty and options.get("device") is None:
            options["device"] = "meta"
        return func(*args, **options)


@contextmanager
def without_parameters() -> Iterator[None]:
    """Let networks be constructed inside the block without memory or time for their parameters.

    Their ``state_dict()`` has the right names and shapes, their attributes what the constructor set; they cannot run.
    """
    with _NoValues(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of loading values into the outline, and what the real building says again
        yield


def network_class(name: str) -> Callable[..., nn.Module]:
    """Return the class of a network: a registered one, without or with the suffix of BasicSR's own, or spandrel's.

    Raises:
        KeyError: there is none.
    """
    if name.startswith("spandrel:"):
        from .networks.spandrel_arch import spandrel_network

        return spandrel_network(name)
    # As ARCH_REGISTRY.get, which prints a line when it finds the name with its suffix only.
    known = dict(iter(ARCH_REGISTRY))
    return known[name] if name in known else known[f"{name}_basicsr"]
