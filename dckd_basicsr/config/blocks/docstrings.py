"""Reading the summary and the arguments out of docstrings, for those who see option files and not the code."""

from __future__ import annotations

import inspect
import re

__all__ = ["arguments_of", "prose_of", "summary_of"]

_SECTION = re.compile(r"(Args|Attributes|Arguments|Parameters):\s*$")
_ENTRY = re.compile(r"(\w+)\s*(?:\([^)]*\))?:\s*(.*)")


def summary_of(obj: object) -> str:
    """Return the first paragraph of a docstring on one line, empty if there is none.

    >>> summary_of(summary_of)
    'Return the first paragraph of a docstring on one line, empty if there is none.'
    """
    return " ".join(_own_doc(obj).split("\n\n")[0].split())


def prose_of(obj: object) -> str:
    """Return all paragraphs of a docstring before its sections, on one line."""
    lines = _own_doc(obj).splitlines()
    end = next((i for i, line in enumerate(lines) if _SECTION.match(line)), len(lines))
    return " ".join(" ".join(lines[:end]).split())


def arguments_of(obj: object) -> dict[str, str]:
    """Return what a docstring says of each argument or attribute, in the order it has them.

    The section ``Args:`` (or ``Attributes:``) is read, with entries ``name: text`` or ``name (kind): text`` and deeper
    lines going on with the text. Docstrings of another style give an empty dict.
    """
    found: dict[str, str] = {}
    inside, depth, name = False, 0, ""
    for line in _own_doc(obj).splitlines():
        indent = len(line) - len(line.lstrip())
        if not line.strip():
            continue
        if indent == 0:
            inside, depth = bool(_SECTION.match(line)), 0
            continue
        depth = depth or indent
        entry = _ENTRY.match(line.strip()) if inside and indent == depth else None
        if entry:
            name = entry[1]
            found[name] = entry[2]
        elif inside and name in found and indent > depth:
            found[name] = f"{found[name]} {line.strip()}"
    return found


def _own_doc(obj: object) -> str:
    # Not inspect.getdoc, which falls back to that of a base class: nn.Module's says nothing of a network.
    return inspect.cleandoc(getattr(obj, "__doc__", None) or "")
