"""Changing options from the command line: ``train:ema_decay=0.999``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..distill.terms.build import named_terms
from ..errors import ConfigError
from .inherit import LOSSES
from .load import parse_yaml
from .problems import report, show

__all__ = ["apply_overrides", "overridden"]

_NULLS = ("~", "null", "Null", "NULL")


def apply_overrides(opt: dict[str, Any], entries: Iterable[str]) -> dict[str, Any]:
    """Set options in place from ``KEY:SUBKEY=VALUE`` entries, in their order.

    The first ``=`` ends the keys; the value is YAML (``0.1``, ``1e-4``, ``~``, ``true``, ``[1, 2]``, ``{a: 1}``,
    text) and may itself hold ``=`` and ``:``. Missing keys are created, empty blocks filled; a list ``train.losses``
    into which an entry leads becomes a block of terms by name.

    Returns:
        ``opt``.

    Raises:
        ConfigError: entries that cannot be understood, all in one message; the good ones are applied.

    >>> apply_overrides({"train": {"lr": 1}}, ["train:lr=1e-4", "path:a=builtin:x"])
    {'train': {'lr': 0.0001}, 'path': {'a': 'builtin:x'}}
    """
    problems = []
    for entry in entries:
        try:
            keys, value = _split(entry)
            _set(opt, keys, value, entry)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError(report(problems, "overrides"))
    return opt


def overridden(entries: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the places that entries set, key by key; what cannot be understood is left to :func:`apply_overrides`."""
    return [_keys(entry.partition("=")[0]) for entry in entries if "=" in entry]


def _keys(path: str) -> tuple[str, ...]:
    return tuple(key.strip() for key in path.split(":"))


def _split(entry: str) -> tuple[tuple[str, ...], Any]:
    path, equals, text = entry.partition("=")
    keys = _keys(path)
    if not equals or not all(keys):
        raise ConfigError(f"override '{entry}' must look like key=value or block:key=value")
    if len(keys) == 1 and text == str(Path("~").expanduser()):  # bash does so after NAME=, not after BLOCK:KEY=
        raise ConfigError(f"override '{entry}': the shell made ~ your home folder; write {path}=null")
    value = parse_yaml(text, f"override '{entry}'")
    if value is None and text.strip() not in _NULLS:  # an empty value, or one that '#' made a comment
        raise ConfigError(
            f"override '{entry}' has no value; write {path}=~ for null, and quote text that starts with #"
        )
    return keys, value


def _set(opt: dict[str, Any], keys: Sequence[str], value: Any, entry: str) -> None:
    block = opt
    for depth, key in enumerate(keys[:-1], start=1):
        if block.get(key) is None:
            block[key] = {}
        if isinstance(block[key], list) and ".".join(keys[:depth]) == LOSSES:
            block[key] = named_terms(block[key])
        inner = block[key]
        if not isinstance(inner, dict):
            raise ConfigError(
                f"override '{entry}': {':'.join(keys[:depth])} is {show(inner)}, which holds no keys, "
                f"so '{keys[depth]}' cannot be set in it"
            )
        block = inner
    block[keys[-1]] = value
