"""The names under which weights are published, beside a network's own: one table, by which they are read and written.

Each row pairs the names of a published file with those of the registered network. What no row is needed for, networks
whose published names are their own (SwinIR, NAFNet, Restormer, BasicSR's EDSR), is told by ``recognize.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["LAYOUTS", "Layout", "OwnNames", "from_published", "layout_of", "spellings", "to_published"]

State = Mapping[str, Tensor]

_NETWORKS = ("netG", "net_g", "generator", "model", "network", "net", "params")
_AVERAGED = (
    *(f"{name}_ema." for name in _NETWORKS),
    "ema_model.",
    "ema.",
)  # beside the network itself: they come first
_PREFIXES = (*_AVERAGED, "module.", "_orig_mod.", *(f"{name}." for name in _NETWORKS))
_NESTED = 3  # module.netG.model.head.0.weight
_USUAL_MEAN = (0.4488, 0.4371, 0.4040)  # of DIV2K's photos, the default of these networks everywhere


@dataclass(frozen=True)
class Layout:
    """How one program names the weights of a network.

    Attributes:
        network: its registered type.
        whose: who writes these names, for messages.
        names: published and own names of its layers. ``{g}`` is a number that both have, other words in braces are
            ``counts``.
        counts: a number in published names -> the own names of which it is the count, with ``#`` for the number.
        mean_shift: whether the subtraction of the mean colour is a layer, ``sub_mean`` and ``add_mean``.
    """

    network: str
    whose: str
    names: tuple[tuple[str, str], ...]
    counts: Mapping[str, str] = field(default_factory=dict)
    mean_shift: bool = False


class OwnNames(NamedTuple):
    """Weights of a published file under the names of the registered network.

    Attributes:
        layout: the row of the table that they were written by.
        state: tensors by own names.
        told: options that the file tells by values: ``img_range`` and ``rgb_mean``; empty where it has no mean layer,
            without the range where the mean is 0.
        mean_layers: how many tensors the mean layers have.
    """

    layout: Layout
    state: dict[str, Tensor]
    told: dict[str, Any]
    mean_layers: int = 0

    @property
    def unusual(self) -> dict[str, Any]:
        """Those of ``told`` that are not the defaults of these networks."""
        usual = {"img_range": 255.0, "rgb_mean": list(_USUAL_MEAN)}
        return {key: value for key, value in self.told.items() if value != usual[key]}


_ENDS = (("head.0", "conv_first"), ("tail.0.{i}", "upsample.{i}"), ("tail.1", "conv_last"))
_BLOCK = "body.{g}.body.{b}.body", "body.{g}.residual_group.{b}.rcab"

LAYOUTS: tuple[Layout, ...] = (
    Layout(
        network="EDSR",
        whose="EDSR-PyTorch",
        names=(
            *_ENDS,
            ("body.{g}.body.0", "body.{g}.conv1"),
            ("body.{g}.body.2", "body.{g}.conv2"),
            ("body.{blocks}", "conv_after_body"),
        ),
        counts={"blocks": "body.#."},
        mean_shift=True,
    ),
    Layout(
        network="RCAN",
        whose="its authors' code",
        names=(
            *_ENDS,
            (f"{_BLOCK[0]}.0", f"{_BLOCK[1]}.0"),
            (f"{_BLOCK[0]}.2", f"{_BLOCK[1]}.2"),
            (f"{_BLOCK[0]}.3.conv_du.0", f"{_BLOCK[1]}.3.attention.1"),
            (f"{_BLOCK[0]}.3.conv_du.2", f"{_BLOCK[1]}.3.attention.3"),
            ("body.{g}.body.{blocks}", "body.{g}.conv"),
            ("body.{groups}", "conv_after_body"),
        ),
        counts={"blocks": "body.0.residual_group.#.", "groups": "body.#."},
        mean_shift=True,
    ),
)


def layout_of(network: str) -> Layout:
    """Return the row of a registered type.

    Raises:
        KeyError: its published names are its own, or nobody's.
    """
    for layout in LAYOUTS:
        if layout.network == network.removesuffix("_basicsr"):
            return layout
    raise KeyError(network)


def to_published(
    layout: Layout, state: State, *, img_range: float = 255.0, rgb_mean: Tensor | None = None
) -> dict[str, Tensor]:
    """Return weights under their published names; :func:`from_published` is the inverse.

    Args:
        layout: of the network.
        state: all its weights, by own names.
        img_range: the network's; values reach it as 0 to ``img_range``.
        rgb_mean: the network's, three values of 0 to 1; None leaves the mean layers out.

    Raises:
        KeyError: a name that the network does not have.
    """
    counts = {name: str(_count(state, kind)) for name, kind in layout.counts.items()}
    found = {}
    for key, value in state.items():
        name = _renamed(key, ((own, published) for published, own in layout.names), counts)
        if name is None:
            raise KeyError(key)
        found[name] = value
    if layout.mean_shift and rgb_mean is not None:
        for name, sign in (("sub_mean", -1.0), ("add_mean", 1.0)):
            found[f"{name}.weight"] = torch.eye(3).view(3, 3, 1, 1)
            found[f"{name}.bias"] = sign * img_range * rgb_mean.detach().float().view(3)
    return found


def from_published(state: State) -> OwnNames | None:
    """Return weights under the network's own names; None unless every name is one of the same published layout.

    Prefixes around the names (``module.``, ``model.``, ``netG.``) are taken off.
    """
    for spelling in spellings(state):
        for layout in LAYOUTS:
            found = _read(layout, spelling)
            if found is not None:
                return found
    return None


def spellings(state: State, nested: int = _NESTED) -> Iterator[State]:
    """Yield ``state`` as it is, then what is behind up to ``nested`` known prefixes, without these; averages first."""
    yield state
    for prefix in _PREFIXES if nested else ():
        part = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
        if part:
            yield from spellings(part, nested - 1)


def _read(layout: Layout, state: State) -> OwnNames | None:
    shift = {key: value for key, value in state.items() if key.startswith(("sub_mean.", "add_mean."))}
    told = _mean_told(shift) if shift and layout.mean_shift else {}
    if told is None:
        return None
    own = {}
    for key, value in state.items():
        if key not in shift:
            name = _renamed(key, layout.names, {})
            if name is None:
                return None
            own[name] = value
    # Numbers that count have to be the counts: written again, the names are the same ones.
    try:
        again = to_published(layout, own)
    except KeyError:
        return None
    return OwnNames(layout, own, told, len(shift)) if own and again.keys() == state.keys() - shift.keys() else None


def _mean_told(shift: State) -> dict[str, Any] | None:
    """Return range and mean of the mean layers; None if they do more than add a colour and take it away again."""
    if shift.keys() != {f"{name}.{leaf}" for name in ("sub_mean", "add_mean") for leaf in ("weight", "bias")}:
        return None
    if any(value.is_meta for value in shift.values()):
        return {}
    bias, same = shift["sub_mean.bias"].double(), torch.eye(3).view(3, 3, 1, 1)
    for name, sign in (("sub_mean", 1), ("add_mean", -1)):
        weight, other = shift[f"{name}.weight"], sign * shift[f"{name}.bias"].double()
        if weight.shape != same.shape or bias.shape != (3,) or not torch.equal(weight.float(), same):
            return None
        if not torch.allclose(other, bias, rtol=1e-5, atol=0):
            return None
    if not bool(bias.any()):
        return {"rgb_mean": [0.0, 0.0, 0.0]}  # which tells no range
    usual = torch.tensor(_USUAL_MEAN, dtype=torch.float64)
    ranges = -bias / usual
    if torch.allclose(ranges, ranges.mean(), rtol=1e-3):
        return {"img_range": _rounded(float(ranges.mean())), "rgb_mean": list(_USUAL_MEAN)}
    img_range = 255.0 if float(bias.abs().max()) > 1 else 1.0
    mean = [round(value, 7) for value in (-bias / img_range).tolist()]
    return {"img_range": img_range, "rgb_mean": mean} if min(mean) >= 0 and max(mean) <= 1 else None


def _rounded(value: float) -> float:
    """Return the whole number that a range stored in 16 bits stands for."""
    return float(round(value)) if abs(value - round(value)) < 1e-3 * value else value


def _count(state: State, kind: str) -> int:
    pattern = re.compile(re.escape(kind).replace(r"\#", r"(\d+)"))
    return 1 + max((int(found[1]) for key in state if (found := pattern.match(key))), default=-1)


def _renamed(key: str, names: Iterable[tuple[str, str]], counts: Mapping[str, str]) -> str | None:
    """Return a key by the first pair whose one name it has, under the other; None if there is none."""
    layer, _, leaf = key.rpartition(".")
    if leaf not in ("weight", "bias"):
        return None
    for old, new in names:
        if found := _pattern(old).fullmatch(layer):
            return f"{new.format(**{**counts, **found.groupdict()})}.{leaf}"
    return None


@cache
def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>\\d+)", re.escape(template)))
