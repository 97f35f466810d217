"""How the weight of a loss term goes over a run: a number, or one of these blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from ...distill.loss_weight import loss_weight
from ..problems import choose
from .base import Block, Needed, key
from .judging import block_problems, needed_keys

__all__ = ["SCHEDULES", "FadingBlock", "SteppedBlock", "weight_problems"]


class FadingBlock(Block):
    """`{type: cosine, from: 1.0, to: 0.0, until: 0.8}`: from one value to another, then constant."""

    type: Annotated[Literal["cosine", "linear"], Needed.OWN_TRAINING] = key("half a cosine, or a straight line")
    start: Annotated[float, Needed.OWN_TRAINING] = key("the weight at the start", alias="from")
    to: float = key("the weight at the end of the schedule and after it; 0 by default")
    until: float = key("the share of the run, in (0, 1], at which the schedule ends; 1 by default", gt=0, le=1)


class SteppedBlock(Block):
    """`{type: steps, at: [0.5, 0.8], values: [1.0, 0.1, 0.0]}`: one value after the other."""

    type: Annotated[Literal["steps"], Needed.OWN_TRAINING] = key("steps")
    at: Annotated[Sequence[float], Needed.OWN_TRAINING] = key(
        "growing shares of the run, in (0, 1), from which the next value holds"
    )
    values: Annotated[Sequence[float], Needed.OWN_TRAINING] = key("one more than there are shares")


SCHEDULES: dict[str, type[Block]] = {"cosine": FadingBlock, "linear": FadingBlock, "steps": SteppedBlock}
"""The blocks by their type."""


def weight_problems(place: str, weight: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a weight that is a block, which stands at ``place``."""
    name = weight.get("type")
    if name is None:
        return [f"missing key 'type' in {place}; one of {', '.join(SCHEDULES)}"]
    if not isinstance(name, str) or name not in SCHEDULES:
        return [choose("schedule", name, place, SCHEDULES)]
    cls = SCHEDULES[name]
    problems = block_problems(cls, weight, f"{place} ({name})", needed_keys(cls, own=True, is_train=True))
    if problems:
        return problems
    try:
        loss_weight(weight)
    except (ValueError, TypeError) as error:
        return [f"{place}: {error}"]
    return []
