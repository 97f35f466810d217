"""Weights of a file to the network that they are for: own names or published ones, buffers that are no weights."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from .layouts import from_published, spellings
from .outline import network_class
from .recognize import Recognized, usual_options

__all__ = ["Fitted", "fitted", "left_out", "other_values"]

State = Mapping[str, Tensor]

_DERIVED = ("attn_mask", "relative_position_index")
"""Buffers of window attention that follow from the options: the mask is of the size of the images trained on."""


class Fitted(NamedTuple):
    """What a network takes of a file.

    Attributes:
        state: under the network's own names, as far as they are known.
        told: options that the file tells by values, ``img_range`` and ``rgb_mean``.
        beside: how many tensors of the file are not among them, nor mean layers: of other networks, of an average.
    """

    state: State
    told: Mapping[str, Any]
    beside: int = 0


def fitted(net: nn.Module, state: State) -> Fitted:
    """Return ``state`` under the names that ``net`` has.

    In this order: as it is; without a prefix (``module.``, ``model.``, ``netG.``); by the table of published names.
    Where none of these fits, that which fits best, for :func:`.weight_files.misfits` to tell what does not.

    Args:
        net: the bare network; an outline will do.
        state: tensors as read.
    """
    own = net.state_dict()
    derived = {name for name, _ in net.named_buffers() if _is_derived(name)} & own.keys()  # some are not for files
    weights = own.keys() - derived
    for spelling in spellings(state):
        if {key for key in spelling if not _is_derived(key)} == weights and _as_shifted(spelling, derived):
            found = _with_buffers(spelling, own, derived) if derived else spelling
            return Fitted(found, {}, len(state) - len(spelling))
    published = from_published(state)
    if published is not None:
        return Fitted(published.state, published.told, len(state) - len(published.state) - published.mean_layers)
    nearest = max(spellings(state), key=lambda spelling: len(spelling.keys() & weights))
    return Fitted(nearest, {}, len(state) - len(nearest))


def other_values(options: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    """Say where the options contradict what a file tells, and what to write; empty where they do not.

    Args:
        options: the network's block.
        told: of :func:`fitted`.
    """
    if not told:
        return ""
    defaults = inspect.signature(network_class(str(options["type"]))).parameters
    texts = []
    for key, value in told.items():
        if key in defaults:
            have = options.get(key, defaults[key].default)
            if not _close(have, value):
                texts.append(f"{key} is {value} in the file and {have} in the options; write {key}: {value}")
    return "; ".join(texts)


def left_out(options: Mapping[str, Any]) -> str:
    """Say which option is missing that published weights of this size need and no file tells; empty where none is.

    Args:
        options: the network's block.
    """
    name = str(options["type"]).removesuffix("_basicsr")
    if name not in ("EDSR", "SwinIR"):
        return ""
    parameters = inspect.signature(network_class(name)).parameters
    values = {key: parameter.default for key, parameter in parameters.items()} | dict(options)
    usual = usual_options(Recognized(name, values))
    texts = [
        f"published weights of this size were trained with {key} {value:g}, which no file tells, and the options leave "
        f"it at {values[key]:g}; write {key}: {value:g}, or {key}: {values[key]:g} if these are others"
        for key, value in usual.items()
        if key in ("res_scale", "img_range") and key not in options
    ]
    return "; ".join(texts)


def _close(a: Any, b: Any) -> bool:
    """Whether these are the same up to what 16 bits lose."""
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_close, a, b))
    return isinstance(a, int | float) and isinstance(b, int | float) and math.isclose(a, b, rel_tol=2e-3)


def _is_derived(key: str) -> bool:
    return key.rpartition(".")[2] in _DERIVED


def _as_shifted(state: State, derived: set[str]) -> bool:
    """Whether the same windows are shifted: those with a mask, and none where ``img_size`` is that of one window."""
    given = {key for key in state if _is_derived(key)}
    masks = [{key for key in keys if key.endswith("attn_mask")} for keys in (given, derived)]
    return not given or masks[0] == masks[1]


def _with_buffers(state: State, own: State, derived: set[str]) -> State:
    """Put the network's own buffers in the place of those that a file lacks or has for other sizes of images."""
    weights = {key: value for key, value in state.items() if not _is_derived(key)}
    suits = {key for key in derived if key in state and state[key].shape == own[key].shape}
    return {**weights, **{key: state[key] if key in suits else own[key] for key in derived}}
