"""Whether networks take and give as many channels as the images of the data sets have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .components import NETWORK
from .keys import PAIRED_TYPES, TAUGHT_TERMS
from .problems import block_of, type_of

__all__ = ["channel_problems"]

# What the networks of BasicSR and of this package call them.
_INPUT = ("num_in_ch", "in_chans", "img_channel", "inp_channels", "in_channels")
_OUTPUT = ("num_out_ch", "out_channels")


def channel_problems(opt: Mapping[str, Any], is_train: bool) -> Iterator[str]:
    """Yield networks whose channels differ from those of a data set: 3, or 1 with ``color: y``."""
    taught = is_train and any(block_of(opt, "train").get(term) for term in TAUGHT_TERMS)
    sets = _images(opt)
    found: dict[str, list[str]] = {}
    for name in ("network_g", *(["network_teacher"] if taught else [])):
        for key, count in _channels(block_of(opt, name)).items():
            place = next((place for place, images in sets.items() if images != count), None)  # the first of them
            if place is not None:
                found.setdefault(place, []).append(f"{name} ({type_of(block_of(opt, name))}) has {key}: {count}")
    for place, differing in found.items():
        if sets[place] == 1:
            yield (
                f"{place}.color is y, one channel, but {', '.join(differing)}; remove color and measure on Y with "
                "test_y_channel: true, or make networks of one channel"
            )
        else:
            yield f"{place} has images of 3 channels, but {', '.join(differing)}; set 3, or color: y in the data sets"


def _images(opt: Mapping[str, Any]) -> dict[str, int]:
    """Channels of the images by data set; those of other types are their own."""
    sets = {f"datasets.{key}": block for key, block in block_of(opt, "datasets").items() if isinstance(block, Mapping)}
    return {
        place: 1 if block.get("color") == "y" else 3
        for place, block in sets.items()
        if block.get("type") in PAIRED_TYPES
    }


def _channels(network: Mapping[str, Any]) -> dict[str, int]:
    """The keys that state a network's channels, with what they say or stand for."""
    name = type_of(network)
    known = NETWORK.find()
    registered = name if name in known else f"{name}_basicsr"
    if registered not in known:
        return {}
    parameters = NETWORK.parameters(registered)
    values = {
        key: network.get(key, parameters.defaults.get(key)) for key in parameters.kinds if key in _INPUT + _OUTPUT
    }
    return {key: value for key, value in values.items() if isinstance(value, int) and not isinstance(value, bool)}
