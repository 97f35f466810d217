"""Feature maps put into a network: what a module gives is replaced, and the network goes on with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...errors import ConfigError
from .positions import located

__all__ = ["Replacement"]


class Replacement:
    """A hook at a position of a network, which puts a given map there inside ``with replacement.by(features):``.

    Like the hooks of :class:`.FeatureMaps` it is set before the network is compiled, recorded or wrapped and stays for
    its life, outside of ``by`` it changes nothing, and a copy of the network has one of its own, which is never used.
    The network runs from its start; what it computes before the position only counts where a skip leads around it.

    Args:
        net: the bare network.
        position: see :func:`.located`. There must be such a module, and it gives a tensor, or takes one first.
        name: of the network, for messages.
    """

    def __init__(self, net: nn.Module, position: str, name: str) -> None:
        self._where = f"{name}: '{position}'"
        place = located(net, position)
        modules = dict(net.named_modules())
        steps = place.module.split(".")
        self._around = [modules[".".join(steps[:i])] for i in range(len(steps))]
        self._held = _Held()
        if place.before:
            modules[place.module].register_forward_pre_hook(partial(_put_before, self._held))
        else:
            modules[place.module].register_forward_hook(partial(_put, self._held))

    @contextmanager
    def by(self, features: Tensor) -> Iterator[None]:
        """Let the network go on with a copy of ``features``, in the type of what it replaces and with its gradient.

        Args:
            features: in the shape of what it replaces.

        Raises:
            ConfigError: the position lies inside a block whose activations are recomputed, since that would happen
                after the map has gone.
        """
        if any(getattr(module.forward, "func", None) is checkpoint for module in self._around):
            raise ConfigError(
                f"{self._where} lies inside a block whose activations are computed again in the backward pass, without "
                "what is put there; name whole blocks, or set train.runtime.recompute to false"
            )
        self._held.features = features
        try:
            yield
        finally:
            self._held.features = None  # it must not hold a step's graph until the next one


class _Held:
    """What a hook puts in; None leaves what is there."""

    def __init__(self) -> None:
        self.features: Tensor | None = None

    def __deepcopy__(self, memo: Any) -> _Held:
        return _Held()  # a map with a graph cannot be copied


def _put(held: _Held, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    # a copy: many networks write over what a module gave
    return output if held.features is None else held.features.to(output.dtype, copy=True)


def _put_before(held: _Held, module: nn.Module, inputs: Any) -> Any:
    return inputs if held.features is None else (held.features.to(inputs[0].dtype, copy=True), *inputs[1:])
