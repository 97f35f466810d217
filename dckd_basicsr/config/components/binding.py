"""Whether the named parts of an option file exist, and take the arguments that they are given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from basicsr.utils import registry

from ...archs.networks.spandrel_arch import PREFIX, spandrel_names
from ...archs.networks.vqgan_layout import DDConfig
from ...archs.outline import network_class
from ...distill.terms import TERM_KEYS
from ...kinds import distils, is_own
from ..blocks.judging import misfit, settings_problems
from ..blocks.weight import weight_problems
from ..networks import TEACHERS, inner_teachers
from ..problems import block_of, choose, show, type_of
from .kind import (
    INNER_TEACHER,
    LOSS,
    METRIC,
    NETWORK,
    OPTIMIZER,
    SCHEDULER,
    TEACHER,
    TERM,
    Kind,
    lookup,
    registered,
    short_name,
)
from .signature import binding_problems

__all__ = ["component_problems", "network_problems"]


def component_problems(opt: Mapping[str, Any], is_train: bool) -> list[str]:
    """Return unknown type names, and arguments that their constructors would not take."""
    own = is_own(opt.get("model_type"))
    problems = []
    models = registered(registry.MODEL_REGISTRY)
    if opt.get("model_type") is not None and lookup(models, opt["model_type"]) is None:
        problems.append(choose("model", opt["model_type"], "model_type", models))
    for key, block in opt.items():
        if key == TEACHERS:
            problems += _teachers(block) if distils(opt.get("model_type")) else ()
        elif str(key).startswith("network_") and block is not None:
            problems += network_problems(str(key), block, own)
    for key, block in block_of(opt, "val", "metrics").items():
        problems += _metric(f"val.metrics.{key}", block, own)
    for key, block in block_of(opt, "datasets").items():
        name = block.get("type") if isinstance(block, Mapping) else None
        datasets = registered(registry.DATASET_REGISTRY)
        if name is not None and lookup(datasets, name) is None:
            problems.append(choose("dataset", name, f"datasets.{key}", datasets))
    if is_train:
        problems += _training(block_of(opt, "train"), own)
    return problems


def network_problems(where: str, block: Any, own: bool = True, kind: Kind = NETWORK) -> list[str]:
    """Return what is wrong with the block of one network, as far as its constructor's signature tells."""
    problems = _component(kind, where, block, own)
    if isinstance(block, Mapping) and block.get("type") == "VQGAN":
        problems += settings_problems(f"{where}.ddconfig", block.get("ddconfig"), DDConfig)
    for place, inner in inner_teachers(where, block):
        problems += network_problems(place, inner, kind=INNER_TEACHER)
        if type_of(inner) not in ("", "PretrainedNet", "Bicubic") and "path" not in inner:
            problems.append(f"missing key 'path' in {place}, the file of its weights; null for a network without any")
    return problems


def _teachers(blocks: Any) -> Iterator[str]:
    for i, block in enumerate(blocks if isinstance(blocks, list | tuple) else ()):
        yield from network_problems(f"{TEACHERS}[{i}]", block, kind=TEACHER)


def _training(train: Mapping[str, Any], own: bool) -> Iterator[str]:
    for key, block in train.items():
        if own and key in TERM_KEYS and block:
            yield from _weighted(short_name(key), f"train.{key}", block, "loss_weight")
        elif str(key).endswith("_opt") and block:
            yield from _component(LOSS, f"train.{key}", block, own)
    yield from _open_terms(train.get("losses")) if own else ()
    for key in [k for k in train if str(k).startswith("optim_") and (train[k] is not None or k == "optim_g")]:
        problems = _component(OPTIMIZER, f"train.{key}", train[key], own)
        yield from problems or (_optimizer_trial(f"train.{key}", train[key]) if own else ())
    scheduler = train.get("scheduler")
    if own and scheduler is not None:
        yield from _component(SCHEDULER, "train.scheduler", scheduler, own)
        yield from _paired_lengths(block_of(train, "scheduler"))


def _open_terms(losses: Any) -> Iterator[str]:
    """The terms of ``train.losses``: a list of blocks, or blocks by name, of which null ones are off."""
    if isinstance(losses, Mapping) and isinstance(losses.get("type"), str):
        yield (
            f"train.losses is one term, where a block of terms by name or a list of them was expected; write for "
            f"instance losses: {{{losses['type']}: {{...}}}}"
        )
    elif isinstance(losses, Mapping):
        for key, block in losses.items():
            if block is not None:
                named = {"type": key, **block} if isinstance(block, Mapping) else block
                yield from _weighted(TERM, f"train.losses.{key}", named, "weight")
    for i, block in enumerate(losses if isinstance(losses, list | tuple) else ()):
        yield from _weighted(TERM, f"train.losses[{i}]", block, "weight")


def _weighted(kind: Kind, where: str, block: Any, key: str) -> list[str]:
    """A term, whose weight may be a block that says how it goes over the run."""
    weight = block.get(key) if isinstance(block, Mapping) else None
    if not isinstance(weight, Mapping):
        return _component(kind, where, block, own=True)
    return [*_component(kind, where, {**block, key: 1.0}, own=True), *weight_problems(f"{where}.{key}", weight)]


def _optimizer_trial(where: str, block: Mapping[str, Any]) -> Iterator[str]:
    """Build the optimizer on one number: ranges are for its constructor to say."""
    options = dict(block)
    name = options.pop("type")
    try:
        getattr(torch.optim, name)([torch.nn.Parameter(torch.zeros(1))], **options)
    except (ValueError, TypeError, RuntimeError) as error:
        yield f"{where} ({name}) refuses these arguments: {str(error).splitlines()[0]}"


def _paired_lengths(scheduler: Mapping[str, Any]) -> Iterator[str]:
    many = "periods" if "periods" in scheduler else "restarts"
    values, weights = scheduler.get(many, [0]), scheduler.get("restart_weights", [1])
    if isinstance(values, list) and isinstance(weights, list) and len(values) != len(weights):
        yield f"train.scheduler has {len(values)} {many}, but {len(weights)} restart_weights; give one weight for each"


def _metric(where: str, block: Any, own: bool) -> list[str]:
    problems = _component(METRIC, where, block, own)
    border = block.get("crop_border", 0) if isinstance(block, Mapping) else 0
    wrong = misfit("crop_border", where, border, int)
    if not wrong and border < 0:
        wrong = [f"'crop_border' in {where} must be at least 0, got {border}"]
    return problems + wrong


def _component(kind: Kind, where: str, block: Any, own: bool) -> list[str]:
    if not isinstance(block, Mapping):
        return [f"{where} must be a block with a 'type', got {show(block)}"]
    if kind.noun in (NETWORK.noun, TEACHER.noun) and type_of(block).startswith(PREFIX):
        try:
            network_class(type_of(block))  # registers it
        except KeyError:
            return [choose(kind.noun, type_of(block), where, spandrel_names())]
    known = kind.find()
    name = block.get("type")
    if name is None:
        return [f"missing key 'type' in {where}; one of {', '.join(sorted(known))}"]
    target = lookup(known, name)
    if target is None:
        return [choose(kind.noun, name, where, known)]
    arguments = {key: value for key, value in block.items() if key != "type"}
    found = kind.parameters(target)
    problems = binding_problems(f"{where} ({name})", found, arguments, strict=own)
    for key in [key for key in kind.inner if key in arguments and key in found.kinds]:
        if arguments[key] is not None or found.defaults.get(key, ...) is not None:
            problems += _component(kind.inner[key], f"{where}.{key}", arguments[key], own)
    return problems
