"""A network's keys, shapes and facts without its values: what a check can ask of it before anything is built."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn
from torch.overrides import TorchFunctionMode

__all__ = ["network_class", "outline"]


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


def outline(options: Mapping[str, Any]) -> nn.Module:
    """Build the network that an option block names, without memory or time for its parameters.

    Its ``state_dict()`` has the right names and shapes, its attributes what the constructor set; it cannot run.

    Args:
        options: constructor arguments and ``type``, as for BasicSR's ``build_network``; not changed, nothing is logged.

    Raises:
        KeyError: no network of that name is registered.
        Exception: whatever the constructor raises for these arguments.
    """
    arguments = {key: value for key, value in options.items() if key != "type"}
    with _NoValues(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of loading values into the outline, and what the real building says again
        return network_class(options["type"])(**arguments)


def network_class(name: str) -> Callable[..., nn.Module]:
    """Return the registered class of a network, without or with the suffix of BasicSR's own.

    Raises:
        KeyError: there is none.
    """
    # As ARCH_REGISTRY.get, which prints a line when it finds the name with its suffix only.
    known = dict(iter(ARCH_REGISTRY))
    return known[name] if name in known else known[f"{name}_basicsr"]
