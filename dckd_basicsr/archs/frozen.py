"""Frozen networks inside a network that trains: none of its parts, and still on its device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import Tensor, nn

__all__ = ["FrozenNetworks", "all_modules", "frozen_in", "holds_frozen"]


class FrozenNetworks:
    """Networks that a module runs and that are none of its parts.

    As an attribute of a module they are neither among its parameters and buffers nor in its ``state_dict``, follow no
    ``train()``, and are shared by copies of the module (moving averages, history models), not copied: a move of one
    copy moves them for all. The module moves them in its ``_apply``.

    Args:
        networks: frozen in place, in evaluation mode.
    """

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        self._networks = [net.eval().requires_grad_(False) for net in networks]

    def __len__(self) -> int:
        return len(self._networks)

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self._networks)

    def __deepcopy__(self, memo: Any) -> FrozenNetworks:
        return self

    def move(self, fn: Callable[[Tensor], Tensor], recurse: bool) -> None:
        """Move or convert them, as the module's ``_apply`` does it with its parts."""
        for net in self:
            net._apply(fn, recurse)


def _held(module: nn.Module) -> Iterator[nn.Module]:
    for value in vars(module).values():
        if isinstance(value, FrozenNetworks):
            yield from value


def all_modules(net: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules of a network, and those of the frozen networks that they hold: all that run."""
    for module in net.modules():
        yield module
        for frozen in _held(module):
            yield from all_modules(frozen)


def frozen_in(net: nn.Module) -> Iterator[nn.Module]:
    """Yield the frozen networks that a network holds, but not those that these hold in turn."""
    for module in net.modules():
        yield from _held(module)


def holds_frozen(net: nn.Module) -> bool:
    """Tell whether a network holds frozen ones."""
    return any(True for module in net.modules() for _ in _held(module))
