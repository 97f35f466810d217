"""How a model's networks are arranged for speed, once all of them are built and loaded."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..archs.facts import facts_of
from ..archs.tf32 import tf32_allowed
from ..data.loaders import patch_stages
from ..distill import HistoryModel
from ..distill.chunking import widest_layer
from ..training.budget import shown, step_budget
from ..training.compiling import compile_blocks, recompute
from ..training.runtime import arrange, arrange_encoder, set_float32
from ..training.step_runner import Record, StaticStep, record_cuda_graph

if TYPE_CHECKING:
    from .restoration_model import RestorationModel

__all__ = ["accelerate", "draws_on_the_host", "recorded_step"]

_LOG = logging.getLogger("basicsr")


def accelerate(model: RestorationModel) -> None:
    """Lay out, round and compile the networks of a model as ``model.runtime`` says, and log what was chosen.

    Called after everything that copies the student has done so; names in state dicts stay.
    """
    settings, parts = model.runtime, model.parts
    _log_budget(model)
    precision = settings.precision
    set_float32(precision)
    _LOG.info(
        "Runtime: student in %s, frozen networks in %s, losses in fp32; %s",
        *(_named(each, model.device) for each in (precision.student, precision.frozen)),
        "step as a CUDA graph" if settings.cuda_graph else "step launched operation by operation",
    )
    student = model.get_bare_model(model.net_g)
    history = parts.history.net if isinstance(parts.history, HistoryModel) else None
    _measure_widths(model, history)
    if settings.recompute:
        _LOG.info("Runtime: activations of %d blocks of the student are computed again", recompute(student))
    nets = {"student": student, "history model": history, "teacher": parts.teacher}
    for name, net in nets.items():
        if net is not None:
            facts = facts_of(net, _options(model, name), int(model.opt.get("scale", 1)))
            _LOG.info("Runtime: %s %s", name, arrange(net, settings, facts))
    if parts.encoder is not None:
        _LOG.info("Runtime: encoder %s", arrange_encoder(parts.encoder, settings))
    if settings.compile:
        compile_blocks(model.objective)
    if settings.cuda_graph:
        model.static = recorded_step(model)


def recorded_step(model: RestorationModel, record: Record = record_cuda_graph) -> StaticStep:
    """Return the step of a model for replaying; random numbers that decide about shapes are drawn outside of it."""
    prepare = {}
    if draws_on_the_host(model):
        prepare = {"prepare": lambda lq, gt: (lq, gt, *_drawn(model, lq))}
    student = model.get_bare_model(model.net_g)
    return StaticStep(model.compute, student, model.parts.generators, model.device, record, **prepare)


def _drawn(model: RestorationModel, lq: Tensor) -> list[Tensor]:
    return [each for each in model.parts.draw(lq, model.objective.needs) if each is not None]


def draws_on_the_host(model: RestorationModel) -> bool:
    """Whether negatives need random numbers that decide about shapes, which a recording cannot draw."""
    if model.parts.history is None:
        return False
    degradation = model.parts.negatives.degradation
    return degradation.blur.prob > 0 or degradation.resize.prob > 0 or 0 < degradation.noise.prob < 1


def _options(model: RestorationModel, name: str) -> Any:
    return model.opt["network_teacher" if name == "teacher" else "network_g"]


def _named(one: str | None, device: torch.device) -> str:
    """Name a precision for the log; null is float32 as the process has it at present."""
    if one is not None:
        return one
    rounded = [name for name, allowed in zip(("products", "convolutions"), tf32_allowed(), strict=True) if allowed]
    return f"fp32 ({' and '.join(rounded)} in TF32)" if rounded and device.type != "cpu" else "fp32"


def _measure_widths(model: RestorationModel, history: nn.Module | None) -> None:
    """Tell the step how much of a CPU's cache an image takes in the frozen networks."""
    if model.device.type != "cpu":
        return
    scale = int(model.opt.get("scale", 1))
    side = max(1, patch_stages(model.opt)[0].gt_size // scale) or 64
    if model.parts.teacher is not None:
        model.parts.teacher_width = widest_layer(model.parts.teacher, side)
    if history is not None:
        model.parts.history_width = widest_layer(history, side)


def _log_budget(model: RestorationModel) -> None:
    """Say where the work of an iteration of this process lies, as far as it can be counted."""
    stage, scale = patch_stages(model.opt)[0], int(model.opt.get("scale", 1))
    batch = stage.batch // int(model.opt["world_size"])
    net = model.get_bare_model(model.net_g)
    try:
        budget = step_budget(net, model.parts, model.objective.needs, batch, stage.gt_size // scale, scale)
    except Exception as error:  # a network of somebody else's that does more than PyTorch's counter follows
        _LOG.info("Work of an iteration: not counted (%s)", type(error).__name__)
    else:
        _LOG.info("Work of an iteration: %s", shown(budget))
