"""Whether the weights and training states an option file names are there, readable, and fit their networks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..archs import (
    VQGAN,
    Built,
    WeightSource,
    detected_name,
    detected_part,
    encoder_block,
    encoder_part,
    facts_from_options,
    fitted,
    likeness,
    network_class,
    other_values,
    outline,
    recognize,
)
from ..errors import CheckpointError, ConfigError, DCKDError
from ..kinds import is_own
from ..weight_files import load_training_state, load_weights, misfits
from .components import network_problems
from .networks import Network, networks_of, with_own_file
from .problems import block_of, type_of
from .resources import as_path, is_there, missing_file, resolve_weights
from .rules import facts_problems, files_of_codebook, files_of_terms, is_used, loaded_channel_problems, tap_problems

__all__ = ["resume_problems", "weight_problems"]


def weight_problems(opt: Mapping[str, Any], is_train: bool, told: set[str]) -> Iterator[str]:
    """Yield missing, damaged and ill-fitting weights, and networks that contradict the run once they are known.

    Of models other than this package's only missing files are reported: how they load is their own.

    Args:
        opt: options as loaded.
        is_train: for training (else for testing).
        told: hints on where to get files that were given already.
    """
    own = is_own(opt.get("model_type"))
    paths = block_of(opt, "path")
    outlines: dict[str, Built] = {}
    networks = networks_of(opt)
    for network in networks.values():
        if not own or is_used(opt, network.label, is_train):
            yield from _outline(opt, network, is_train, outlines, told)
    for key, value in paths.items():
        label = str(key).removeprefix("pretrain_network_")
        if label == key or not isinstance(value, str) or (own and not is_used(opt, label, is_train)):
            continue
        network = networks.get(label) or Network(label, f"network_{label}", {})
        kind = type_of(network.block) if network.place.startswith("network_teacher") else ""
        path = _existing(f"path.{key}", value, told, kind, _needless(network))
        if isinstance(path, str):
            yield path
        elif own:
            built = outlines.get(label)
            yield from _weight_file(opt, network, value, path, built.net if built else None)
    named = [*files_of_terms(opt), *files_of_codebook(opt)] if own and is_train else []
    for key, value in named:
        if not is_there(as_path(value)):
            yield missing_file(key, value, told)


def resume_problems(opt: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with ``path.resume_state``; its contents are looked at for this package's models only."""
    state = block_of(opt, "path").get("resume_state")
    if not isinstance(state, str):
        return
    path = as_path(state)
    if is_there(path, folder=True):
        yield f"path.resume_state: '{state}' is a folder; give the ITERATION.state file in its training_states"
    elif not is_there(path):
        yield (
            f"path.resume_state: '{state}' does not exist; states are written to "
            "experiments/NAME/training_states/ITERATION.state, and --auto_resume finds the latest"
        )
    elif is_own(opt.get("model_type")):
        try:
            load_training_state(path)
        except CheckpointError as error:
            yield f"path.resume_state: {error}"


def _existing(key: str, value: str, told: set[str], kind: str = "", needless: str = "") -> Path | str:
    """Return the file that an option names, or what is wrong with the name; ``needless`` says why none is needed."""
    try:
        path = resolve_weights(value)
    except ConfigError as error:
        return f"{key}: {error}"
    if is_there(path):
        return path
    return f"{key}: '{value}' does not exist, and {needless}" if needless else missing_file(key, value, told, kind)


def _needless(network: Network) -> str:
    """Say why a network needs no weights under ``path``, and what to do; empty where it does."""
    kind, key = type_of(network.block), f"path.pretrain_network_{network.label}"
    reasons = {"PretrainedNet": f"loads the file of its own {network.place}.path", "Bicubic": "has no weights"}
    if kind not in reasons:
        return ""
    return f"{network.place} ({kind}) {reasons[kind]}; remove {key}, or set it to ~ where a base has it"


