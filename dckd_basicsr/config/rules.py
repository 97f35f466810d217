"""What must hold between parts of an option file: scales, patch sizes, terms and the networks they need."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from basicsr.utils.registry import LOSS_REGISTRY

from ..archs.facts import ArchFacts, facts_from_options
from ..archs.networks.vqgan_layout import DDConfig
from ..data.patches import stages_from
from ..distill.terms import TERM_KEYS
from ..errors import ConfigError
from ..kinds import distils, is_own
from .evaluation import evaluation_rules
from .keys import PATCH_TYPES, TAUGHT_TERMS, VQGAN_TERMS
from .problems import block_of, show, type_of
from .resources import where_to_get
from .signature import parameters_of

__all__ = ["device_problems", "facts_problems", "rule_problems", "tap_problems"]

_TERM_LOSSES = {"contrastive_opt": "ContrastiveLoss", "distribution_opt": "DistributionLoss"}


def rule_problems(opt: Mapping[str, Any], is_train: bool) -> list[str]:
    """Return contradictions between blocks; only the package's own models have these rules."""
    if not is_own(opt.get("model_type")):
        return []
    problems = [*_scale_rules(opt, is_train), *evaluation_rules(opt)]
    if is_train:
        problems += [
            *_training_rules(opt),
            *_validation_rules(opt),
            *_checkpoint_rules(opt),
            *_term_rules(opt),
            *_network_rules(opt),
        ]
    return problems


def device_problems(opt: Mapping[str, Any]) -> list[str]:
    """Return what the machine cannot give: GPUs."""
    wanted, has_gpu = opt.get("num_gpu"), torch.cuda.is_available()
    recorded = block_of(opt, "train", "runtime").get("cuda_graph") is True
    if recorded and (wanted == 0 or not has_gpu) and is_own(opt.get("model_type")):
        return ["train.runtime.cuda_graph is true, but the run is on a CPU; set it to auto or false"]
    if not isinstance(wanted, int) or wanted <= 0:
        return []
    if not has_gpu:
        return [f"num_gpu is {wanted}, but PyTorch finds no usable CUDA device; set num_gpu: auto, or 0 for the CPU"]
    if wanted > 1 and is_own(opt.get("model_type")) and opt.get("dist") is False:
        return [
            f"num_gpu is {wanted}, but {opt['model_type']} runs one process per GPU; start it with "
            f"`torchrun --nproc_per_node={wanted} -m dckd_basicsr train -opt FILE --launcher pytorch`, or "
            "set num_gpu: 1"
        ]
    return []


def _facts(opt: Mapping[str, Any], name: str) -> ArchFacts | None:
    try:
        return facts_from_options(block_of(opt, name))
    except (TypeError, ValueError):  # an argument of the wrong type, reported where it stands
        return None


def _scale_rules(opt: Mapping[str, Any], is_train: bool) -> Iterator[str]:
    scale = opt.get("scale")
    if not isinstance(scale, int) or scale < 1:
        return
    for key, gt_size in _gt_sizes(opt).items() if is_train else ():
        if gt_size % scale:
            yield f"{key} is {gt_size}, no multiple of scale {scale}; {gt_size // scale * scale} would be"
    for name in ("network_g", "network_teacher") if is_train else ("network_g",):
        facts = _facts(opt, name)
        if facts is not None:
            yield from facts_problems(opt, name, facts, is_train)


def facts_problems(opt: Mapping[str, Any], name: str, facts: ArchFacts, is_train: bool) -> Iterator[str]:
    """Yield where the network ``name`` contradicts the run's scale, or its patches if it trains."""
    scale = opt.get("scale")
    if not isinstance(scale, int) or scale < 1:
        return
    label = f"{name} ({type_of(block_of(opt, name))})"
    if facts.scale != scale:
        yield f"scale is {scale}, but {label} upscales by {facts.scale}; make them equal"
    multiple = max(1, facts.multiple_of)
    for key, gt_size in _gt_sizes(opt).items() if is_train else ():
        patch, rest = divmod(gt_size, scale)
        if not rest and not facts.admits(patch):
            least = f", at least {facts.minimum}" if patch < facts.minimum > multiple else ""
            yield (
                f"{key} {gt_size} gives LQ patches of {patch} px, but {label} takes multiples of {multiple}{least}; "
                f"make gt_size a multiple of {scale * multiple}{least and f', at least {scale * facts.minimum}'}"
            )


def _gt_sizes(opt: Mapping[str, Any]) -> dict[str, int]:
    """Patch sizes by where they stand: gt_size, or the rows of progressive."""
    train = block_of(opt, "datasets", "train")
    rows = train.get("progressive")
    if isinstance(rows, list) and train.get("type") in PATCH_TYPES:
        found = {f"datasets.train.progressive[{i}] gt_size": r[1] for i, r in enumerate(rows) if _is_row(r)}
    else:
        found = {"datasets.train.gt_size": train.get("gt_size")}
    return {key: size for key, size in found.items() if isinstance(size, int) and size > 0}


def _is_row(row: Any) -> bool:
    return isinstance(row, list | tuple) and len(row) == 3


