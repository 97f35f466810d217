"""How problems of an option file are worded and gathered."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import near_miss

__all__ = ["all_of", "block_of", "choose", "report", "show", "type_of", "unknown_key"]

_LISTED = 40
_SHOWN = 60


def report(problems: Sequence[str], source: Path | str) -> str:
    """Return one message for all problems of ``source``, numbered."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return "\n".join([f"{source}: {count}", *(f"  {i}. {text}" for i, text in enumerate(problems, start=1))])


def show(value: Any) -> str:
    """Return a value as YAML would write it, cut to a readable length."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) and not math.isfinite(value):
        return f"{'-' if value < 0 else ''}.{abs(value)!s}"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def unknown_key(key: Any, where: str, known: Iterable[str]) -> str:
    """Word an unknown key, with the nearest known one.

    >>> unknown_key("num_fet", "network_g (EDSR)", ["num_feat"])
    "unknown key 'num_fet' in network_g (EDSR); did you mean 'num_feat'?"
    """
    names = sorted(known)
    hint = near_miss(key, names)
    return f"unknown key '{key}' in {where}{hint or f'; known are: {_listed(names)}'}"


def choose(kind: str, name: Any, where: str, known: Iterable[str]) -> str:
    """Word a name that is not among those known, with the nearest (case aside) or all of them."""
    names = sorted(known)
    same = [n for n in names if n.lower() == str(name).lower()]
    hint = f"; did you mean '{same[0]}'?" if same else near_miss(name, names)
    return f"unknown {kind} {show(name)} in {where}{hint or f'; known are: {_listed(names)}'}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "") if names else "none"


def all_of(names: Iterable[str]) -> str:
    """Return names as a sentence has them: ``A, B and C``."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def block_of(options: Any, *keys: str) -> Mapping[str, Any]:
    """Return the nested block, empty where it is missing or no mapping (which the schema check reports)."""
    for key in keys:
        options = options.get(key) if isinstance(options, Mapping) else None
    return options if isinstance(options, Mapping) else {}


def type_of(block: Mapping[str, Any]) -> str:
    """Return the block's ``type``, empty where it is missing or no name."""
    name = block.get("type")
    return name if isinstance(name, str) else ""
