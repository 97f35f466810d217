"""Losses and gradients that are not finite: the step is left out, the batch kept, and the run stopped if it goes on."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..errors import TrainingDiverged
from ..weight_files import save_state

__all__ = ["DivergenceGuard", "DivergenceSettings", "gradient_norm"]

_LOG = logging.getLogger("basicsr")
_NORM = "gradient norm"
_SCALE = "loss scale"


@dataclass(frozen=True)
class DivergenceSettings:
    """The block ``train.divergence``.

    Attributes:
        check: look at losses and gradients in every iteration.
        max_skipped: iterations with non-finite values that a run may leave out within a window; with one more it stops.
        window: iterations in which these are counted. A few bad images, met once an epoch, stop no long run; a student
            that diverges fails in one step after the other.
        save_batch: keep the batches of these steps.
    """

    check: bool = True
    max_skipped: int = 5
    window: int = 1000
    save_batch: bool = True

    def __post_init__(self) -> None:
        if self.max_skipped < 0:
            raise ValueError(f"max_skipped must be at least 0, got {self.max_skipped}")
        if self.window < 1:
            raise ValueError(f"window must be at least 1 iteration, got {self.window}")


@dataclass(frozen=True)
class _Report:
    """One iteration's values on their way to the host, with what would be kept of it."""

    iteration: int
    names: tuple[str, ...]
    values: Tensor
    arrived: torch.cuda.Event | None
    batch: Mapping[str, Tensor]

    def is_here(self) -> bool:
        return self.arrived is None or self.arrived.query()

    def wait(self) -> None:
        if self.arrived is not None:
            self.arrived.synchronize()


