"""The history model: the student's own past, which makes the negatives (Zhou et al., AAAI 2025, section 3.2)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..archs.buffers import follow
from .settings import HistorySettings

__all__ = ["HistoryModel"]


class HistoryModel(nn.Module):
    r"""A frozen copy of the student that follows it in steps.

    .. math:: \theta_{his} \leftarrow a\,\theta_{his} + (1 - a)\,\theta_{student}

    every ``s`` iterations, with ``s`` from a schedule. Buffers are copied, not averaged.

    Args:
        student: the bare network; it is copied, not kept.
        settings: decay and schedule.
    """

    def __init__(self, student: nn.Module, settings: HistorySettings | None = None) -> None:
        super().__init__()
        self.settings = settings or HistorySettings()
        self.net = copy.deepcopy(student).eval().requires_grad_(False)
        self.updates = 0
        """How many updates there have been; part of the training state."""

    def every(self, iteration: int) -> int:
        """Iterations between updates at ``iteration`` (counted from 1); the last entry of the schedule goes on."""
        for until, every in self.settings.schedule:
            if iteration <= until:
                return every
        return self.settings.schedule[-1][1]

    def is_due(self, iteration: int) -> bool:
        """Whether the schedule has an update after this iteration."""
        return iteration % self.every(iteration) == 0

    def update(self, source: nn.Module) -> None:
        """Move towards ``source`` (the student or its moving average), whatever the schedule says."""
        follow(self.net, source, 1.0 - self.settings.decay)
        self.updates += 1

    def train(self, mode: bool = True) -> HistoryModel:
        """Stay in evaluation mode: the history model only looks at images."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_state(self) -> dict[str, Any]:
        """What a resumed run needs: parameters, buffers and the number of updates, on the CPU."""
        return {"net": {k: v.detach().cpu() for k, v in self.net.state_dict().items()}, "updates": self.updates}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`training_state` gave."""
        self.net.load_state_dict(state["net"])
        self.updates = int(state["updates"])
