"""Whether the weights and training states an option file names are there, readable, and fit their networks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..archs import (
    VQGAN,
    Built,
    WeightSource,
    detected_name,
    encoder_block,
    encoder_part,
    facts_from_options,
    network_class,
    outline,
    recognize,
)
from ..errors import CheckpointError, ConfigError, DCKDError
from ..kinds import is_own
from ..weight_files import load_training_state, load_weights, misfits
from .channels import loaded_channel_problems
from .components import network_problems
from .keys import TAUGHT_TERMS, VQGAN_TERMS
from .problems import block_of, type_of
from .resources import as_path, is_there, missing_file, resolve_weights
from .rules import facts_problems, tap_problems

__all__ = ["resume_problems", "weight_problems"]

_NEEDED_BY = {"network_teacher": TAUGHT_TERMS, "network_vqgan": VQGAN_TERMS}


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
    for name, block in opt.items():
        is_network = str(name).startswith("network_") and isinstance(block, Mapping)
        if is_network and (not own or _is_used(opt, name, is_train)):
            yield from _outline(opt, name, is_train, outlines, told)
    for key, value in paths.items():
        label = str(key).removeprefix("pretrain_network_")
        name = f"network_{label}"
        if label == key or not isinstance(value, str) or (own and not _is_used(opt, name, is_train)):
            continue
        kind = type_of(block_of(opt, name)) if label == "teacher" else ""
        path = _existing(f"path.{key}", value, told, kind, _needless(opt, name))
        if isinstance(path, str):
            yield path
        elif own:
            built = outlines.get(name)
            yield from _weight_file(opt, label, value, path, built.net if built else None)


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


def _is_used(opt: Mapping[str, Any], network: Any, is_train: bool) -> bool:
    if network == "network_g":
        return True
    terms = _NEEDED_BY.get(network, ())  # an ablation that switches these terms off needs no such file
    return is_train and network in opt and any(block_of(opt, "train").get(term) for term in terms)


def _existing(key: str, value: str, told: set[str], kind: str = "", needless: str = "") -> Path | str:
    """Return the file that an option names, or what is wrong with the name; ``needless`` says why none is needed."""
    try:
        path = resolve_weights(value)
    except ConfigError as error:
        return f"{key}: {error}"
    if is_there(path):
        return path
    return f"{key}: '{value}' does not exist, and {needless}" if needless else missing_file(key, value, told, kind)


def _needless(opt: Mapping[str, Any], network: str) -> str:
    """Say why a network needs no weights under ``path``, and what to do; empty where it does."""
    kind = type_of(block_of(opt, network))
    reasons = {"PretrainedNet": f"loads the file of its own {network}.path", "Bicubic": "has no weights"}
    if kind not in reasons:
        return ""
    return f"{network} ({kind}) {reasons[kind]}; remove path.pretrain_{network}, or set it to ~ where a base has it"


def _outline(
    opt: Mapping[str, Any], name: str, is_train: bool, outlines: dict[str, Built], told: set[str]
) -> Iterator[str]:
    """Build the network's outline into ``outlines`` and judge the facts that only the built network tells."""
    options = dict(block_of(opt, name))
    if type_of(options) == "PretrainedNet" and isinstance(options.get("path"), str):
        path = _existing(f"{name}.path", options["path"], told)
        if isinstance(path, str):
            yield path
            return
        options["path"] = str(path)
    if not is_own(opt.get("model_type")) or name == "network_vqgan":
        return  # not ours to judge; or its layout may be in the weights
    try:
        scale = opt.get("scale")
        built = outlines[name] = outline(options, scale=scale if isinstance(scale, int) else None)
        known = facts_from_options(options) is not None
    except DCKDError as error:
        yield f"{name} ({type_of(options)}): {error}"
        return
    except Exception:
        # A constructor that needs real tensors; or arguments that it cannot take, reported where their kind is wrong.
        if not network_problems(name, block_of(opt, name)):
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


def _weight_file(opt: Mapping[str, Any], label: str, value: str, path: Path, net: nn.Module | None) -> Iterator[str]:
    key = f"path.pretrain_network_{label}"
    source = WeightSource.named(block_of(opt, "path"), label)
    assert source is not None
    try:
        state = load_weights(path, source.param_key if isinstance(source.param_key, str) else None).state
        if label == "vqgan":
            block = block_of(opt, "network_vqgan")
            net = _encoder(block, state)
            state = encoder_part(state)
            if isinstance(net, VQGAN) and not block.keys() - {"type"}:  # with options it is one of the rules
                yield from tap_problems(opt, net.num_taps)
    except CheckpointError as error:
        yield f"{key}: {error}"
        return
    wrong = misfits(net, state) if net is not None else []
    if wrong and (label == "vqgan" or source.strict):
        network = f"network_{label}"
        advice = _needless(opt, network) or _likeness(state, network)
        yield f"{key}: the weights in '{value}' do not fit {type(net).__name__}: {'; '.join(wrong)}; {advice}"


def _encoder(block: Mapping[str, Any], state: Mapping[str, Tensor]) -> nn.Module | None:
    try:
        return outline(encoder_block(block), state=state).net
    except CheckpointError:
        raise
    except Exception:  # as in _outline
        return None


def _likeness(state: Mapping[str, Tensor], network: str) -> str:
    """Say what architecture ``state`` looks like, and what to do."""
    found = recognize(state)
    if found is not None:
        return f"the file looks like {found}; change {network}, or give the file of this network"
    name = detected_name(state)
    if name is not None:
        return f"to spandrel it looks like {name}; `{network}: {{type: PretrainedNet, path: FILE}}` loads it"
    return f"change {network} (widths, blocks, scale), or give the file of this network"
