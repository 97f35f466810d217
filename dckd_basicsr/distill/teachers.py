"""The teachers of a run: one, or several with names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["teacher_blocks", "title_of"]


def teacher_blocks(options: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the option block of each teacher by its name; the first one is what terms mean that name none.

    ``network_teacher`` is one called "teacher". ``network_teachers`` is a list of blocks with a ``name`` each; its
    weights are ``path: pretrain_network_NAME``.
    """
    if options.get("network_teachers"):
        return {
            block["name"]: {key: value for key, value in block.items() if key != "name"}
            for block in options["network_teachers"]
        }
    block = options.get("network_teacher")
    return {"teacher": block} if block else {}


def title_of(teacher: str) -> str:
    """Return what the log and messages call a teacher: by its name, where it has one of its own."""
    return "teacher" if teacher == "teacher" else f"teacher '{teacher}'"
