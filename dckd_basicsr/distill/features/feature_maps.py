"""Feature maps by module path: what a module inside a network gives, taken while the network runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import ConfigError
from .positions import located

__all__ = ["FeatureMaps"]

_SHOWN = 8


class FeatureMaps:
    """Hooks on modules of a network, which keep their outputs inside ``with maps.taking() as taken:``.

    They stay for the network's life, also in its state of being compiled, recorded or wrapped: hooks that come later
    than compiled code are not seen by it. Copies of the network have hooks of their own, which keep nothing. What is
    kept is a copy, since many networks write over what a module gave (``ReLU(inplace=True)`` after it).

    Args:
        net: the bare network.
        paths: of modules, as ``named_modules`` has them, or what else :func:`.located` understands.
        name: of the network, for messages.

    Raises:
        ConfigError: there is no module at a path; names the nearest.
    """

    def __init__(self, net: nn.Module, paths: Collection[str], name: str) -> None:
        modules = {path: module for path, module in net.named_modules() if path}
        self.name = name
        self.paths = list(dict.fromkeys(paths))
        places = {path: located(net, path) for path in self.paths}
        for place in places.values():
            if place.module not in modules:
                near = _near(place.module, list(modules))
                raise ConfigError(f"{name} ({type(net).__name__}) has no module '{place.module}'{near}")
        self._kept = _Kept()
        for path, place in places.items():
            if place.before:
                modules[place.module].register_forward_pre_hook(partial(_keep_input, self._kept, path))
            else:
                modules[place.module].register_forward_hook(partial(_keep, self._kept, path))

    @contextmanager
    def taking(self) -> Iterator[dict[str, Tensor]]:
        """Keep the outputs of what runs inside; they are in the mapping, float32 and by path, when the block ends.

        Of a module that runs several times the last output counts.

        Raises:
            ConfigError: a module did not run, or gives no tensor.
        """
        taken: dict[str, Tensor] = {}
        self._kept.maps.clear()
        self._kept.open = True
        try:
            yield taken
        finally:
            self._kept.open = False
            found = dict(self._kept.maps)
            self._kept.maps.clear()  # it must not hold a step's graph until the next one
        for path in self.paths:
            if path not in found:
                raise ConfigError(f"{self.name}: the module '{path}' did not run, so it has no feature map")
            if not isinstance(found[path], Tensor):
                given = type(found[path]).__name__
                raise ConfigError(f"{self.name}: the module '{path}' gives a {given}, no feature map; name another one")
            taken[path] = found[path]


class _Kept:
    """What the hooks of one network keep; closed, they keep nothing."""

    def __init__(self) -> None:
        self.open = False
        self.maps: dict[str, Any] = {}

    def __deepcopy__(self, memo: Any) -> _Kept:
        return _Kept()  # a copied network's own; feature maps with a graph cannot be copied anyway


def _keep(kept: _Kept, path: str, module: nn.Module, inputs: Any, output: Any) -> None:
    if kept.open:
        kept.maps[path] = output.to(torch.float32, copy=True) if isinstance(output, Tensor) else output


def _keep_input(kept: _Kept, path: str, module: nn.Module, inputs: Any) -> None:
    _keep(kept, path, module, inputs, inputs[0] if inputs else None)


def _near(path: str, known: list[str]) -> str:
    near = get_close_matches(path, known, n=_SHOWN, cutoff=0.6)
    beside = [each for each in known if each.rpartition(".")[0] == path.rpartition(".")[0]]
    listed = near or (beside if len(beside) > 1 else [each for each in known if "." not in each])
    shown = ", ".join(listed[:_SHOWN]) + (", ..." if len(listed) > _SHOWN else "")
    return f"; {'near are' if near else 'there are'}: {shown}"
