"""Which loss terms are on, what they say that they need, and whether it is there."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import nn

from ...archs.networks.vqgan_layout import DDConfig
from ...distill.loss_weight import LossWeight, first_without, loss_weight
from ...distill.needs import OF_ENCODER, OF_FIRST_TEACHER, STUDENT, FeatureMap, Need, TeacherOutput
from ...distill.terms import (
    TERM_KEYS,
    TERMS,
    ContrastTerm,
    DistributionTerm,
    OutputTerm,
    Term,
    TermOptions,
    name_fault,
    term_options,
)
from ...errors import near_miss
from ...kinds import distils, takes_terms, trained_labels
from ..blocks.dataset import INPUTS_TYPE, PAIRED_TYPES
from ..components import binding_problems, parameters_of
from ..networks import TEACHERS, networks_of, teachers_of
from ..problems import block_of, show, type_of
from ..resources import where_to_get
from .sizes import gt_sizes, known_facts

__all__ = ["files_of_terms", "is_used", "least_images", "needs_by_place", "tap_problems", "term_problems"]

# The losses that compare features, by the terms that take no others.
_FEATURE_LOSSES: dict[type[Term], str] = {ContrastTerm: "ContrastiveLoss", DistributionTerm: "DistributionLoss"}

Needs = Mapping[str, frozenset[Hashable] | None]


def _terms(opt: Mapping[str, Any]) -> list[TermOptions]:
    """The terms that are on; blocks that are none are reported elsewhere."""
    train = block_of(opt, "train")
    sane: dict[str, Any] = {key: block for key in TERM_KEYS if isinstance(block := train.get(key), Mapping)}
    losses = train.get("losses")
    if isinstance(losses, Mapping):
        given = {key: block for key, block in losses.items() if block is not None}
        sane["losses"] = {key: block if isinstance(block, Mapping) else {} for key, block in given.items()}
    else:
        blocks = losses if isinstance(losses, list | tuple) else ()
        sane["losses"] = [block if isinstance(block, Mapping) else {} for block in blocks]
    return [term for term in term_options(sane) if not term.is_off]


def needs_by_place(opt: Mapping[str, Any]) -> dict[str, frozenset[Hashable] | None]:
    """Return what each loss term that is on needs, by its place in the file: what the term itself says.

    None stands for a term that cannot be asked, since its options are wrong: networks that the file has are then taken
    for used, and none is missed.
    """
    return {term.place: _needs(term) for term in _terms(opt)}


def files_of_terms(opt: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the files that the options of terms name: where the option stands, and its value."""
    for term in _terms(opt):
        for key in TERMS.get(term.type, Term).files:
            if isinstance(value := term.arguments.get(key), str):
                yield f"{term.place}.{key}", value


def least_images(opt: Mapping[str, Any]) -> Iterator[tuple[str, int, Callable[[int], bool]]]:
    """Yield the terms for which one image is too few: their place, how many they take, in which iterations or later."""
    total = block_of(opt, "train").get("total_iter")
    for term in _terms(opt):
        least = TERMS.get(term.type, Term).least_images
        if least > 1 and isinstance(total, int) and total > 0:
            yield term.place, least, partial(_lasts, term.weight, total)


def _lasts(weight: Any, total: int, iteration: int) -> bool:
    """Whether a run comes to an iteration, counted from 1, with a weight that is not over then."""
    try:
        return iteration <= total and not loss_weight(weight).is_over((iteration - 1) / total)
    except (TypeError, ValueError):
        return False  # reported elsewhere


def _needs(options: TermOptions) -> frozenset[Hashable] | None:
    cls: Any = TERMS.get(options.type)
    own = _but_loss(options)
    try:
        return None if cls is None else _needs_of(cls, json.dumps(own))
    except Exception:  # whatever a user's class raises; its options are checked elsewhere
        return None