class DivergenceGuard:
    """Takes optimizer steps only with finite gradients.

    On the CPU and with optimizers that cannot skip by themselves, the gradient norm is read before each step. A fused
    optimizer on a GPU skips on the device instead, and the values are copied to the host without waiting for them; a
    skipped step is then noticed a few iterations later, and too many of them when the log prints, or a checkpoint or
    validation is due.

    Args:
        settings: what to do.
        folder: where batches are kept.
        rank: of this process.
    """

    def __init__(self, settings: DivergenceSettings, folder: Path, rank: int = 0) -> None:
        self.settings = settings
        self.folder = folder
        self.rank = rank
        self._skipped_at: list[int] = []
        self._reports: deque[_Report] = deque()
        self._too_many = ""

    def step(
        self,
        optimizer: Optimizer,
        iteration: int,
        losses: Mapping[str, Tensor],
        norm: Tensor,
        batch: Mapping[str, Tensor],
        scale: Tensor | None = None,
    ) -> None:
        """Take or skip one optimizer step.

        Args:
            optimizer: gradients are in place, averaged over processes.
            iteration: for messages.
            losses: scalars by name, of this process.
            norm: of the averaged gradient, the same on all processes, so that all skip together.
            batch: tensors to keep if the step is skipped.
            scale: by which the loss was multiplied for float16, the same on all processes; while it is above 1,
                gradients that are not finite are taken for its overflow, which lowers it, and for no divergence.

        Raises:
            TrainingDiverged: more than ``max_skipped`` steps were left out within the window.
        """
        scalars = {**losses, _NORM: norm} if scale is None else {**losses, _NORM: norm, _SCALE: scale}
        values = torch.stack([scalar.detach().float() for scalar in scalars.values()])
        report = self._report(iteration, tuple(scalars), values, batch)
        if report.arrived is None or not _skips_by_itself(optimizer):
            report.wait()
            if self._is_sound(report):
                optimizer.step()
            self._raise_if_too_many()
            return
        optimizer.found_inf = (~norm.isfinite()).float()  # type: ignore[attr-defined]
        optimizer.step()
        self._reports.append(report)
        while self._reports and self._reports[0].is_here():
            self._is_sound(self._reports.popleft())

    @property
    def skipped(self) -> int:
        """In how many iterations steps were left out within the window before the last of them."""
        return len(self._skipped_at)

    def training_state(self) -> list[int]:
        """What a resumed run needs: the iterations of the steps that were left out within the window."""
        return list(self._skipped_at)

    def load_training_state(self, state: list[int] | int) -> None:
        """Restore what :meth:`training_state` gave; version 0.1 kept a number alone, of which nothing is due."""
        self._skipped_at = [] if isinstance(state, int) else [int(iteration) for iteration in state]

    def settle(self) -> None:
        """Wait for all values that are on their way. Raises as :meth:`step` does."""
        while self._reports:
            report = self._reports.popleft()
            report.wait()
            self._is_sound(report)
        self._raise_if_too_many()

    def _report(self, iteration: int, names: tuple[str, ...], values: Tensor, batch: Mapping[str, Tensor]) -> _Report:
        kept = batch if self.settings.save_batch else {}
        if values.device.type != "cuda":
            return _Report(iteration, names, values, None, kept)
        host = torch.empty(values.shape, pin_memory=True)
        host.copy_(values, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        return _Report(iteration, names, host, arrived, kept)

    def _is_sound(self, report: _Report) -> bool:
        """Tell whether a step's gradients were finite; name, keep and count the others."""
        values = dict(zip(report.names, report.values.tolist()))
        if math.isfinite(values[_NORM]):
            return True
        bad = ", ".join(f"{name} is {value}" for name, value in values.items() if not math.isfinite(value))
        if values.get(_SCALE, 0.0) > 1:  # not by the losses, which are this process's alone: all must count alike
            _LOG.info("iteration %d: %s at loss scale %g, which is halved", report.iteration, bad, values[_SCALE])
            return False
        window, most = self.settings.window, self.settings.max_skipped
        counted = report.iteration in self._skipped_at[-1:]  # by another optimizer: one bad batch counts once
        self._skipped_at = [i for i in self._skipped_at if i > report.iteration - window]
        if not counted:
            self._skipped_at.append(report.iteration)
        where = "" if counted else self._keep(report, values)
        message = f"iteration {report.iteration}: {bad}; the step was left out{where}"
        if self.skipped <= most:
            _LOG.warning("%s (%d of at most %d within %d iterations)", message, self.skipped, most, window)
            return False
        self._too_many = self._too_many or (
            f"{message}. That makes {self.skipped} within {window} iterations, and train.divergence.max_skipped is "
            f"{most}. Lower the learning rate, set train.clip_grad_norm, or look at that batch; the checkpoints so far "
            "are sound"
        )
        return False

    def _raise_if_too_many(self) -> None:
        """Where all processes come by: values reach their hosts at different times."""
        if self._too_many:
            raise TrainingDiverged(self._too_many)

    def _keep(self, report: _Report, values: Mapping[str, float]) -> str:
        if not report.batch:
            return ""
        path = self.folder / f"iteration_{report.iteration}_rank_{self.rank}.pth"
        batch = {name: tensor.detach().cpu() for name, tensor in report.batch.items()}
        save_state({"iteration": report.iteration, "values": dict(values), **batch}, path)
        return f" and its batch kept in '{path}'"


def _skips_by_itself(optimizer: Optimizer) -> bool:
    """Whether every group is fused, and has state: a first step that is skipped leaves fused momentum unset."""
    fused = all(group.get("fused") for group in optimizer.param_groups)
    return fused and bool(optimizer.state) and getattr(optimizer, "_step_supports_amp_scaling", False)


def gradient_norm(parameters: Iterable[Tensor]) -> Tensor:
    """Return the 2-norm over all gradients as a scalar on their device, in two multi-tensor operations."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    return torch.stack(torch._foreach_norm(gradients)).norm()


def non_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of floating tensors that hold NaN or infinity; reads from the device once."""
    names = [name for name, tensor in tensors.items() if tensor.is_floating_point()]
    if not names:
        return []
    sound = torch.stack([tensors[name].isfinite().all() for name in names]).tolist()
    return [name for name, is_sound in zip(names, sound) if not is_sound]