def _training_rules(opt: Mapping[str, Any]) -> Iterator[str]:
    decay = block_of(opt, "train").get("ema_decay")
    if isinstance(decay, int | float) and decay >= 1:
        yield f"'ema_decay' in train must be below 1, got {show(decay)}"
    train = block_of(opt, "datasets", "train")
    rows, parts = train.get("progressive"), block_of(opt, "train").get("accumulate", 1)
    world = int(os.environ.get("WORLD_SIZE", "1")) if opt.get("dist") is True else 1
    if rows and train.get("type") not in PATCH_TYPES:
        yield f"datasets.train.progressive needs type: {PATCH_TYPES[0]}, got {show(train.get('type'))}"
    elif isinstance(rows, list):
        try:
            stages_from(rows, world, parts if isinstance(parts, int) and parts > 0 else 1)
        except (ConfigError, TypeError) as error:
            yield f"datasets.train: {error}"


def _validation_rules(opt: Mapping[str, Any]) -> Iterator[str]:
    """Sets that would be read and never measured."""
    sets = [f"datasets.{key}" for key in block_of(opt, "datasets") if str(key).split("_")[0] == "val"]
    if sets and opt.get("val") is None:
        without = " ".join(f"{name.replace('.', ':')}=~" for name in sets)
        yield (
            f"{', '.join(sets)} would never be measured without a block 'val'; give one (val_freq, metrics), or leave "
            f"the sets out ({without})"
        )


def _checkpoint_rules(opt: Mapping[str, Any]) -> Iterator[str]:
    metric, metrics = block_of(opt, "logger").get("keep_best"), block_of(opt, "val", "metrics")
    if isinstance(metric, str) and metric not in metrics:
        known = f"one of val.metrics: {', '.join(metrics)}" if metrics else "a metric, but val.metrics has none"
        yield f"logger.keep_best is '{metric}'; it must name {known}"


def _term_rules(opt: Mapping[str, Any]) -> Iterator[str]:
    losses = dict(iter(LOSS_REGISTRY))
    train = block_of(opt, "train")
    if "train" in opt and not _terms(opt, TERM_KEYS):
        yield f"train has no loss term; give at least one of {', '.join(TERM_KEYS)}"
    for term in _terms(opt, TERM_KEYS):
        loss = losses.get(type_of(block_of(train, term)))
        wanted = losses.get(_TERM_LOSSES.get(term, ""))
        others = [losses[name] for key, name in _TERM_LOSSES.items() if key != term and name in losses]
        if not isinstance(loss, type):
            continue
        if wanted is not None and not issubclass(loss, wanted):
            yield f"train.{term} compares features, which {loss.__name__} cannot; use type: {_TERM_LOSSES[term]}"
        elif wanted is None and issubclass(loss, tuple(others)):
            yield f"train.{term} compares images, which {loss.__name__} cannot; use for instance type: L1Loss"


def tap_problems(opt: Mapping[str, Any], levels: int) -> Iterator[str]:
    """Yield where the contrast has not one weight for each of the VQGAN's ``levels``; left-out weights count too."""
    block = block_of(opt, "train", "contrastive_opt")
    if "weights" in block:
        weights, what = block["weights"], "train.contrastive_opt.weights has"
    else:
        loss = dict(iter(LOSS_REGISTRY)).get(type_of(block))
        weights = parameters_of(loss).defaults.get("weights") if loss is not None else None
        what = f"train.contrastive_opt has no weights, and those of {type_of(block)} by default have"
    if isinstance(weights, list | tuple) and len(weights) != levels:
        halved = [1.0 if last == 0 else 2.0 ** -(last + 1) for last in reversed(range(levels))]  # as the paper's five
        yield (
            f"{what} {len(weights)} entries, but the VQGAN has {levels} levels; give one weight for each, shallow to "
            f"deep, for instance weights: {halved}"
        )


def _network_rules(opt: Mapping[str, Any]) -> Iterator[str]:
    taught = _terms(opt, TAUGHT_TERMS)
    if taught and not distils(opt["model_type"]):
        yield f"model_type {opt['model_type']} has no teacher, which {_listed(taught)} need; use model_type: DCKDModel"
        return
    if taught:
        yield from _network_rule(opt, "teacher", taught)
    measured = _terms(opt, VQGAN_TERMS)
    if measured:
        yield from _network_rule(opt, "vqgan", measured)
        block = block_of(opt, "network_vqgan")
        name = block.get("type", "VQGAN")  # a missing type is reported elsewhere
        if name != "VQGAN":
            yield f"network_vqgan must have type: VQGAN, got {show(name)}"
        elif block.keys() - {"type"}:  # else its layout is in its weights
            layout = block_of(block, "ddconfig").get("ch_mult", DDConfig.ch_mult)
            yield from tap_problems(opt, len(layout)) if isinstance(layout, list | tuple) else ()


def _network_rule(opt: Mapping[str, Any], label: str, terms: list[str]) -> Iterator[str]:
    network, key = f"network_{label}", f"pretrain_network_{label}"
    if opt.get(network) is None:
        yield f"missing key '{network}', which {_listed(terms)} need; add it, or remove these terms"
        return
    block = block_of(opt, network)
    # Networks that bring their weights along, or have none, need no file.
    if type_of(block) in ("PretrainedNet", "Bicubic") or block_of(opt, "path").get(key) is not None:
        return
    source = where_to_get(key, type_of(block))
    yield f"missing key '{key}' in path: untrained, {network} teaches nothing; {source}"


def _terms(opt: Mapping[str, Any], keys: Any) -> list[str]:
    train = block_of(opt, "train")
    return [key for key in keys if train.get(key)]


def _listed(terms: list[str]) -> str:
    return ", ".join(f"train.{term}" for term in terms)
