"""Which loss terms are on, what they need, and whether it is there."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

from basicsr.utils.registry import LOSS_REGISTRY

from ...archs.vqgan_layout import DDConfig
from ...distill.needs import Need
from ...distill.objective import TERM_KEYS
from ...errors import near_miss
from ...kinds import distils
from ..blocks.weight import is_off
from ..components.signature import parameters_of
from ..networks import TEACHERS, networks_of, teachers_of
from ..problems import block_of, show, type_of
from ..resources import where_to_get

__all__ = ["is_used", "needs_by_place", "tap_problems", "term_problems", "wants"]

_TAUGHT_TERMS = tuple(key for key in TERM_KEYS if key != "pixel_opt")
_VQGAN_TERMS = ("contrastive_opt", "distribution_opt")
_TERM_LOSSES = {"contrastive_opt": "ContrastiveLoss", "distribution_opt": "DistributionLoss"}
_ENCODED = (Need.TAPS, Need.CODES)


def needs_by_place(opt: Mapping[str, Any]) -> dict[str, frozenset[Hashable] | None]:
    """Return what each loss term that is on needs beside student and ground truth, by its place in the file.

    This is the one table of needs by key: what the terms themselves say can take its place. None stands for a term of
    ``train.losses``, of which is not known yet what it needs: networks that the file has are then taken for used, and
    none is missed.

    A term whose weight is zero over the whole run is off, and needs nothing.
    """
    train = block_of(opt, "train")
    found: dict[str, frozenset[Hashable] | None] = {}
    for key in TERM_KEYS:
        if train.get(key) and not is_off(block_of(train, key).get("loss_weight", 1.0)):
            teacher = {Need.TEACHER} if key in _TAUGHT_TERMS or block_of(train, key).get("gate") else set()
            found[f"train.{key}"] = frozenset(teacher | ({Need.TAPS} if key in _VQGAN_TERMS else set()))
    terms = train.get("losses")
    for i, block in enumerate(terms if isinstance(terms, list | tuple) else ()):
        if isinstance(block, Mapping) and not is_off(block.get("weight", 1.0)):
            found[f"train.losses[{i}]"] = None
    return found


def wants(opt: Mapping[str, Any], label: str) -> list[str]:
    """Return the places of the terms that need the network: ``teacher`` (any of them) or ``vqgan``."""
    return [
        place
        for place, needs in needs_by_place(opt).items()
        if needs and (label != "vqgan" or any(need in needs for need in _ENCODED))
    ]


def is_used(opt: Mapping[str, Any], label: str, is_train: bool) -> bool:
    """Tell whether a run builds this network of the file: an ablation that switches terms off needs no teacher."""
    if label == "g":
        return True
    if not is_train or label not in networks_of(opt):
        return False
    return bool(wants(opt, "vqgan" if label == "vqgan" else "teacher")) or None in needs_by_place(opt).values()


def term_problems(opt: Mapping[str, Any]) -> Iterator[str]:
    """Yield terms whose loss compares something else, and terms without the networks that they need."""
    if "train" in opt and not needs_by_place(opt):
        if any(block_of(opt, "train").get(key) for key in (*TERM_KEYS, "losses")):
            yield "every loss term of train has weight 0, which leaves nothing to minimise; give one of them a weight"
        else:
            yield f"train has no loss term; give at least one of {', '.join(TERM_KEYS)}"
    yield from _loss_problems(opt)
    taught = wants(opt, "teacher")
    if taught and not distils(opt["model_type"]):
        model = opt["model_type"]
        yield f"model_type {model} has no teacher, which {', '.join(taught)} need; use model_type: DCKDModel"
        return
    yield from _names(opt)
    if taught:
        yield from _teachers(opt, taught)
    measured = wants(opt, "vqgan")
    if measured:
        yield from _vqgan(opt, measured)


def _loss_problems(opt: Mapping[str, Any]) -> Iterator[str]:
    losses = dict(iter(LOSS_REGISTRY))
    for term in TERM_KEYS:
        loss = losses.get(type_of(block_of(opt, "train", term)))
        wanted = losses.get(_TERM_LOSSES.get(term, ""))
        others = [losses[name] for key, name in _TERM_LOSSES.items() if key != term and name in losses]
        if not isinstance(loss, type):
            continue
        if wanted is not None and not issubclass(loss, wanted):
            yield f"train.{term} compares features, which {loss.__name__} cannot; use type: {_TERM_LOSSES[term]}"
        elif wanted is None and issubclass(loss, tuple(others)):
            yield f"train.{term} compares images, which {loss.__name__} cannot; use for instance type: L1Loss"


def _names(opt: Mapping[str, Any]) -> Iterator[str]:
    """Teachers that are named and not there, and terms of one name in the log."""
    known = [teacher.label for teacher in teachers_of(opt)]
    for term in TERM_KEYS:
        name = block_of(opt, "train", term).get("taught_by")
        if isinstance(name, str) and known and name not in known:
            hint = near_miss(name, known) or f"; there are: {', '.join(known)}"
            yield f"train.{term}.taught_by names '{name}', which is none of the teachers{hint}"
    terms = block_of(opt, "train").get("losses")
    first: dict[str, int] = {}
    for i, block in enumerate(terms if isinstance(terms, list | tuple) else ()):
        name = block.get("name") if isinstance(block, Mapping) else None
        if isinstance(name, str) and first.setdefault(name, i) != i:
            yield f"train.losses[{first[name]}] and train.losses[{i}] are both named '{name}' in the log; rename one"


def _teachers(opt: Mapping[str, Any], taught: list[str]) -> Iterator[str]:
    if opt.get(TEACHERS):
        for teacher in teachers_of(opt):
            yield from _weightless(opt, teacher.label, teacher.place, teacher.block)
    else:
        yield from _needed(opt, "teacher", taught)


def _vqgan(opt: Mapping[str, Any], measured: list[str]) -> Iterator[str]:
    yield from _needed(opt, "vqgan", measured)
    block = block_of(opt, "network_vqgan")
    name = block.get("type", "VQGAN")  # a missing type is reported elsewhere
    if name != "VQGAN":
        yield f"network_vqgan must have type: VQGAN, got {show(name)}"
    elif block.keys() - {"type"}:  # else its layout is in its weights
        layout = block_of(block, "ddconfig").get("ch_mult", DDConfig.ch_mult)
        yield from tap_problems(opt, len(layout)) if isinstance(layout, list | tuple) else ()


def _needed(opt: Mapping[str, Any], label: str, terms: list[str]) -> Iterator[str]:
    network = f"network_{label}"
    if opt.get(network) is None:
        yield f"missing key '{network}', which {', '.join(terms)} need; add it, or remove these terms"
    else:
        yield from _weightless(opt, label, network, block_of(opt, network))


def _weightless(opt: Mapping[str, Any], label: str, place: str, block: Mapping[str, Any]) -> Iterator[str]:
    key = f"pretrain_network_{label}"
    # Networks that bring their weights along, or have none, need no file.
    if type_of(block) not in ("PretrainedNet", "Bicubic") and block_of(opt, "path").get(key) is None:
        yield f"missing key '{key}' in path: untrained, {place} teaches nothing; {where_to_get(key, type_of(block))}"


def tap_problems(opt: Mapping[str, Any], levels: int) -> Iterator[str]:
    """Yield where the contrast has not one weight for each of the VQGAN's ``levels``; left-out weights count too."""
    if "train.contrastive_opt" not in needs_by_place(opt):
        return
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
