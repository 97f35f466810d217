"""One row of the table, and what rows have in common. Commands and spoilers run in the folder of a tiny job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["TEST", "TRAIN", "BadInput", "edit", "forced"]

TRAIN = "train -opt job.yml"
TEST = "test -opt test.yml"


@dataclass(frozen=True)
class BadInput:
    """A situation.

    Attributes:
        what: in words; unique.
        command: what is typed after ``basicsr``, as for a shell.
        says: texts that must be in the message.
        spoil: makes the situation.
        status: the exit status.
    """

    what: str
    command: str
    says: tuple[str, ...]
    spoil: Callable[[], object] = lambda: None
    status: int = 1


def forced(what: str, overrides: str, *says: str, command: str = TRAIN) -> BadInput:
    """A row whose mistake stands in the overrides; the same in the file reads the same."""
    return BadInput(what, f"{command} --force_yml {overrides}", says)


def edit(old: str, new: str) -> Callable[[], object]:
    """Change the option file, once."""

    def spoil() -> None:
        text = Path("job.yml").read_text(encoding="utf-8")
        assert old in text
        Path("job.yml").write_text(text.replace(old, new, 1), encoding="utf-8")

    return spoil
