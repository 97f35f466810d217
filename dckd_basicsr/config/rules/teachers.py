"""What holds for a list of teachers: names that tell them, and their weights, apart."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..networks import TEACHERS
from ..problems import show

__all__ = ["teacher_problems"]

_TAKEN = ("g", "teacher", "vqgan", "student")
"""What other networks are called, or a network's feature maps."""


def teacher_problems(opt: Mapping[str, Any]) -> Iterator[str]:
    """Yield teachers without a name of their own; the rest of their blocks is bound like any network's."""
    blocks = opt.get(TEACHERS)
    if not isinstance(blocks, list | tuple):
        return  # null, or reported elsewhere
    if opt.get("network_teacher") is not None:
        yield (
            f"network_teacher and {TEACHERS} are both given; make the one an entry of the list, or remove it "
            "(network_teacher: ~ where a base has it)"
        )
    if not blocks:
        yield f"{TEACHERS} is an empty list; give a block for each teacher, or leave it out"
    known: dict[str, str] = {}
    for i, block in enumerate(blocks):
        place = f"{TEACHERS}[{i}]"
        name = block.get("name") if isinstance(block, Mapping) else ""
        if not isinstance(name, str) or not name:
            continue  # reported elsewhere
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
            yield f"'name' in {place} must be a plain word of letters, digits and _, got {show(name)}"
        elif name in _TAKEN:
            yield f"'name' in {place} must be none of {', '.join(_TAKEN)}, got {show(name)}; they are taken"
        elif name in known:
            yield f"{known[name]} and {place} are both named '{name}', and weights go by name; rename one"
        known.setdefault(name, place)
