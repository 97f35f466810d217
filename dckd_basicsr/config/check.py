"""Checking an option file before anything is built: every problem in one report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..kinds import is_own
from .blocks import (
    FILE,
    DistillingPath,
    DistillingTop,
    EveryFile,
    PathBlock,
    TopBlock,
    block_problems,
    blocks_for,
    fields_of,
    missing_keys,
    needed_keys,
    weight_keys,
    with_keys,
)
from .components import component_problems
from .files import file_problems
from .inherit import REPLACE, Source
from .networks import teachers_of
from .problems import block_of, report, show, type_of
from .rules import (
    channel_problems,
    dataset_problems,
    device_problems,
    name_problems,
    number_problems,
    rule_problems,
    schedule_problems,
)

__all__ = ["check_options", "option_problems", "problems_of"]

_DISTILLED = "DCKDModel"
"""The model that messages advise."""
_TAUGHT = {
    FILE: fields_of(DistillingTop).keys() - fields_of(TopBlock).keys(),
    "path": fields_of(DistillingPath).keys() - fields_of(PathBlock).keys(),
}
"""Keys that only models with a teacher read."""


def option_problems(opt: Mapping[str, Any], is_train: bool = True) -> list[str]:
    """Return what is wrong with the options themselves, without a look at files or devices."""
    own = is_own(opt.get("model_type"))
    found = [
        *_key_problems(opt, is_train),
        *name_problems(opt, own),
        *number_problems(opt, own),
        *component_problems(opt, is_train),
        *rule_problems(opt, is_train),
        *(channel_problems(opt, is_train) if own else ()),
        *(schedule_problems(opt) if own and is_train else ()),
    ]
    return list(dict.fromkeys(found))


def _key_problems(opt: Mapping[str, Any], is_train: bool) -> list[str]:
    """Return unknown and missing keys, and values of the wrong kind, in every block of a file.

    This package's models read only the keys of :mod:`.blocks` and those they name themselves (``extra_keys``), so
    anything else in their files is a mistake. Of other models' files only what every BasicSR run needs is asked.
    """
    model = opt.get("model_type")
    own = is_own(model)
    blocks = blocks_for(model)
    if own and issubclass(blocks["path"], DistillingPath):
        named = (teacher.label for teacher in teachers_of(opt) if teacher.place != "network_teacher")
        blocks["path"] = with_keys(blocks["path"], weight_keys(named))

    def unknown(key: str, where: str) -> str | None:
        return _ignored(key, where, model)

    problems = []
    for name, cls in blocks.items():
        where, block = (FILE, opt) if name == "top" else (name, opt.get(name))
        if not isinstance(block, Mapping):
            continue
        needed = needed_keys(cls, own, is_train)
        problems += block_problems(cls, block, where, needed, unknown) if own else missing_keys(block, where, needed)
        if name == "top" and not own:
            problems += block_problems(EveryFile, {k: v for k, v in opt.items() if v is not None}, where)
    return problems + dataset_problems(block_of(opt, "datasets"), own, is_train)


def _ignored(key: str, where: str, model: Any) -> str | None:
    """Word a key that another model than this file's reads."""
    if (where, key) == ("train", "perceptual_opt"):
        return "'perceptual_opt' in train is a term of BasicSR's SRModel and would be ignored here; remove it"
    if key in _TAUGHT.get(where, ()):
        return f"'{key}' in {where} would be ignored by model_type {model}; remove it, or use model_type: {_DISTILLED}"
    return None


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
    if problems := problems_of(opt, is_train, source, files=files):
        raise ConfigError(report(problems, source))


def problems_of(
    opt: Mapping[str, Any], is_train: bool = True, source: Path | str = "options", *, files: bool = True
) -> list[str]:
    """Return what :func:`check_options` would raise, one text a problem; the arguments are the same."""
    problems = [
        *option_problems(opt, is_train),
        *device_problems(opt),
        *(file_problems(opt, is_train) if files else ()),
    ]
    return list(_explained(problems, opt, source))


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
