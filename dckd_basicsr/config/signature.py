"""Binding option blocks to what they will be passed to: constructors, functions, settings classes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, NamedTuple, Optional, get_type_hints

from ..distill.settings import settings_from
from ..errors import ConfigError
from .problems import show, unknown_key
from .typecheck import describe, fits, implied

__all__ = ["Parameters", "binding_problems", "misfit", "parameters_of", "settings_problems"]

_EMPTY = inspect.Parameter.empty
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def misfit(key: str, where: str, value: Any, annotation: Any) -> list[str]:
    """Return the problem of a value that does not fit, if it is one."""
    if fits(value, annotation):
        return []
    return [f"'{key}' in {where} must be {describe(annotation)}, got {show(value)}"]


def binding_problems(
    where: str,
    target: Callable[..., Any],
    arguments: Mapping[str, Any],
    *,
    provided: Collection[str] = (),
    required: Collection[str] = (),
    extra: Mapping[str, Any] | None = None,
    strict: bool = True,
) -> list[str]:
    """Return what would go wrong in ``target(**arguments)``.

    Args:
        where: the block's place, for messages.
        target: class or function.
        arguments: the block without ``type``.
        provided: parameters that the caller fills in; they are no option keys.
        required: keys that must be given although the signature has a default.
        extra: further keys, with their annotations, that the caller takes out.
        strict: judge types too, and let ``**kwargs`` admit nothing: it swallows misspelt keys in silence.
    """
    found = parameters_of(target, provided=provided, required=required, extra=extra)
    swallows = found.swallows and not strict
    problems = [] if swallows else [unknown_key(k, where, found.kinds) for k in arguments if k not in found.kinds]
    problems += [f"missing key '{name}' in {where}" for name in found.needed if name not in arguments]
    if strict:
        for key in [k for k in arguments if k in found.kinds]:
            problems += misfit(key, where, arguments[key], found.kinds[key])
    return problems


class Parameters(NamedTuple):
    """The keys of an option block that is passed to a class or function.

    Attributes:
        kinds: the annotation of each key.
        needed: keys that must be given.
        defaults: what keys stand for that are left out, where the signature says so.
        swallows: whether ``**kwargs`` takes further keys.
    """

    kinds: dict[str, Any]
    needed: list[str]
    defaults: dict[str, Any]
    swallows: bool


def parameters_of(
    target: Callable[..., Any],
    *,
    provided: Collection[str] = (),
    required: Collection[str] = (),
    extra: Mapping[str, Any] | None = None,
) -> Parameters:
    """Return what ``target`` takes; the arguments are those of :func:`binding_problems`."""
    parameters = inspect.signature(target).parameters.values()
    named = {p.name: p for p in parameters if p.kind in _NAMED and p.name not in provided}
    return Parameters(
        kinds={**_annotations(target, named), **(extra or {})},
        needed=[name for name, p in named.items() if p.default is _EMPTY or name in required],
        defaults={name: p.default for name, p in named.items() if p.default is not _EMPTY and name not in required},
        swallows=any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters),
    )


def _annotations(target: Callable[..., Any], parameters: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    try:
        hints = get_type_hints(getattr(target, "__init__", None) if isinstance(target, type) else target)
    except (NameError, TypeError, AttributeError):  # names imported for type checkers alone
        hints = {}
    found = {}
    for name, p in parameters.items():
        annotation = hints.get(name, Any if p.default is _EMPTY else implied(p.default))
        found[name] = annotation if p.default is not None else Optional[annotation]  # noqa: UP045 (built at run time)
    return found


def settings_problems(where: str, block: Any, cls: type) -> list[str]:
    """Return what is wrong with an option block that becomes the frozen dataclass ``cls``; nested blocks included."""
    if block is None:
        return []
    if not isinstance(block, Mapping):
        return [f"{where} must be a block of 'key: value' lines, got {show(block)}"]
    hints = get_type_hints(cls)
    known = {f.name: f for f in fields(cls)}
    problems = [unknown_key(key, where, known) for key in block if key not in known]
    problems += [
        f"missing key '{name}' in {where}"
        for name, f in known.items()
        if f.default is MISSING and f.default_factory is MISSING and name not in block
    ]
    own: dict[str, Any] = {}
    for key in [k for k in block if k in known]:
        if is_dataclass(hints[key]):
            problems += settings_problems(f"{where}.{key}", block[key], hints[key])
        else:
            own[key] = block[key]
            problems += misfit(key, where, block[key], hints[key])
    if problems:
        return problems
    try:
        settings_from(cls, own, where)
    except ConfigError as error:
        return [str(error)]
    return []
