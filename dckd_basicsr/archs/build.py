"""Options and weights to a network on a device, with its facts: the one builder.

Training, the check, tests, export and whatever else needs a network call :func:`build`, or :func:`outline` where names,
shapes and facts are enough.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from basicsr.archs import build_network
from torch import Tensor, nn

from ..errors import CheckpointError, ConfigError
from ..weight_files import Weights, load_into, load_weights, misfits
from .facts import ArchFacts, facts_of
from .fitting import fitted, left_out, other_values
from .networks.vqgan_arch import VQGAN
from .networks.vqgan_layout import vqgan_options_from_state
from .outline import network_class, without_parameters

__all__ = ["Built", "WeightSource", "build", "build_encoder", "encoder_block", "encoder_part", "load", "outline"]

_LOG = logging.getLogger("basicsr")

# BasicSR loads net_g from the entry 'params' unless told otherwise; in other networks' files one is searched for, and
# in net_g's where there is no 'params'.
_PARAM_KEYS = {"g": "params"}
_BESIDE_THE_ENCODER = ("decoder.", "post_quant_conv.", "loss.")


class Built(NamedTuple):
    """A network and what must be known about it to run it."""

    net: nn.Module
    facts: ArchFacts


@dataclass(frozen=True)
class WeightSource:
    """Where a network's weights are.

    Attributes:
        path: the file; ``builtin:`` names are resolved before, by the option file's reader.
        param_key: its entry, see :func:`.weight_files.load_weights`.
        strict: refuse what does not fit; otherwise what fits is loaded, and the rest is logged.
        search: take another entry where that is missing; nobody named it.
    """

    path: Path | str
    param_key: str | None = None
    strict: bool = True
    search: bool = False

    @classmethod
    def named(cls, paths: Mapping[str, Any], label: str) -> WeightSource | None:
        """Return what the block ``path`` of an option file says of ``network_LABEL``; None if it names no file."""
        file = paths.get(f"pretrain_network_{label}")
        if file is None:
            return None
        key = paths.get(f"param_key_{label}", _PARAM_KEYS.get(label))
        search = key is not None and f"param_key_{label}" not in paths
        return cls(file, key, bool(paths.get(f"strict_load_{label}", True)), search)

    def read(self) -> Weights:
        """Read the file; logs where ``params`` stands in for a named entry. Raises as :func:`.load_weights` does."""
        weights = load_weights(self.path, self.param_key, search=self.search)
        if weights.entry and self.param_key not in (None, weights.entry) and not self.search:
            _LOG.warning("'%s' has no entry '%s': its '%s' is loaded", self.path, self.param_key, weights.entry)
        return weights


def build(
    options: Mapping[str, Any],
    *,
    weights: WeightSource | None = None,
    scale: int | None = None,
    device: torch.device | str = "cpu",
    frozen: bool = False,
    where: str = "network_g",
) -> Built:
    """Build a registered network and load its weights.

    Args:
        options: constructor arguments and ``type``; not changed. A VQGAN without any has the layout of its weights.
        weights: None leaves the network as its constructor made it: drawn at random, or with weights of its own.
        scale: output size / input size that it must have; None takes any.
        device: where to put it.
        frozen: return it in evaluation mode, with parameters that need no gradients.
        where: the block that ``options`` are, for messages.

    Raises:
        CheckpointError: the weights cannot be read, do not fit, or tell another img_range or rgb_mean than ``options``.
        ConfigError: the network has another scale.
        Exception: whatever the constructor raises for these arguments; the check of option files finds it before.
    """
    network_class(options["type"])  # spandrel's are registered when they are asked for
    if weights is None:
        net = build_network(options)
    else:
        state = weights.read().state
        options = _with_layout(options, state)
        net = build_network(options)
        load(net, state, weights, options)
    facts = facts_of(net, options, scale or 1)
    if scale is not None and facts.scale != scale:
        raise ConfigError(
            f"{where} ({options['type']}) upscales by {facts.scale}, but scale is {scale}; make the two equal"
        )
    net = net.to(device)
    return Built(net.eval().requires_grad_(False) if frozen else net, facts)


def load(net: nn.Module, state: Mapping[str, Tensor], source: WeightSource, options: Mapping[str, Any]) -> None:
    """Load what was read from ``source``, under whatever known names, into a network built with ``options``.

    Raises:
        CheckpointError: it does not fit, or tells another img_range or rgb_mean than ``options``.
    """
    found = fitted(net, _part_for(net, state))
    wrong = other_values(options, found.told)
    if wrong and not (source.strict and misfits(net, found.state)):  # another network altogether: load_into tells
        raise CheckpointError(f"the weights in '{source.path}' are of another {type(net).__name__}: {wrong}")
    load_into(net, found.state, source.path, strict=source.strict)
    beside = f", without the {found.beside} other tensors of the file" if found.beside else ""
    _LOG.info("Loaded %s from %s%s", type(net).__name__, source.path, beside)
    if doubtful := left_out(options):
        _LOG.warning("%s from %s: %s", type(net).__name__, source.path, doubtful)


def build_encoder(options: Mapping[str, Any], weights: WeightSource, *, device: torch.device | str = "cpu") -> VQGAN:
    """Build a VQGAN without its decoder, frozen; its weights have to fit, whatever ``weights.strict`` says.

    Args:
        options: the block ``network_vqgan``; ``type`` alone is enough.
        weights: of the whole VQGAN or of its encoder.
        device: where to put it.

    Raises:
        CheckpointError: the weights cannot be read, are not a VQGAN's, or do not fit.
    """
    net = build(encoder_block(options), weights=replace(weights, strict=True), device=device, frozen=True).net
    assert isinstance(net, VQGAN)
    return net


def encoder_block(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a VQGAN of which the encoder alone is wanted."""
    return {**options, "type": "VQGAN", "decoder": False}


def encoder_part(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what a VQGAN without decoder takes from the weights of a whole one."""
    return {key: value for key, value in state.items() if not key.startswith(_BESIDE_THE_ENCODER)}


def outline(
    options: Mapping[str, Any], *, state: Mapping[str, Tensor] | None = None, scale: int | None = None
) -> Built:
    """Build a network without memory or time for its parameters: it has names, shapes and facts, and cannot run.

    Args:
        options: as for :func:`build`; nothing is logged.
        state: weights, of which the layout of a VQGAN without options is read; they are not loaded.
        scale: the run's, which a network is taken to have whose scale nobody knows.

    Raises:
        KeyError: no network of that name is registered.
        CheckpointError: ``state`` is not a VQGAN's.
        Exception: whatever the constructor raises for these arguments.
    """
    options = _with_layout(options, state)
    arguments = {key: value for key, value in options.items() if key != "type"}
    with without_parameters():
        net = network_class(options["type"])(**arguments)
    return Built(net, facts_of(net, options, scale or 1))


def _with_layout(options: Mapping[str, Any], state: Mapping[str, Tensor] | None) -> dict[str, Any]:
    """Return the options, those of a VQGAN that has none completed by what its weights say."""
    if state is None or options.keys() - {"type", "decoder"} or not _is_vqgan(options["type"]):
        return dict(options)
    return {**vqgan_options_from_state(state), **options}


def _is_vqgan(name: str) -> bool:
    found = network_class(name)
    return isinstance(found, type) and issubclass(found, VQGAN)


def _part_for(net: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    return encoder_part(state) if isinstance(net, VQGAN) and not hasattr(net, "decoder") else state
