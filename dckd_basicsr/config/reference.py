"""The reference in docs/reference/options.md, made of the classes of :mod:`.blocks`; and the list of all option keys.

``python -m dckd_basicsr.config.reference docs/reference/options.md`` writes it anew.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .blocks import BLOCKS, Block, fields_of, inner_block
from .blocks.base import BY_RUN, shown_schema, walk
from .blocks.docstrings import prose_of
from .blocks.top import TeacherBlock
from .blocks.train import LossBlock, NamedTermBlock, TermBlock
from .blocks.values import words
from .blocks.weight import FadingBlock, SteppedBlock
from .inherit import BASE, REPLACE
from .networks import TEACHERS
from .problems import show

__all__ = ["option_keys", "reference", "write_reference"]

_MARKER = "a test compares -->"
_REPLACES = "in a block: true replaces the inherited block, false merges with it even if its type differs"
_LISTED: dict[str, type[Block]] = {
    f"{TEACHERS}[]": TeacherBlock,
    "train.TERM_opt": LossBlock,
    "train.losses[]": TermBlock,
    "train.losses.NAME": NamedTermBlock,
    "WEIGHT (cosine, linear)": FadingBlock,
    "WEIGHT (steps)": SteppedBlock,
}
"""Blocks whose other keys are the arguments of what they name, and those that stand for a number."""


def option_keys() -> list[str]:
    """Return every key of this package's own blocks, by its place, in order; those that the run adds are left out."""
    found = [BASE, REPLACE]
    for place, cls in _places():
        prefix = "" if place == "top" else f"{place}."
        found += [f"{prefix}{key}" for key, field in fields_of(cls).items() if BY_RUN not in field.metadata]
    return sorted(found)


def _places() -> Iterator[tuple[str, type[Block]]]:
    """Every block, those of the file first and then those inside them."""
    yield from BLOCKS.items()
    yield from _LISTED.items()
    for name, cls in BLOCKS.items():
        for place, inner in walk(cls, "" if name == "top" else name):
            if inner is not cls:
                yield place, inner


def reference() -> str:
    """Return the tables of docs/reference/options.md: every key of our own blocks, and the settings' defaults."""
    return "\n\n".join(_section(place, cls) for place, cls in _places()) + "\n"


def _section(place: str, cls: type[Block]) -> str:
    is_settings = place not in BLOCKS and place not in _LISTED
    head = "The top of the file" if place == "top" else f"`{place}`"
    prose = [] if place in BLOCKS else [_marked(prose_of(cls))]
    columns = ["key", "value", *(["default"] if is_settings else []), "meaning"]
    rows = []
    for key, field in fields_of(cls).items():
        if BY_RUN in field.metadata or (is_settings and inner_block(field.annotation)):
            continue
        kind = words(shown_schema(cls)["properties"][key]).replace(" of 'key: value' lines", "")
        default = "must be given" if field.is_required() else f"`{show(_lists(field.default))}`"
        rows.append([f"`{key}`", kind, *([default] if is_settings else []), _marked(field.description or "")])
    if place == "top":
        rows.append([f"`{BASE}`", "text or a list of text", "option files to build on"])
        rows.append([f"`{REPLACE}`", "true or false", _REPLACES])
    table = [_row(columns), "|" + "---|" * len(columns), *map(_row, rows)]
    return "\n\n".join([f"### {head}", *prose, *(["\n".join(table)] if rows else [])])


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _marked(text: str) -> str:
    return text.replace("``", "`")  # code in reStructuredText and in Markdown


def _lists(value: Any) -> Any:
    return [_lists(v) for v in value] if isinstance(value, tuple) else value


def write_reference(path: Path) -> None:
    """Replace what follows the marker in the document ``path`` by :func:`reference`."""
    head, marker, _ = path.read_text(encoding="utf-8").partition(_MARKER)
    path.write_text(f"{head}{marker}\n\n{reference()}", encoding="utf-8")


if __name__ == "__main__":
    write_reference(Path(sys.argv[1]))
