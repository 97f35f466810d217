"""Checking an option file before anything is built: every problem in one report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..kinds import is_own
from .channels import channel_problems
from .components import component_problems
from .files import file_problems
from .inherit import REPLACE, Source
from .names import name_problems
from .numbers import number_problems
from .problems import block_of, report, show, type_of
from .rules import device_problems, rule_problems
from .schedules import schedule_problems
from .schema import schema_problems

__all__ = ["check_options", "option_problems"]


def option_problems(opt: Mapping[str, Any], is_train: bool = True) -> list[str]:
    """Return what is wrong with the options themselves, without a look at files or devices."""
    own = is_own(opt.get("model_type"))
    found = [
        *schema_problems(opt, is_train),
        *name_problems(opt, own),
        *number_problems(opt, own),
        *component_problems(opt, is_train),
        *rule_problems(opt, is_train),
        *(channel_problems(opt, is_train) if own else ()),
        *(schedule_problems(opt) if own and is_train else ()),
    ]
    return list(dict.fromkeys(found))


def check_options(
    opt: Mapping[str, Any], is_train: bool = True, source: Path | str = "options", *, files: bool = True
) -> None:
    """Raise one ConfigError that lists every problem, if there is any.

    Files of ``DCKDModel``, ``RestorationModel`` and what derives from them are checked to the last key. Of other models
    only what would certainly fail is reported, for their keys are their own.

    Args:
        opt: options as loaded, or as returned by :func:`~dckd_basicsr.config.parse_options`.
        is_train: for training (else for testing).
        source: the option file's name, for the message; a :class:`.inherit.Source` explains more.
        files: look at the files that the options name, too.
    """
    problems = [
        *option_problems(opt, is_train),
        *device_problems(opt),
        *(file_problems(opt, is_train) if files else ()),
    ]
    if problems:
        raise ConfigError(report(list(_explained(problems, opt, source)), source))


def _explained(problems: Sequence[str], opt: Mapping[str, Any], source: Path | str) -> Iterator[str]:
    """Say at the first missing key of a block that its changed type is what left the inherited keys out."""
    changed = source.replaced if isinstance(source, Source) else {}
    # A later file or override may have changed the type once more.
    untold = {place: types for place, types in changed.items() if type_of(block_of(opt, *place.split("."))) == types[1]}
    for problem in problems:
        place = next((p for p in untold if problem.startswith("missing key") and f" in {p} " in f"{problem} "), None)
        if place is None:
            yield problem
            continue
        old, new = untold.pop(place)
        yield (
            f"{problem}; nothing of the inherited {place} is kept, as its type changed from {show(old)} to "
            f"{show(new)}: give its keys anew, or add {REPLACE}: false to the block to keep them"
        )
