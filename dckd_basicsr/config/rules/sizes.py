"""Scales and patch sizes: what networks and data sets must agree on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...archs.facts import ArchFacts, facts_from_options
from ..blocks.dataset import PATCH_TYPES
from ..networks import network_at, networks_of, teachers_of
from ..problems import block_of, type_of

__all__ = ["facts_problems", "gt_sizes", "known_facts", "size_rules"]


def size_rules(opt: Mapping[str, Any], is_train: bool) -> Iterator[str]:
    """Yield patch sizes and networks that contradict the run's scale."""
    scale = opt.get("scale")
    if not isinstance(scale, int) or scale < 1:
        return
    for key, gt_size in gt_sizes(opt).items() if is_train else ():
        if gt_size % scale:
            yield f"{key} is {gt_size}, no multiple of scale {scale}; {gt_size // scale * scale} would be"
    student = networks_of(opt).get("g")
    for network in (*([student] if student else []), *(teachers_of(opt) if is_train else ())):
        facts = known_facts(network.block)
        if facts is not None:
            yield from facts_problems(opt, network.place, facts, is_train)


def known_facts(block: Mapping[str, Any]) -> ArchFacts | None:
    """Return the facts of a network as its options tell them; None where they do not."""
    try:
        return facts_from_options(block)
    except (TypeError, ValueError):  # an argument of the wrong type, reported where it stands
        return None


def facts_problems(opt: Mapping[str, Any], name: str, facts: ArchFacts, is_train: bool) -> Iterator[str]:
    """Yield where a network contradicts the run's scale, or its patches if it trains.

    Args:
        opt: options as loaded.
        name: the network's place, such as ``network_teacher`` or ``network_teachers[0]``.
        facts: what it is like.
        is_train: for training (else for testing).
    """
    scale = opt.get("scale")
    if not isinstance(scale, int) or scale < 1:
        return
    label = f"{name} ({type_of(network_at(opt, name))})"
    if facts.scale != scale:
        yield f"scale is {scale}, but {label} upscales by {facts.scale}; make them equal"
    multiple = max(1, facts.multiple_of)
    for key, gt_size in gt_sizes(opt).items() if is_train else ():
        patch, rest = divmod(gt_size, scale)
        if not rest and not facts.admits(patch):
            least = f", at least {facts.minimum}" if patch < facts.minimum > multiple else ""
            yield (
                f"{key} {gt_size} gives LQ patches of {patch} px, but {label} takes multiples of {multiple}{least}; "
                f"make gt_size a multiple of {scale * multiple}{least and f', at least {scale * facts.minimum}'}"
            )


def gt_sizes(opt: Mapping[str, Any]) -> dict[str, int]:
    """Return patch sizes by where they stand: gt_size, or the rows of progressive."""
    train = block_of(opt, "datasets", "train")
    rows = train.get("progressive")
    if isinstance(rows, list) and train.get("type") in PATCH_TYPES:
        found = {f"datasets.train.progressive[{i}] gt_size": r[1] for i, r in enumerate(rows) if _is_row(r)}
    else:
        found = {"datasets.train.gt_size": train.get("gt_size")}
    return {key: size for key, size in found.items() if isinstance(size, int) and size > 0}


def _is_row(row: Any) -> bool:
    return isinstance(row, list | tuple) and len(row) == 3
