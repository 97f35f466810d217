"""What is wrong with a block, in sentences: pydantic judges, and here alone its findings are put into words."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from pydantic import ValidationError

from ..problems import show, unknown_key
from .base import Block, Needed, fields_of, inner_block, settings_block, shown_schema
from .values import describe, fits, words, yaml_value

__all__ = ["FILE", "block_problems", "misfit", "missing_keys", "needed_keys", "settings_problems"]

FILE = "the option file"
"""What the top of an option file is called in messages."""
_BOUNDS = {
    "greater_than_equal": ("must be at least", "ge"),
    "greater_than": ("must be more than", "gt"),
    "less_than_equal": ("must be at most", "le"),
    "less_than": ("must be below", "lt"),
}
_UNKNOWN = ("extra_forbidden", "invalid_key")
_A_BLOCK = "must be a block of 'key: value' lines, got"


def misfit(key: str, where: str, value: Any, annotation: Any) -> list[str]:
    """Return the problem of a value that does not fit, if it is one."""
    if fits(value, annotation):
        return []
    return [f"'{key}' in {where} must be {describe(annotation)}, got {show(value)}"]


def needed_keys(cls: type[Block], own: bool, is_train: bool) -> list[str]:
    """Return the keys that a block must have, in a file of this package's models (``own``) or another's."""
    return [
        key
        for key, field in fields_of(cls).items()
        if any(isinstance(mark, Needed) and mark.holds(own, is_train) for mark in field.metadata)
    ]


def block_problems(
    cls: type[Block],
    block: Mapping[str, Any],
    where: str,
    needed: Collection[str] = (),
    unknown: Callable[[str, str], str | None] = lambda key, where: None,
) -> list[str]:
    """Return what is wrong with a block of an option file, inner blocks included.

    Args:
        cls: what the block should be.
        block: as loaded.
        where: its place, for messages.
        needed: keys that it must have; null is as good as left out.
        unknown: what to say of a key that is none of this block's; None for the usual.
    """
    missing = [key for key in needed if block.get(key) is None]
    return missing_keys(block, where, needed) + _misfits(
        cls, {key: value for key, value in block.items() if key not in missing}, where, unknown
    )


def settings_problems(where: str, block: Any, cls: type) -> list[str]:
    """Return what is wrong with an option block that becomes the frozen dataclass ``cls``; nested blocks included."""
    if block is None:
        return []
    if not isinstance(block, Mapping):
        return [f"{where} {_A_BLOCK} {show(block)}"]
    return _misfits(settings_block(cls), block, where, lambda key, place: None)


def missing_keys(block: Mapping[str, Any], where: str, needed: Collection[str]) -> list[str]:
    """Return which of the needed keys a block does not have."""
    return [f"missing key '{key}' in {where}" for key in needed if block.get(key) is None]


def _inside(where: str, key: str) -> str:
    """Return the place of a block under a key of another one."""
    return key if where == FILE else f"{where}.{key}" if key else where


class _Finding(NamedTuple):
    order: tuple[Any, ...]
    text: str


def _misfits(
    cls: type[Block], block: Mapping[str, Any], where: str, unknown: Callable[[str, str], str | None]
) -> list[str]:
    try:
        cls.model_validate(yaml_value(block))
    except ValidationError as error:
        found: dict[tuple[str, str], list[_Finding]] = {}
        for each in error.errors(include_url=False, include_input=False):
            place = _Place.of(cls, block, where, each["loc"])
            finding = _worded(place, each, unknown)
            if finding is not None:
                found.setdefault((place.where, place.key), []).append(finding)
        # Of the members of a union each has its say; a bound that is missed says more than a kind that is not there.
        return [finding.text for finding in sorted(min(each) for each in found.values())]
    return []


@dataclass(frozen=True)
class _Place:
    """Where pydantic found something: a key of a block, which may stand inside others."""

    cls: type[Block]
    block: Mapping[str, Any]
    where: str
    key: str
    depth: int

    @classmethod
    def of(cls, outer: type[Block], block: Mapping[str, Any], where: str, location: tuple[int | str, ...]) -> _Place:
        """Follow a location down to the innermost block; what pydantic appends for members of unions is left out."""
        found = cls(outer, block, where, "", 0)
        for part in map(str, location):
            if found.key:
                inner = _inner(found)
                if inner is None:
                    break
                where = _inside(found.where, found.key)
                found = replace(found, cls=inner, block=found.value, where=where, depth=found.depth + 1)
            found = replace(found, key=part)
        return found

    @property
    def value(self) -> Any:
        return next((value for key, value in self.block.items() if yaml_value(str(key)) == self.key), None)

    @property
    def row(self) -> int:
        return next((i for i, key in enumerate(self.block) if str(key) == self.key), -1)


def _inner(place: _Place) -> type[Block] | None:
    field = fields_of(place.cls).get(place.key)
    return inner_block(field.annotation) if field is not None and isinstance(place.value, Mapping) else None


def _worded(place: _Place, error: Mapping[str, Any], unknown: Callable[[str, str], str | None]) -> _Finding | None:
    kind, key, where, value = error["type"], place.key, place.where, place.value
    deep = place.depth > 0
    if kind == "missing" and place.row < 0:
        return _Finding((deep, 1, len(place.block)), f"missing key '{key}' in {where}")
    if kind in _UNKNOWN:
        text = unknown(key, where) or unknown_key(key, where, fields_of(place.cls))
        return _Finding((deep, 1, place.row), text)
    field = fields_of(place.cls).get(key)
    if kind == "value_error" and (field is None or _inner(place) is not None):  # of a settings class
        return _Finding((deep, 2, place.row), f"{_inside(where, key)}: {error['ctx']['error']}")
    if kind == "model_type":
        return _Finding((deep, 2, place.row), f"{_inside(where, key)} {_A_BLOCK} {show(value)}")
    if kind in _BOUNDS:
        if isinstance(value, float) and math.isnan(value):
            return None  # told by the rules of numbers
        bound, name = _BOUNDS[kind]
        return _Finding(
            (deep, 2, place.row, 0), f"'{key}' in {where} {bound} {error['ctx'][name]:g}, got {show(value)}"
        )
    wanted = words(shown_schema(place.cls)["properties"][key])
    return _Finding((deep, 2, place.row, 1), f"'{key}' in {where} must be {wanted}, got {show(value)}")