@lru_cache(maxsize=100)
def _needs_of(cls: Any, arguments: str) -> frozenset[Hashable]:
    return _without_loss(cls, json.loads(arguments)).needs


def _but_loss(term: TermOptions) -> dict[str, Any]:
    return {key: value for key, value in term.arguments.items() if key != "loss"}


def _without_loss(cls: Any, arguments: Mapping[str, Any]) -> Term:
    """Build a term without its loss, which may read weights, and on which neither needs nor sizes depend."""
    loss = {"loss": nn.Identity()} if "loss" in inspect.signature(cls).parameters else {}
    with torch.random.fork_rng(devices=()):  # layers of its own draw random numbers
        return cls(**arguments, **loss)


def _asked(needs: frozenset[Hashable], known: Sequence[str]) -> set[str]:
    """Return the teachers that a term asks for; the first known is meant by those that name none."""
    named = {need.teacher for need in needs if isinstance(need, TeacherOutput)}
    named |= {need.network for need in needs if isinstance(need, FeatureMap) and need.network != STUDENT}
    if needs & OF_FIRST_TEACHER:
        named.add("teacher")
    if Need.TEACHERS in needs:
        named |= set(known)
    return {known[0] if name == "teacher" and known else name for name in named}


def _known(opt: Mapping[str, Any]) -> list[str]:
    return [teacher.label for teacher in teachers_of(opt)]


def _want_encoder(needs: Needs) -> list[str]:
    return [place for place, asked in needs.items() if asked and asked & OF_ENCODER]


def is_used(opt: Mapping[str, Any], label: str, is_train: bool) -> bool:
    """Tell whether a run builds this network of the file: an ablation that switches terms off needs no teacher."""
    if label == "g" or (is_train and label in trained_labels(opt.get("model_type"))):
        return True
    if not is_train or label not in networks_of(opt):
        return False
    needs = needs_by_place(opt)
    if label == "vqgan":
        return None in needs.values() or bool(_want_encoder(needs))
    known = _known(opt)
    return any(asked is None or label in _asked(asked, known) for asked in needs.values())


def term_problems(opt: Mapping[str, Any]) -> Iterator[str]:
    """Yield terms whose loss compares something else, and terms without the networks that they need."""
    if not takes_terms(opt["model_type"]):
        return
    terms = _terms(opt)
    if "train" in opt and not terms:
        given = [block for key in TERM_KEYS if (block := block_of(opt, "train").get(key))]
        losses = block_of(opt, "train").get("losses")
        on = any(block is not None for block in losses.values()) if isinstance(losses, Mapping) else bool(losses)
        given += [losses] if on else []
        if not given:
            yield f"train has no loss term; give at least one of {', '.join(TERM_KEYS)}, or one in losses"
        elif all(isinstance(block, Mapping | list | tuple) for block in given):  # else reported elsewhere
            yield "every loss term of train has weight 0, which leaves nothing to minimise; give one of them a weight"
    if terms and all(term.type in TERMS and not TERMS[term.type].bounded for term in terms):
        alone = ", ".join(term.place for term in terms)
        yield f"{alone} has no lower bound and pulls the student nowhere; give a term beside it, such as logits_opt"
    for term in terms:
        yield from _refused(term)
        yield from _loss_problems(term)
    yield from _gaps(terms, block_of(opt, "train").get("total_iter"))
    needs = needs_by_place(opt)
    known = _known(opt)
    taught = {place: _asked(asked, known) for place, asked in needs.items() if asked and _asked(asked, known)}
    measured = _want_encoder(needs)
    if (taught or measured) and not distils(opt["model_type"]):
        model, what = opt["model_type"], "teacher" if taught else "encoder"
        places = list(taught or measured)
        verb = "needs" if len(places) == 1 else "need"
        yield f"model_type {model} has no {what}, which {', '.join(places)} {verb}; use model_type: DCKDModel"
        return
    yield from _log_names(terms)
    yield from _without_gt(opt, needs)
    yield from _sizes(opt, terms)
    yield from _teachers(opt, taught)
    if measured:
        yield from _vqgan(opt, measured)


