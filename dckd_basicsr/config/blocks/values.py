"""What an annotation asks of a value that YAML can hold: as pydantic checks it, as JSON Schema, and in words."""

from __future__ import annotations

import collections.abc as abc
import os
import types
from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import cache
from pathlib import PurePath
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from ..problems import show

__all__ = ["STRICT", "Draft7", "describe", "fits", "implied", "type_schema", "words", "yaml_type", "yaml_value"]

STRICT = ConfigDict(strict=True)
"""No text becomes a number; an integer is a number, true is none."""

_LISTS = (list, tuple, set, abc.Sequence, abc.Iterable, abc.Collection, abc.MutableSequence)
_UNIONS = (Union, types.UnionType)
_SINGLE = (Any, None, types.NoneType, float, int, bool, str)


def yaml_type(annotation: Any) -> Any:
    """Return the type that pydantic checks for ``annotation``.

    A list serves for any sequence, text for a path, a block for a dataclass. What YAML could not express anyway (a
    tensor, a callable) and what is not understood is let through, except as one member of a union.

    >>> yaml_type(list[int]), yaml_type(Mapping[str, int])
    (tuple[int, ...], dict[typing.Any, typing.Any])
    """
    origin, args = get_origin(annotation), get_args(annotation)
    kind = origin or annotation
    if origin is Annotated:
        return yaml_type(args[0])
    if origin in _UNIONS:
        members = [yaml_type(member) for member in args if _is_judged(member)]
        return Union[tuple(members)] if members and Any not in members else Any  # noqa: UP007 (built at run time)
    if origin is Literal:
        return annotation if all(isinstance(choice, str) for choice in args) else _exact(annotation)
    if annotation in _SINGLE:
        return annotation
    if kind in _LISTS:
        if kind is tuple and args and args[-1] is not Ellipsis:
            return tuple[tuple(yaml_type(item) for item in args)]  # type: ignore[misc]
        return tuple[yaml_type(args[0]) if args else Any, ...]  # type: ignore[misc]
    if _is_block(kind):
        return dict[Any, Any]
    return str if _is_path(kind) else Any


def _exact(literal: Any) -> Any:
    """A literal that does not take true for 1, nor 1.0."""

    def check(value: Any) -> Any:
        if not any(value == choice and type(value) is type(choice) for choice in get_args(literal)):
            raise ValueError
        return value

    return Annotated[literal, BeforeValidator(check)]


def _is_judged(annotation: Any) -> bool:
    kind = get_origin(annotation) or annotation
    known = kind in (*_SINGLE, Literal, Annotated, *_LISTS)
    return known or _is_block(kind) or _is_path(kind) or not isinstance(kind, type)


def _is_block(kind: Any) -> bool:
    return is_dataclass(kind) or (isinstance(kind, type) and issubclass(kind, abc.Mapping))


def _is_path(kind: Any) -> bool:
    return kind is os.PathLike or (isinstance(kind, type) and issubclass(kind, PurePath))


def yaml_value(value: Any) -> Any:
    """Return a value as pydantic takes it: lists as tuples, and text, keys too, that can be encoded."""
    if isinstance(value, Mapping):
        return {yaml_value(str(key)): yaml_value(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return tuple(yaml_value(inner) for inner in value)
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


@cache
def _adapter(kind: Any, _spelt: str) -> TypeAdapter[Any]:
    return TypeAdapter(kind, config=STRICT)


def _adapted(annotation: Any) -> TypeAdapter[Any]:
    kind = yaml_type(annotation)
    return _adapter(kind, str(kind))  # unions of the same members in another order are equal, and read otherwise


def fits(value: Any, annotation: Any) -> bool:
    """Tell whether ``value`` may be passed where ``annotation`` stands, as :func:`yaml_type` reads it.

    >>> fits(1, float), fits(True, int), fits([1, 2], tuple[float, float]), fits("a", int | None)
    (True, False, True, False)
    """
    try:
        _adapted(annotation).validate_python(yaml_value(value))
    except ValidationError:
        return False
    return True


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


class Draft7(GenerateJsonSchema):
    """JSON Schema as editors take it: draft 7, where ``items`` is a list too, and no titles beside the keys."""

    def tuple_schema(self, schema: core_schema.TupleSchema) -> JsonSchemaValue:
        """Return the schema of a list; of a fixed length where each entry has a kind of its own."""
        found = super().tuple_schema(schema)
        entries = found.pop("prefixItems", None)
        if entries:
            found["items"] = entries[0] if all(entry == entries[0] for entry in entries) else entries
        return found

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Say no: the key itself is shown."""
        return False


@cache
def _type_schema(kind: Any, spelt: str) -> dict[str, Any]:
    return _adapter(kind, spelt).json_schema(schema_generator=Draft7)


def type_schema(annotation: Any) -> dict[str, Any]:
    """Return the JSON Schema (draft 7) of what :func:`fits` accepts; ``{}`` where it judges nothing.

    One difference cannot be expressed: to JSON Schema 1.0 is an integer.

    >>> type_schema(tuple[float, float])
    {'items': {'type': 'number'}, 'maxItems': 2, 'minItems': 2, 'type': 'array'}
    """
    kind = yaml_type(annotation)
    return dict(_type_schema(kind, str(kind)))


def describe(annotation: Any) -> str:
    """Say in words what :func:`fits` wants.

    >>> describe(tuple[float, float]), describe(int | None)
    ('a list of 2 numbers', 'an integer or null')
    """
    return words(type_schema(annotation))


_NAMES = {
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "string": "text",
    "null": "null",
    "object": "a block of 'key: value' lines",
}


def words(schema: Mapping[str, Any]) -> str:
    """Say in words what a JSON Schema of :class:`Draft7` wants.

    >>> words({"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]})
    'a list of text or null'
    """
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(words(member) for member in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return f"one of {', '.join(show(choice) for choice in schema.get('enum', [schema.get('const')]))}"
    if schema.get("type") == "array":
        items = schema.get("items", {})
        first = items[0] if isinstance(items, list) else items
        count = f"{schema['minItems']} " if schema.get("minItems") == schema.get("maxItems", 0) else ""
        return f"a list of {count}{_plural(words(first))}" if first else "a list"
    return _NAMES["object"] if "$ref" in schema else _NAMES.get(schema.get("type", ""), "anything")


def _plural(text: str) -> str:
    if text in ("a number", "an integer"):
        return f"{text.split()[1]}s"
    for one, many in (("a list", "lists"), ("a block", "blocks")):
        if text.startswith(one):
            return many + text.removeprefix(one)
    return text
