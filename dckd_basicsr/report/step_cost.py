"""What a training step costs: its multiply-adds, and how many of them go into networks that do not train."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..archs import facts_of, outline
from ..archs.complexity import Count, counting, multiply_adds
from ..archs.frozen import frozen_in
from ..distill import Distiller
from .valueless_step import ValuelessStep, valueless_step, without_files

__all__ = ["StepCost", "counted", "image_cost", "step_cost"]

_LOG = logging.getLogger("basicsr")


@dataclass(frozen=True)
class StepCost:
    """Multiply-adds of one LQ sample in a training step.

    Attributes:
        multiply_adds: forward and backward pass of everything; no optimizer, no moving average.
        teacher: of these, the teachers' forward passes.
        frozen: of these, the forward passes of all frozen networks: teachers, history models, encoder, VGG. The
            gradient that passes back through them to the student's image is not in it.
    """

    multiply_adds: float
    teacher: float
    frozen: float

    @property
    def teacher_share(self) -> float:
        """The teachers' part, in [0, 1]."""
        return self.teacher / self.multiply_adds

    @property
    def frozen_share(self) -> float:
        """The part of all frozen networks, in [0, 1]."""
        return self.frozen / self.multiply_adds


def step_cost(opt: Mapping[str, Any], batch: int | None = None, gt_size: int | None = None) -> StepCost | None:
    """Count the first step of a run, without computing anything and without reading weights.

    Args:
        opt: a training's options, as ``resolve_options`` or ``parse_options`` give them.
        batch: samples; those of the run by default. What a sample costs depends on it only for terms that compare
            the images of a batch.
        gt_size: side of GT patches in px; that of the run's first by default.

    Returns:
        The count, as :func:`.multiply_adds` counts; None where it cannot be made, which is logged at level debug: a
        model of somebody else's, or a network or term that reads values.
    """
    try:
        # SwinIR's constructor draws numbers even here; the run's streams stay where they are.
        with torch.random.fork_rng(devices=()), valueless_step(opt, batch, gt_size) as step:
            return counted(step)
    except Exception as error:  # whatever a user's own network or term does
        _LOG.debug("The multiply-adds of a step cannot be counted: %s: %s", type(error).__name__, error)
        return None


def image_cost(block: Mapping[str, Any], scale: int, output: tuple[int, int] = (720, 1280)) -> int | None:
    """Count the multiply-adds of a network for one image.

    Args:
        block: its type and arguments.
        scale: output size / input size.
        output: height and width of the output. Where these are no multiple of the scale, the input is rounded up; it
            is padded to what the network takes, as in validation.

    Returns:
        The count, as :func:`.multiply_adds` counts; None where it cannot be made, which is logged at level debug.
    """
    try:
        with torch.random.fork_rng(devices=()):
            net = outline(without_files(block), scale=scale).net
        facts = facts_of(net, block, scale)
        height, width = facts.padded(*(-(-side // scale) for side in output))
        return multiply_adds(net.eval(), (1, facts.input_channels or 3, height, width))
    except Exception as error:  # whatever a user's own network does
        _LOG.debug("The multiply-adds of an image cannot be counted: %s: %s", type(error).__name__, error)
        return None


def counted(step: ValuelessStep) -> StepCost:
    """Run a step, and count."""
    with counting() as count:
        meter, sources = _Meter(count), step.distiller.sources
        for net in _teachers(step.distiller):
            meter.watch(net, "forward", "teacher")
        if sources.encoder is not None:
            meter.watch(sources.encoder, "forward", "other")
            meter.watch(sources.encoder, "reference", "other")
        if sources.history is not None:
            meter.watch(sources.history, "forward", "other")
        for net in _frozen(step.distiller.terms):
            meter.watch(net, "forward", "other")
        step()
    samples = len(step.lq)
    teacher, other = meter.found["teacher"] / samples, meter.found["other"] / samples
    return StepCost(count.multiply_adds / samples, teacher, teacher + other)


class _Meter:
    """Adds up what is counted while functions run; one that runs inside another counts once, for the outer one."""

    def __init__(self, count: Count) -> None:
        self.count, self.found, self.busy = count, {"teacher": 0, "other": 0}, False

    def watch(self, owner: nn.Module, name: str, key: str) -> None:
        """Put a function in the place of a method of ``owner``, for good, that adds to ``found[key]``."""
        method = getattr(owner, name)

        def run(*args: Any, **kwargs: Any) -> Any:
            if self.busy:
                return method(*args, **kwargs)
            self.busy, before = True, self.count.multiply_adds
            try:
                return method(*args, **kwargs)
            finally:
                self.busy = False
                self.found[key] += self.count.multiply_adds - before

        setattr(owner, name, run)


def _teachers(distiller: Distiller) -> Iterator[nn.Module]:
    """Yield the teachers, those inside the student among them."""
    yield from distiller.sources.teachers.values()
    yield from frozen_in(distiller.student)


def _frozen(terms: nn.ModuleDict) -> Iterator[nn.Module]:
    """Yield the outermost networks inside terms of which nothing trains: a term itself also does other things."""
    for term in terms.values():
        yield from _outermost(term)


def _outermost(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        parameters = list(child.parameters())
        runs = type(child).forward is not nn.Module.forward
        if runs and parameters and not any(p.requires_grad for p in parameters):
            yield child
        else:
            yield from _outermost(child)