def _without_gt(opt: Mapping[str, Any], needs: Needs) -> Iterator[str]:
    """Terms that compare with a ground truth which the training set has not."""
    wanting = [place for place, asked in needs.items() if asked and Need.GT in asked]
    if wanting and block_of(opt, "datasets", "train").get("type") == INPUTS_TYPE:
        verb = "needs" if len(wanting) == 1 else "need"
        yield (
            f"{', '.join(wanting)} {verb} ground truth, and datasets.train ({INPUTS_TYPE}) has none; switch off "
            f"such terms (pixel_opt: ~) or their gates, or use type: {PAIRED_TYPES[1]} with dataroot_gt"
        )


def _refused(term: TermOptions) -> Iterator[str]:
    """What a term's constructor says of options of the right kinds; others are reported elsewhere."""
    cls: Any = TERMS.get(term.type)
    arguments = _but_loss(term)
    if cls is None or binding_problems(term.place, parameters_of(cls), arguments):
        return
    try:
        _without_loss(cls, arguments)
    except ValueError as error:
        yield f"{term.place} ({term.type}): {error}"
    except Exception:  # as for needs
        return


def _sizes(opt: Mapping[str, Any], terms: list[TermOptions]) -> Iterator[str]:
    """Patches that a term cannot work on."""
    scale = opt.get("scale", 1)
    if not isinstance(scale, int) or scale < 1:
        return  # reported elsewhere
    pairs = [("student", networks_of(opt).get("g")), ("teacher", next(iter(teachers_of(opt)), None))]
    rules = {name: facts for name, net in pairs if net is not None and (facts := known_facts(net.block)) is not None}
    for term in terms:
        cls: Any = TERMS.get(term.type, Term)
        if cls.size_faults is Term.size_faults:
            continue
        try:
            built = _without_loss(cls, _but_loss(term))
            sides = [size // scale for size in gt_sizes(opt).values() if size % scale == 0]
            faults = [fault for side in sides for fault in built.size_faults(scale, side, side, rules)]
        except Exception:  # as for needs
            continue
        yield from (f"{term.place}: {fault}" for fault in faults)


def _gaps(terms: list[TermOptions], total: Any) -> Iterator[str]:
    """Iterations in which all weights are zero, where the run would have nothing to minimise."""
    try:
        weights: list[LossWeight] = [loss_weight(term.weight) for term in terms]
    except (TypeError, ValueError):
        return  # reported elsewhere
    without = first_without(weights, total) if weights and isinstance(total, int) and total > 0 else None
    if without is not None:
        yield (
            f"every loss term of train has weight 0 in iteration {without}, as the schedules say, which leaves nothing "
            "to minimise; give one a weight from start to end"
        )


def _loss_block(term: TermOptions) -> tuple[str, Mapping[str, Any]]:
    """The block of a term's loss, with its place: of a short name the block itself."""
    place = f"{term.place}.loss" if term.place.startswith("train.losses") else term.place
    return place, block_of(term.arguments, "loss")


def _loss_problems(term: TermOptions) -> Iterator[str]:
    losses, cls = dict(iter(LOSS_REGISTRY)), TERMS.get(term.type)
    place, block = _loss_block(term)
    loss = losses.get(type_of(block))
    if cls is None or not isinstance(loss, type):
        return
    wanted = next((name for kind, name in _FEATURE_LOSSES.items() if issubclass(cls, kind)), None)
    of_features = [losses[name] for name in _FEATURE_LOSSES.values() if name in losses]
    if wanted is not None and wanted in losses and not issubclass(loss, losses[wanted]):
        yield f"{place} compares features, which {loss.__name__} cannot; use type: {wanted}"
    elif issubclass(cls, OutputTerm) and issubclass(loss, tuple(of_features)):
        yield f"{place} compares images, which {loss.__name__} cannot; use for instance type: L1Loss"


def _log_names(terms: list[TermOptions]) -> Iterator[str]:
    """Terms that the log could not tell apart."""
    places: dict[str, str] = {}
    for term in terms:
        cls = TERMS.get(term.type)
        name = term.name if term.name is not None else cls.log_name if cls is not None else None
        if not isinstance(name, str):
            continue  # reported elsewhere
        if fault := name_fault(name):
            yield f"'name' in {term.place} {fault}, got {show(name)}"
        elif name in places:
            yield f"{places[name]} and {term.place} are both called '{name}' in the log; give one a name of its own"
        places.setdefault(name, term.place)


def _teachers(opt: Mapping[str, Any], taught: Mapping[str, set[str]]) -> Iterator[str]:
    teachers = teachers_of(opt)
    if taught and not teachers and opt.get(TEACHERS) is None:
        network = "network_teacher"
        if opt.get(network) is None:
            yield f"missing key '{network}', which {', '.join(taught)} need; add it, or remove these terms"
        return
    known = [teacher.label for teacher in teachers]
    for place, labels in taught.items():
        for label in sorted(labels.difference(known)):
            hint = near_miss(label, known) or f"; there are: {', '.join(known)}"
            yield f"{place} asks for the teacher '{label}', and none is called so{hint}"
    wanted = set().union(*taught.values())
    for teacher in teachers:
        if teacher.label in wanted:
            yield from _weightless(opt, teacher.label, teacher.place, teacher.block)


def _vqgan(opt: Mapping[str, Any], measured: list[str]) -> Iterator[str]:
    block, network = block_of(opt, "network_vqgan"), "network_vqgan"
    if opt.get(network) is None:
        yield f"missing key '{network}', which {', '.join(measured)} need; add it, or remove these terms"
    else:
        yield from _weightless(opt, "vqgan", network, block)
    name = block.get("type", "VQGAN")  # a missing type is reported elsewhere
    if name != "VQGAN":
        yield f"network_vqgan must have type: VQGAN, got {show(name)}"
    elif block.keys() - {"type"}:  # else its layout is in its weights
        layout = block_of(block, "ddconfig").get("ch_mult", DDConfig.ch_mult)
        yield from tap_problems(opt, len(layout)) if isinstance(layout, list | tuple) else ()


def _weightless(opt: Mapping[str, Any], label: str, place: str, block: Mapping[str, Any]) -> Iterator[str]:
    key = f"pretrain_network_{label}"
    # Networks that bring their weights along, or have none, need no file.
    if type_of(block) not in ("PretrainedNet", "Bicubic") and block_of(opt, "path").get(key) is None:
        yield f"missing key '{key}' in path: untrained, {place} teaches nothing; {where_to_get(key, type_of(block))}"


def tap_problems(opt: Mapping[str, Any], levels: int) -> Iterator[str]:
    """Yield where a contrast has not one weight for each of the VQGAN's ``levels``; left-out weights count too."""
    for term in _terms(opt):
        if not issubclass(TERMS.get(term.type, Term), ContrastTerm):
            continue
        place, block = _loss_block(term)
        if "weights" in block:
            weights, what = block["weights"], f"{place}.weights has"
        else:
            name = type_of(block) if block else "ContrastiveLoss"  # the term's own
            loss = dict(iter(LOSS_REGISTRY)).get(name)
            weights = parameters_of(loss).defaults.get("weights") if loss is not None else None
            what = f"{place} has no weights, and those of {name} by default have"
        if isinstance(weights, list | tuple) and len(weights) != levels:
            halved = [1.0 if last == 0 else 2.0 ** -(last + 1) for last in reversed(range(levels))]  # as the paper's
            yield (
                f"{what} {len(weights)} entries, but the VQGAN has {levels} levels; give one weight for each, shallow "
                f"to deep, for instance weights: {halved}"
            )
