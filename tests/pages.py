"""Pages of documentation as a reader follows them: their commands, the files to write, the files that appear."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Appear", "Command", "WrittenFile", "steps_of"]

_APPEAR = "Now there are:"


@dataclass(frozen=True)
class Command:
    """A line to type: its words."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class WrittenFile:
    """A file to write, which the line before its block names first."""

    name: str
    text: str


@dataclass(frozen=True)
class Appear:
    """Files that must be there; ``*`` stands for any part of a name."""

    names: tuple[str, ...]


def steps_of(page: Path) -> Iterator[Command | WrittenFile | Appear]:
    """Yield what a page tells its reader to do and to see, in order; text blocks of another kind are left out."""
    for lead, kind, text in _blocks(page.read_text(encoding="utf-8").splitlines()):
        if kind == "bash":
            for line in text.replace("\\\n", " ").splitlines():
                if words := shlex.split(line, comments=True):
                    yield Command(tuple(words))
        elif kind in ("python", "yaml") and (named := re.match(r"`([\w.]+)`", lead)):
            yield WrittenFile(named[1], text)
        elif kind == "text" and lead == _APPEAR:
            yield Appear(tuple(text.split()))


def _blocks(lines: list[str]) -> Iterator[tuple[str, str, str]]:
    """Yield each fenced block: the last line of text before it, its kind, and what is in it."""
    lead, start = "", None
    for number, line in enumerate(lines):
        if start is None and line.startswith("```"):
            start = number
        elif start is not None and line == "```":
            yield lead, lines[start][3:], "".join(f"{each}\n" for each in lines[start + 1 : number])
            lead, start = "", None
        elif start is None and line.strip():
            lead = line.strip()
