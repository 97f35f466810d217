"""How a model's networks are arranged for speed, once all of them are built and loaded."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..archs.facts import facts_of
from ..archs.swin.arranging import arrange_windows
from ..archs.tf32 import tf32_allowed
from ..distill import Need, teacher_blocks
from ..distill.chunking import widest_layer
from ..distill.teachers import title_of
from ..training.compiling import compile_blocks, recompute
from ..training.runtime import arrange, arrange_encoder, region, set_float32
from ..training.step_runner import Record, RecordedStep, record_cuda_graph

if TYPE_CHECKING:
    from .restoration_model import RestorationModel

__all__ = ["arrange_model", "drawn_beforehand", "recorded_step"]

_LOG = logging.getLogger("basicsr")


def arrange_model(model: RestorationModel) -> None:
    """Lay out, round and compile the networks of a model as ``model.runtime`` says, and log what was chosen.

    Called after everything that copies the student has done so; names in state dicts stay.
    """
    settings, sources = model.runtime, model.sources
    precision = settings.precision
    set_float32(precision)
    _LOG.info(
        "Runtime: student in %s, frozen networks in %s, losses in fp32; %s",
        *(_named(each, model.device) for each in (precision.student, precision.frozen)),
        "step as a CUDA graph" if settings.cuda_graph else "step launched operation by operation",
    )
    _measure_widths(model)
    windows = _arranged_windows(model)
    if settings.recompute:
        _LOG.info("Runtime: activations of %d blocks of the student are computed again", recompute(model.net_g))
    history = None if sources.history is None else sources.history.net
    blocks = teacher_blocks(model.opt)
    teachers = {title_of(name): (net, blocks[name]) for name, net in sources.teachers.items()}
    student = model.opt["network_g"]
    for name, (net, options) in {
        "student": (model.net_g, student),
        "history model": (history, student),
        **teachers,
    }.items():
        if net is not None:
            done = arrange(net, settings, facts_of(net, options, model.scale))
            _LOG.info("Runtime: %s %s", name, ", ".join(filter(None, (windows[net], done))))
    if sources.encoder is not None:
        _LOG.info("Runtime: encoder %s", arrange_encoder(sources.encoder, settings))
    if settings.compile:
        compile_blocks(model.distiller)


def _arranged_windows(model: RestorationModel) -> dict[nn.Module, str]:
    """Prepare attention in windows in all networks; return by network what was chosen for the log."""
    sources, settings = model.sources, model.runtime
    frozen = [*sources.teachers.values(), *([] if sources.history is None else [sources.history.net])]
    chosen = {}
    for net in (*model.networks().values(), *frozen):
        precision = settings.precision.frozen if net in frozen else settings.precision.student
        chosen[net] = arrange_windows(
            net,
            frozen=net in frozen,
            compiled=settings.compile is True,
            attention=settings.attention,
            side=model.lq_side(),
            region=partial(region, precision, model.device),
        )
    if hasattr(model, "net_g_ema"):  # what validation runs stays exact
        arrange_windows(model.net_g_ema, frozen=True)
    return chosen


def recorded_step(model: RestorationModel, record: Record = record_cuda_graph) -> RecordedStep:
    """Return the step of a model for replaying; random numbers that decide about shapes are drawn outside of it."""

    def prepare(*images: Tensor) -> tuple[Tensor, ...]:
        return (*images, *drawn_beforehand(model, images[0]))

    return RecordedStep(model.compute, model.distiller, model.generators, model.device, record, prepare)


def drawn_beforehand(model: RestorationModel, lq: Tensor) -> tuple[Tensor, ...]:
    """Draw what a step with negatives needs, where random numbers decide about shapes; otherwise nothing.

    A recording cannot draw these. A step that is not recorded draws them here as well, before all else, so that both
    draw in one order.
    """
    if Need.TAPS not in model.distiller.needs or not model.sources.decides_shapes():
        return ()
    drawn = model.sources.draw(lq, model.distiller.needs)
    return tuple(each for each in drawn if each is not None)


def _named(one: str | None, device: torch.device) -> str:
    """Name a precision for the log; null is float32 as the process has it at present."""
    if one is not None:
        return one
    rounded = [name for name, allowed in zip(("products", "convolutions"), tf32_allowed(), strict=True) if allowed]
    return f"fp32 ({' and '.join(rounded)} in TF32)" if rounded and device.type == "cuda" else "fp32"


def _measure_widths(model: RestorationModel) -> None:
    """Tell the step how much of a CPU's cache an image takes in the frozen networks."""
    if model.device.type != "cpu":
        return
    sources, side = model.sources, model.lq_side()
    sources.widths = {name: widest_layer(net, side) for name, net in sources.teachers.items()}
    if sources.history is not None:
        sources.history_width = widest_layer(sources.history.net, side)
