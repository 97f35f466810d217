"""The networks that an option file names, whichever way it names them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .problems import block_of, type_of

__all__ = ["TEACHERS", "Network", "inner_teachers", "network_at", "networks_of", "teachers_of", "with_own_file"]

TEACHERS = "network_teachers"
"""The key of a list of teachers."""
_PREFIX = "network_"


class Network(NamedTuple):
    """One network of an option file.

    Attributes:
        label: what the keys of its weights end in: ``g``, ``teacher``, ``vqgan``, or the name of a teacher.
        place: where its block stands: ``network_g``, ``network_teachers[0]``.
        block: its type and arguments.
    """

    label: str
    place: str
    block: Mapping[str, Any]


def networks_of(opt: Mapping[str, Any]) -> dict[str, Network]:
    """Return the networks by label; blocks that are none, and teachers without a name, are reported elsewhere."""
    found = [
        Network(str(key).removeprefix(_PREFIX), str(key), block)
        for key, block in opt.items()
        if str(key).startswith(_PREFIX) and isinstance(block, Mapping)
    ]
    teachers = opt.get(TEACHERS)
    for i, block in enumerate(teachers if isinstance(teachers, list | tuple) else ()):
        if isinstance(block, Mapping) and isinstance(block.get("name"), str):
            rest = {key: value for key, value in block.items() if key != "name"}
            found.append(Network(block["name"], f"{TEACHERS}[{i}]", rest))
    networks: dict[str, Network] = {}
    for network in found:
        networks.setdefault(network.label, network)  # that two share one is reported elsewhere
    return networks


def teachers_of(opt: Mapping[str, Any]) -> list[Network]:
    """Return the teachers: those of the list in their order, or else the one."""
    networks = networks_of(opt).values()
    listed = [network for network in networks if network.place.startswith(f"{TEACHERS}[")]
    return listed or [network for network in networks if network.place == "network_teacher"]


def network_at(opt: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the block of the network called ``name``: its place, or ``network_LABEL``; empty where there is none."""
    for network in networks_of(opt).values():
        if name in (network.place, f"{_PREFIX}{network.label}"):
            return network.block
    return block_of(opt, name)


def inner_teachers(place: str, block: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the blocks of the teachers inside a ``TeacherAggregation``, with their places."""
    listed = block.get("teachers") if isinstance(block, Mapping) and type_of(block) == "TeacherAggregation" else ()
    for i, inner in enumerate(listed if isinstance(listed, list | tuple) else ()):
        if isinstance(inner, dict):
            yield f"{place}.teachers[{i}]", inner


def with_own_file(place: str, block: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the blocks that name a weight file as ``path`` in themselves, with their places; the same objects."""
    if isinstance(block, dict) and type_of(block) == "PretrainedNet":
        yield place, block
    for where, inner in inner_teachers(place, block):
        if type_of(inner) != "PretrainedNet" and inner.get("path") is not None:
            yield where, inner
        yield from with_own_file(where, inner)
