"""Binding option blocks to what they will be passed to: constructors and functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, Optional, get_type_hints

from ..blocks.judging import misfit
from ..blocks.values import implied
from ..problems import unknown_key

__all__ = ["Parameters", "binding_problems", "parameters_of"]

_EMPTY = inspect.Parameter.empty
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


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
    """Return what ``target`` takes.

    Args:
        target: class or function.
        provided: parameters that the caller fills in; they are no option keys.
        required: keys that must be given although the signature has a default, or does not have them.
        extra: further keys, with their annotations, that the caller takes out.
    """
    parameters = inspect.signature(target).parameters.values()
    named = {p.name: p for p in parameters if p.kind in _NAMED and p.name not in provided}
    return Parameters(
        kinds={**_annotations(target, named), **(extra or {})},
        needed=[
            *(name for name, p in named.items() if p.default is _EMPTY or name in required),
            *(name for name in required if name in (extra or {})),
        ],
        defaults={name: p.default for name, p in named.items() if p.default is not _EMPTY and name not in required},
        swallows=any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters),
    )


def binding_problems(where: str, found: Parameters, arguments: Mapping[str, Any], *, strict: bool = True) -> list[str]:
    """Return what would go wrong in passing ``arguments`` on.

    Args:
        where: the block's place, for messages.
        found: what the class or function takes.
        arguments: the block without ``type``.
        strict: judge types too, and let ``**kwargs`` admit nothing: it swallows misspelt keys in silence.
    """
    swallows = found.swallows and not strict
    problems = [] if swallows else [unknown_key(k, where, found.kinds) for k in arguments if k not in found.kinds]
    problems += [f"missing key '{name}' in {where}" for name in found.needed if name not in arguments]
    if strict:
        for key in [k for k in arguments if k in found.kinds]:
            problems += misfit(key, where, arguments[key], found.kinds[key])
    return problems


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
