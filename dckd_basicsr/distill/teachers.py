"""The teachers of a run: one, or several with names."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from typing import Any

from .needs import OF_FIRST_TEACHER, STUDENT, FeatureMap, Need, TeacherOutput

__all__ = ["needed_teachers", "teacher_blocks", "title_of"]


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


def needed_teachers(options: Mapping[str, Any], needs: Collection[Hashable]) -> dict[str, Mapping[str, Any]]:
    """Return the blocks of the teachers that terms name, by name; of the first one where they name none.

    Args:
        options: of the run.
        needs: of all terms that are on, see ``needs.py``.
    """
    blocks = teacher_blocks(options)
    named = {need.teacher for need in needs if isinstance(need, TeacherOutput)}
    named |= {need.network for need in needs if isinstance(need, FeatureMap) and need.network != STUDENT}
    if "teacher" in named or any(need in OF_FIRST_TEACHER for need in needs):
        named.add(next(iter(blocks), "teacher"))
    if Need.TEACHERS in needs:
        named |= blocks.keys()
    return {name: block for name, block in blocks.items() if name in named}


def title_of(teacher: str) -> str:
    """Return what the log and messages call a teacher: by its name, where it has one of its own."""
    return "teacher" if teacher == "teacher" else f"teacher '{teacher}'"
