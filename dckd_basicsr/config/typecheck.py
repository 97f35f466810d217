"""What a Python annotation asks of a value that YAML can hold: as a test, in words, and as JSON Schema."""

from __future__ import annotations

import collections.abc as abc
import os
import types
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import PurePath
from typing import Any, Literal, Union, get_args, get_origin

from .problems import show

__all__ = ["describe", "fits", "implied", "type_schema"]

_LISTS = (list, tuple, set, abc.Sequence, abc.Iterable, abc.Collection, abc.MutableSequence)
_UNIONS = (Union, types.UnionType)
_NAMES = {float: "number", int: "integer", bool: "true or false", str: "text"}


def fits(value: Any, annotation: Any) -> bool:
    """Tell whether ``value`` may be passed where ``annotation`` stands.

    An integer is a number, a bool is not; a list serves for a tuple or any sequence; text serves for a path. What
    YAML could not express anyway (a tensor, a callable) and what is not understood is let through, except as one
    member of a union.

    >>> fits(1, float), fits(True, int), fits([1, 2], tuple[float, float]), fits("a", int | None)
    (True, False, True, False)
    """
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in _UNIONS:
        return any(fits(value, a) and (_is_judged(a) or isinstance(value, get_origin(a) or a)) for a in args)
    if annotation is None or annotation is types.NoneType:
        return value is None
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in args)
    if annotation in (float, int):
        return isinstance(value, (int, float) if annotation is float else int) and not isinstance(value, bool)
    kind = origin or annotation
    if kind in (bool, str):
        return isinstance(value, kind)
    if kind in _LISTS:
        return isinstance(value, list | tuple) and _items_fit(value, args, fixed=kind is tuple)
    if _is_block(kind):
        return isinstance(value, Mapping)
    if _is_path(kind):
        return isinstance(value, str)
    return True


def _items_fit(values: list[Any] | tuple[Any, ...], args: tuple[Any, ...], *, fixed: bool) -> bool:
    if fixed and args and args[-1] is not Ellipsis:
        return len(values) == len(args) and all(fits(v, a) for v, a in zip(values, args))
    return not args or all(fits(v, args[0]) for v in values)


def _is_judged(annotation: Any) -> bool:
    kind = get_origin(annotation) or annotation
    known = kind in (Any, None, types.NoneType, float, int, bool, str, Literal, *_LISTS)
    return known or _is_block(kind) or _is_path(kind) or not isinstance(kind, type)


def _is_block(kind: Any) -> bool:
    return is_dataclass(kind) or (isinstance(kind, type) and issubclass(kind, abc.Mapping))


def _is_path(kind: Any) -> bool:
    return kind is os.PathLike or (isinstance(kind, type) and issubclass(kind, PurePath))


def implied(default: Any) -> Any:
    """Return the annotation that a default value stands for, where a signature has none.

    An integer default stands for any number: BasicSR writes ``res_scale=1`` and ``eta_min=0`` for floats.
    """
    if isinstance(default, bool | str):
        return type(default)
    if isinstance(default, int | float):
        return float
    if isinstance(default, list | tuple):
        return abc.Sequence[float] if default and all(fits(v, float) for v in default) else abc.Sequence
    return abc.Mapping if isinstance(default, Mapping) else Any


def describe(annotation: Any) -> str:
    """Say in words what :func:`fits` wants.

    >>> describe(tuple[float, float]), describe(int | None)
    ('a list of 2 numbers', 'an integer or null')
    """
    origin, args = get_origin(annotation), get_args(annotation)
    kind = origin or annotation
    if origin in _UNIONS:
        return " or ".join(dict.fromkeys(describe(a) for a in args if _is_judged(a)))
    if annotation is None or annotation is types.NoneType:
        return "null"
    if origin is Literal:
        return f"one of {', '.join(show(choice) for choice in args)}"
    if kind in _LISTS:
        if not args:
            return "a list"
        count = "" if args[-1] is Ellipsis or kind is not tuple else f"{len(args)} "
        return f"a list of {count}{_plural(args[0])}"
    if _is_block(kind):
        return "a block of 'key: value' lines"
    if annotation in (float, int):
        return f"{'an' if annotation is int else 'a'} {_NAMES[annotation]}"
    return _NAMES.get(annotation, "text" if _is_path(kind) else getattr(kind, "__name__", str(kind)))


def _plural(annotation: Any) -> str:
    if annotation in (float, int):
        return f"{_NAMES[annotation]}s"
    text = describe(annotation)
    if text in ("a number", "an integer"):  # of a union whose other members YAML cannot express
        return f"{text.split()[1]}s"
    return f"lists{text.removeprefix('a list')}" if text.startswith("a list") else text


def type_schema(annotation: Any) -> dict[str, Any]:
    """Return the JSON Schema (draft 7) of what :func:`fits` accepts; ``{}`` where it judges nothing.

    One difference cannot be expressed: to JSON Schema 1.0 is an integer.

    >>> type_schema(tuple[float, float]), type_schema(int | None)
    ({'type': 'array', 'items': {'type': 'number'}, 'minItems': 2, 'maxItems': 2}, {'type': ['integer', 'null']})
    """
    origin, args = get_origin(annotation), get_args(annotation)
    kind = origin or annotation
    if origin in _UNIONS:
        return _any_of([type_schema(a) for a in args if _is_judged(a)])
    if annotation is None or annotation is types.NoneType:
        return {"type": "null"}
    if origin is Literal:
        return {"enum": list(args)}
    if annotation in _JSON_NAMES:
        return {"type": _JSON_NAMES[annotation]}
    if kind in _LISTS:
        return {"type": "array", **_items_schema(args, fixed=kind is tuple)}
    if _is_block(kind):
        return {"type": "object"}
    return {"type": "string"} if _is_path(kind) else {}


_JSON_NAMES = {float: "number", int: "integer", bool: "boolean", str: "string"}


def _any_of(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    if not all(schemas):
        return {}
    if all(schema.keys() == {"type"} for schema in schemas):
        names = list(dict.fromkeys(schema["type"] for schema in schemas))
        return {"type": names if len(names) > 1 else names[0]}
    return {"anyOf": schemas}


def _items_schema(args: tuple[Any, ...], *, fixed: bool) -> dict[str, Any]:
    if not args:
        return {}
    if not fixed or args[-1] is Ellipsis:
        return {"items": type_schema(args[0])}
    items = [type_schema(a) for a in args]
    same = all(item == items[0] for item in items)
    return {"items": items[0] if same else items, "minItems": len(items), "maxItems": len(items)}
