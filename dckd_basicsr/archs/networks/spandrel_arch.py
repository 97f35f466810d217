"""spandrel's architectures as networks that train: ``type: spandrel:SPAN`` in any option file.

Every program that reads weights through spandrel (chaiNNer, ComfyUI and others) recognises such a student: that its
state dict is taken for this architecture is checked when it is built.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from functools import cache, wraps
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from ...errors import ConfigError, near_miss
from ..outline import without_parameters
from .pretrained_arch import WRITES_INTO_ITS_INPUT, descriptor_facts, special_call

__all__ = ["PREFIX", "merged", "spandrel_names", "spandrel_network"]

PREFIX = "spandrel:"
_NOT_FROM_IMAGE_TO_IMAGE = ("AuraSR", "GFPGAN", "LaMa", "RestoreFormer")
"""Inpainting, faces, and a generator that draws at random."""
_CONVOLUTIONAL = ("Compact", "ESRGAN", "PLKSR", "RCAN", "RealPLKSR", "SPAN")
"""Plain convolutional networks, for which the memory layout channels_last pays."""


@cache
def _known() -> dict[str, type[nn.Module]]:
    """Return spandrel's networks by the name of their class. Imports spandrel, which takes seconds."""
    import spandrel

    found: dict[str, type[nn.Module]] = {}
    for support in spandrel.MAIN_REGISTRY.architectures("detection"):
        module = inspect.getmodule(type(support.architecture))
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            if isinstance(value, type) and issubclass(value, nn.Module) and name not in _NOT_FROM_IMAGE_TO_IMAGE:
                found[name] = value
    return found


def spandrel_names() -> list[str]:
    """Return the types there are: ``spandrel:`` and the name of a class."""
    return [f"{PREFIX}{name}" for name in sorted(_known())]


def spandrel_network(name: str) -> type[nn.Module]:
    """Return the class for ``spandrel:NAME``; BasicSR's registry has it from then on.

    It takes the arguments of spandrel's class. Its networks have ``facts``, answer as spandrel has them answer, but
    do not clamp, and their state dicts hold merged branches that belong to the others (SPAN).

    Raises:
        KeyError: spandrel has none of that name; the message names the nearest, or all.
    """
    short = name.removeprefix(PREFIX)
    if short not in _known():
        hint = near_miss(short, _known()) or f". There are: {', '.join(sorted(_known()))}"
        raise KeyError(f"spandrel has no network '{short}'{hint}")
    registered: dict[str, Any] = ARCH_REGISTRY._obj_map
    if name not in registered:
        registered[name] = _trainable(short, _known()[short])
    found: type[nn.Module] = registered[name]
    return found


def merged(net: nn.Module) -> nn.Module:
    """Return a copy for inference, in which convolutions of several branches are the one that they amount to.

    Args:
        net: any network; one without such branches is copied as it is.
    """
    found = copy.deepcopy(net).eval()
    for name, module in list(_branched(found)):
        module.update_params()
        single: list[nn.Module] = [module.eval_conv]
        if module.has_relu:
            single.append(nn.LeakyReLU(0.05))
        parent, _, own = name.rpartition(".")
        setattr(found.get_submodule(parent), own, nn.Sequential(*single) if len(single) > 1 else single[0])
    return found


def _branched(net: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the modules that train as branches and act as one convolution: ``Conv3XC`` of SPAN."""
    for name, module in net.named_modules():
        if hasattr(module, "update_params") and hasattr(module, "eval_conv"):
            yield name, module


def _merge(net: nn.Module, prefix: str, keep_vars: bool) -> None:
    for _, module in _branched(net):
        module.update_params()


def _trainable(name: str, base: type[nn.Module]) -> type[nn.Module]:
    """Return spandrel's class with what training needs beside it."""

    @wraps(base.__init__)
    def __init__(self: nn.Module, **arguments: Any) -> None:
        base.__init__(self, **arguments)
        _prepare(self, base, name)

    def forward(self: Any, *inputs: Any, **named: Any) -> Any:
        if name in WRITES_INTO_ITS_INPUT:
            inputs = tuple(x.clone() for x in inputs)
        if self.spandrel_call is None or self.inside_call:
            return base.forward(self, *inputs, **named)
        self.inside_call = True  # the call comes back to this
        try:
            return self.spandrel_call(self, *inputs)
        finally:
            self.inside_call = False

    body = {"__init__": __init__, "forward": forward, "__module__": base.__module__, "__doc__": base.__doc__}
    return type(name, (base,), body)


def _prepare(net: Any, base: type[nn.Module], name: str) -> None:
    net.spandrel_call, net.inside_call = None, False
    for _, module in _branched(net):
        module.eval_conv.requires_grad_(False)  # it follows from the branches, and no gradient reaches it
    found = _as_read_back(net, base, name)
    net.spandrel_call = special_call(found)
    net.facts = descriptor_facts(found, channels_last=name in _CONVOLUTIONAL)
    net.register_state_dict_pre_hook(_merge)


def _as_read_back(net: Any, base: type[nn.Module], name: str) -> Any:
    """Return spandrel's description of a file of this network.

    Raises:
        ConfigError: it takes the file for something else, or cannot tell from it what changes the answers.
    """
    import spandrel

    state = dict(net.state_dict())
    try:
        try:
            with without_parameters():
                found = spandrel.MAIN_REGISTRY.load(dict(state))
        except RuntimeError:  # RCAN and IPT are made with values
            found = spandrel.MAIN_REGISTRY.load(dict(state))
    except spandrel.UnsupportedModelError as error:
        raise ConfigError(
            f"spandrel would not recognise a {name} with these arguments by its file, and no other program "
            "would; choose others (a NAFNet, for instance, needs a middle block)"
        ) from error
    except RuntimeError as error:
        raise ConfigError(
            f"spandrel would build another network than this {name} from its file "
            f"({str(error).splitlines()[0]}); choose other arguments"
        ) from error
    if type(found.model) is not base:
        raise ConfigError(
            f"spandrel would take a file of this {name} for a {type(found.model).__name__}; choose others"
        )
    lost = _untold(net, found.model)
    if lost and not any(p.is_meta for p in net.parameters()):
        _compare(net, spandrel.MAIN_REGISTRY.load(dict(state)), lost)
    return found


def _untold(net: Any, other: Any) -> dict[str, Any]:
    """Return the arguments that a file does not tell, with what spandrel takes them for."""

    def plain(value: Any) -> Any:
        return [plain(v) for v in value] if isinstance(value, list | tuple) else value

    mine, read = (getattr(each, "hyperparameters", {}) for each in (net, other))
    return {key: read.get(key) for key, value in mine.items() if plain(value) != plain(read.get(key))}


@torch.no_grad()
def _compare(net: nn.Module, found: Any, lost: Mapping[str, Any]) -> None:
    facts, training = descriptor_facts(found), net.training
    height, width = facts.padded(32, 32)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, facts.input_channels or 3, height, width, generator=generator)
    call = special_call(found) or (lambda model, image: model(image))
    with torch.random.fork_rng(devices=()):
        mine, read = call(net.eval(), x), call(found.model.eval(), x)
    net.train(training)
    if mine.shape != read.shape or not torch.allclose(mine, read, rtol=1e-3, atol=1e-4 * float(mine.abs().max())):
        raise ConfigError(
            f"a file of this {type(net).__name__} does not tell {', '.join(lost)}, and spandrel would take "
            f"{', '.join(f'{key} {value}' for key, value in lost.items())}, with which it answers otherwise; leave "
            f"{'them' if len(lost) > 1 else 'it'} out"
        )
