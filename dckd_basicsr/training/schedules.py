"""Learning-rate schedules by name: BasicSR's, PyTorch's cosine, and Restormer's fixed-then-cosine."""

from __future__ import annotations

import inspect
import itertools
import logging
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from basicsr.models import lr_scheduler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from ..errors import ConfigError, near_miss

__all__ = ["SCHEDULES", "CosineAnnealingRestartCyclicLR", "build_schedule", "schedule_state"]

_LOG = logging.getLogger("basicsr")


class CosineAnnealingRestartCyclicLR(LRScheduler):
    """Cosine cycles, each with its own length, start and end (Zamir et al., CVPR 2022, training details).

    A cycle that ends where it starts is a constant: periods [92000, 208000], eta_mins [3e-4, 1e-6] at lr 3e-4 keep the
    rate for 92,000 iterations and then follow a cosine. The rate is a function of the iteration alone, so a resumed run
    needs nothing else.

    Args:
        optimizer: its ``lr`` is the start of a cycle of weight 1.
        periods: length of each cycle in iterations; after the last one the rate stays at its end.
        restart_weights: factor on ``lr`` at the start of each cycle.
        eta_mins: rate at the end of each cycle.
        last_epoch: iterations done so far, as in every PyTorch scheduler.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        periods: Sequence[int],
        restart_weights: Sequence[float] = (1.0,),
        eta_mins: Sequence[float] = (0.0,),
        last_epoch: int = -1,
    ) -> None:
        if not len(periods) == len(restart_weights) == len(eta_mins):
            raise ConfigError(
                "periods, restart_weights and eta_mins of CosineAnnealingRestartCyclicLR need one entry per cycle, got "
                f"{len(periods)}, {len(restart_weights)} and {len(eta_mins)}"
            )
        self.periods = list(periods)
        self.restart_weights = list(restart_weights)
        self.eta_mins = list(eta_mins)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Any]:
        ends = list(itertools.accumulate(self.periods))
        cycle = next((i for i, end in enumerate(ends) if self.last_epoch < end), len(ends) - 1)
        done = min(1.0, (self.last_epoch - (ends[cycle] - self.periods[cycle])) / self.periods[cycle])
        weight, low = self.restart_weights[cycle], self.eta_mins[cycle]
        share = 0.5 * (1.0 + math.cos(math.pi * done))
        return [low + (weight * base - low) * share for base in self.base_lrs]


SCHEDULES: dict[str, Callable[..., LRScheduler]] = {
    "MultiStepLR": lr_scheduler.MultiStepRestartLR,
    "MultiStepRestartLR": lr_scheduler.MultiStepRestartLR,
    "CosineAnnealingRestartLR": lr_scheduler.CosineAnnealingRestartLR,
    "CosineAnnealingLR": CosineAnnealingLR,
    "CosineAnnealingRestartCyclicLR": CosineAnnealingRestartCyclicLR,
}


def build_schedule(optimizer: Optimizer, options: Mapping[str, Any]) -> LRScheduler:
    """Build from a ``train.scheduler`` block, which stays as it is (the stock code pops ``type`` out of it)."""
    arguments = dict(options)
    name = arguments.pop("type")
    if name not in SCHEDULES:
        raise ConfigError(
            f"unknown scheduler '{name}' in train.scheduler{near_miss(name, SCHEDULES)} Known: {', '.join(SCHEDULES)}"
        )
    return SCHEDULES[name](optimizer, **arguments)


def schedule_state(options: Mapping[str, Any], saved: Mapping[str, Any], rates: Sequence[float]) -> Mapping[str, Any]:
    """Return the state with which a schedule goes on in a resumed run: the saved one, or that of changed options.

    A schedule is a function of the iteration and of the rates that it starts from, so one that was changed in either
    goes on as if the run had had it from the start; the log names what was changed in the schedule.

    Args:
        options: the block ``train.scheduler`` of the resumed run.
        saved: the schedule's state.
        rates: initial learning rate of each parameter group in the resumed run.
    """
    parameters = [torch.nn.Parameter(torch.zeros(())) for _ in rates]
    groups = [{"params": [p], "lr": rate} for p, rate in zip(parameters, rates, strict=True)]
    optimizer = torch.optim.SGD(groups, lr=0.0)
    schedule = build_schedule(optimizer, options)
    changes = list(_changes(schedule, saved, options))
    if not changes and list(saved["base_lrs"]) == list(rates):
        return saved
    for change in changes:
        _LOG.warning("%s; the rate goes on as if the run had had this schedule from the start", change)
    with warnings.catch_warnings():  # that no step is taken in between is meant
        warnings.simplefilter("ignore")
        for _ in range(int(saved["last_epoch"])):
            schedule.step()
    return schedule.state_dict()


def _changes(schedule: LRScheduler, saved: Mapping[str, Any], options: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the options say otherwise than a saved state."""
    given = [name for name in inspect.signature(type(schedule)).parameters if name in vars(schedule)]
    names = [name for name in given if name not in ("optimizer", "last_epoch", "verbose")]
    if not all(name in saved for name in names):
        yield f"train.scheduler.type was another when the run was saved and is {options['type']} now"
        return
    for name in names:
        before, now = _plain(saved[name]), _plain(vars(schedule)[name])
        if before != now:
            yield f"train.scheduler.{name} was {before} when the run was saved and is {now} now"


def _plain(value: Any) -> Any:
    if isinstance(value, Counter):
        return sorted(value.elements())
    return list(value) if isinstance(value, tuple) else value
