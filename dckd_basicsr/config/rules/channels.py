"""Whether networks take and give as many channels as the images of the data sets have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...archs.facts import ArchFacts
from ..blocks.dataset import DESCRIBED_TYPES, PATCH_TYPES
from ..components import NETWORK
from ..networks import network_at, networks_of, teachers_of
from ..problems import block_of, type_of
from .terms import is_used

__all__ = ["channel_problems", "loaded_channel_problems"]

# Whose parameters are judged; what those of other packages mean is theirs.
_PACKAGES = ("basicsr", "dckd_basicsr")
# What their networks call them.
_INPUT = ("num_in_ch", "in_chans", "img_channel", "inp_channels", "in_channels")
_OUTPUT = ("num_out_ch", "out_channels")


def channel_problems(opt: Mapping[str, Any], is_train: bool) -> Iterator[str]:
    """Yield networks whose options state other channels than a data set has: 3, or 1 with ``color: y``."""
    student = networks_of(opt).get("g")
    used = [teacher for teacher in teachers_of(opt) if is_used(opt, teacher.label, is_train)]
    networks = [*([student] if student else []), *used]
    yield from _problems(opt, {network.place: _stated(network.block) for network in networks})


def loaded_channel_problems(opt: Mapping[str, Any], name: str, facts: ArchFacts) -> Iterator[str]:
    """Yield where a network whose channels only its weight file tells contradicts a data set.

    Args:
        opt: options as loaded.
        name: the network's place, such as ``network_teacher`` or ``network_teachers[0]``.
        facts: what it is like.
    """
    counts = {"input_channels": facts.input_channels, "output_channels": facts.output_channels}
    yield from _problems(opt, {name: {key: count for key, count in counts.items() if count is not None}})


def _problems(opt: Mapping[str, Any], networks: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    sets = _images(opt)
    found: dict[str, list[str]] = {}
    for name, counts in networks.items():
        for key, count in counts.items():
            place = next((place for place, images in sets.items() if images != count), None)  # the first of them
            if place is not None:
                found.setdefault(place, []).append(f"{name} ({type_of(network_at(opt, name))}) has {key}: {count}")
    for place, differing in found.items():
        if sets[place] == 1:
            yield (
                f"{place}.color is y, one channel, but {', '.join(differing)}; remove color and measure on Y with "
                "test_y_channel: true, or take networks of one channel"
            )
        else:
            yield (
                f"{place} has images of 3 channels, but {', '.join(differing)}; take networks of 3, or color: y in "
                "the data sets"
            )


def _images(opt: Mapping[str, Any]) -> dict[str, int]:
    """Channels of the images by data set; those of other types are their own."""
    sets = {f"datasets.{key}": block for key, block in block_of(opt, "datasets").items() if isinstance(block, Mapping)}
    return {
        place: 1 if block.get("color") == "y" and block["type"] not in PATCH_TYPES else 3
        for place, block in sets.items()
        if block.get("type") in DESCRIBED_TYPES
    }


def _stated(network: Mapping[str, Any]) -> dict[str, int]:
    """The keys that state a network's channels, with what they say or stand for."""
    name = type_of(network)
    known = NETWORK.find()
    registered = name if name in known else f"{name}_basicsr"
    if registered not in known:
        return {}
    if known[registered].__module__.split(".")[0] not in _PACKAGES:
        return {}
    parameters = NETWORK.parameters(registered)
    values = {
        key: network.get(key, parameters.defaults.get(key)) for key in parameters.kinds if key in _INPUT + _OUTPUT
    }
    return {key: value for key, value in values.items() if isinstance(value, int) and not isinstance(value, bool)}