def _outline(
    opt: Mapping[str, Any], network: Network, is_train: bool, outlines: dict[str, Built], told: set[str]
) -> Iterator[str]:
    """Build the network's outline into ``outlines`` and judge the facts that only the built network tells."""
    name, options, missing = network.place, deepcopy(dict(network.block)), False
    for place, block in with_own_file(name, options):
        if isinstance(block.get("path"), str):
            path = _existing(f"{place}.path", block["path"], told, type_of(block) if place != name else "")
            if isinstance(path, str):
                yield path
                missing = True
            else:
                block["path"] = str(path)
    if missing:
        return
    if not is_own(opt.get("model_type")) or name == "network_vqgan":
        return  # not ours to judge; or its layout may be in the weights
    try:
        scale = opt.get("scale")
        built = outlines[network.label] = outline(options, scale=scale if isinstance(scale, int) else None)
        known = facts_from_options(options) is not None
    except DCKDError as error:
        yield f"{name} ({type_of(options)}): {error}"
        return
    except Exception:
        # A constructor that needs real tensors; or arguments that it cannot take, reported where their kind is wrong.
        if not network_problems(name, network.block):
            yield from _refusal(name, options)
        return
    if not known:
        yield from facts_problems(opt, name, built.facts, is_train)
        yield from loaded_channel_problems(opt, name, built.facts)


def _refusal(name: str, options: Mapping[str, Any]) -> Iterator[str]:
    """Build a network in earnest of which there is no outline, for what its constructor has against the options."""
    try:
        with torch.random.fork_rng(devices=()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network_class(options["type"])(**{key: value for key, value in options.items() if key != "type"})
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        yield f"{name} ({type_of(options)}) cannot be built with these options: {type(error).__name__}: {reason}"


def _weight_file(
    opt: Mapping[str, Any], network: Network, value: str, path: Path, net: nn.Module | None
) -> Iterator[str]:
    label = network.label
    key = f"path.pretrain_network_{label}"
    source = WeightSource.named(block_of(opt, "path"), label)
    assert source is not None
    try:
        param_key = source.param_key if isinstance(source.param_key, str) else None
        weights = load_weights(path, param_key, search=source.search)
        state: Mapping[str, Tensor] = weights.state
        if label == "vqgan":
            block = network.block
            net = _encoder(block, state)
            state = encoder_part(state)
            if isinstance(net, VQGAN) and not block.keys() - {"type"}:  # with options it is one of the rules
                yield from tap_problems(opt, net.num_taps)
    except CheckpointError as error:
        yield f"{key}: {error}"
        return
    if net is None:
        return
    found = fitted(net, state)
    wrong = misfits(net, found.state)
    if wrong and (label == "vqgan" or source.strict):
        advice = _needless(network) or _likeness(state, weights.entry, network.place)
        yield f"{key}: the weights in '{value}' do not fit {type(net).__name__}: {'; '.join(wrong)}; {advice}"
    elif differs := other_values(network.block, found.told):
        yield f"{key}: the weights in '{value}' are of another {type(net).__name__}: {differs} under {network.place}"


def _encoder(block: Mapping[str, Any], state: Mapping[str, Tensor]) -> nn.Module | None:
    try:
        return outline(encoder_block(block), state=state).net
    except CheckpointError:
        raise
    except Exception:  # as in _outline
        return None


def _likeness(state: Mapping[str, Tensor], entry: str, place: str) -> str:
    """Say what architecture ``state`` looks like, and what to do."""
    found = recognize(state)
    if found is not None:
        return f"the file looks like {found}; change {place}, or give the file of this network"
    name = detected_name(detected_part(state))
    if name is not None:
        return f"to spandrel it looks like {name}; `{place}: {{type: PretrainedNet, path: FILE}}` loads it"
    told = likeness(state, entry)
    return f"the file holds {told}; change {place} (widths, blocks, scale), or give the file of this network"
