"""The method's own random numbers, apart from the global state, so that they can be saved, resumed and compared."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch

__all__ = ["Generators"]

_LOG = logging.getLogger("basicsr")


class Generators:
    """A host generator for decisions and one per device for noise.

    Decisions (sizes, factors, modes) must be Python numbers; drawing them on the host costs no synchronisation.

    Args:
        seed: all generators follow from it. Different ranks pass different seeds.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._host = torch.Generator().manual_seed(seed)
        self._devices: dict[str, torch.Generator] = {}

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * torch.rand((), generator=self._host, dtype=torch.float64).item()

    def integer(self, high: int) -> int:
        """An integer in [0, high)."""
        return int(torch.randint(high, (), generator=self._host).item())

    def on(self, device: torch.device | str) -> torch.Generator:
        """The generator for tensors on ``device``; a stream of its own, also on the CPU."""
        key = torch.device(device).type
        if key not in self._devices:
            self._devices[key] = torch.Generator(device=device).manual_seed(self.seed + 1)
        return self._devices[key]

    def of_devices(self) -> list[torch.Generator]:
        """The generators of devices that have been drawn from."""
        return list(self._devices.values())

    def training_state(self) -> dict[str, Any]:
        """States of all generators, for the training state."""
        states = {key: generator.get_state() for key, generator in self._devices.items()}
        return {"seed": self.seed, "host": self._host.get_state(), "devices": states}

    def load_training_state(self, state: Mapping[str, Any], device: torch.device | str) -> None:
        """Restore what :meth:`training_state` gave.

        A run that moved from GPU to CPU or back has no state for the new device: its stream restarts from the seed
        with a warning, since the noise cannot be the same there anyway.
        """
        self.seed = int(state["seed"])  # a stream nobody has drawn from yet still follows from it
        self._host.set_state(state["host"])
        kind = torch.device(device).type
        for each in list(self._devices):  # in place: a recorded step draws from the generators it was recorded with
            if each != kind:
                del self._devices[each]
        if kind in state["devices"]:
            self.on(device).set_state(state["devices"][kind])
            return
        if kind in self._devices:
            self._devices[kind].manual_seed(self.seed + 1)
        if state["devices"]:
            _LOG.warning("no random state for %s in the training state: its noise stream starts from the seed", kind)
