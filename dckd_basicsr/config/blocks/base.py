"""What every block of an option file is made of: typed keys, each with its meaning, its bounds, and who needs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, ClassVar, Union, get_args, get_type_hints

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ModelWrapValidatorHandler,
    create_model,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema

from .docstrings import arguments_of
from .values import Draft7, yaml_type

__all__ = [
    "BY_RUN",
    "AsBlock",
    "Block",
    "Needed",
    "fields_of",
    "inner_block",
    "key",
    "settings_block",
    "shown_schema",
    "walk",
    "with_keys",
]


class Needed(Enum):
    """Who cannot do without a key; as one entry of its annotation."""

    EVERY_FILE = "every file, whatever its model"
    OWN_FILE = "files of this package's models"
    TRAINING = "every file to train with"
    OWN_TRAINING = "files to train this package's models with"

    def holds(self, own: bool, is_train: bool) -> bool:
        """Tell whether it is so for a file."""
        mine = own or self in (Needed.EVERY_FILE, Needed.TRAINING)
        return mine and (is_train or self in (Needed.EVERY_FILE, Needed.OWN_FILE))


@dataclass(frozen=True)
class _ByRun:
    pass


BY_RUN = _ByRun()
"""In the annotation of a key that BasicSR's pipelines add by themselves, so that a parsed file passes the check too."""


class Block(BaseModel):
    """A block of an option file: its fields are its keys. One that is left out is None, or its default."""

    model_config = ConfigDict(strict=True, extra="forbid", protected_namespaces=())


def key(text: str = "set by the run, not in a file", **more: Any) -> Any:
    """Describe a key; ``more`` are bounds (``ge``, ``gt``, ``lt``, ``le``) or an ``alias``."""
    return Field(default=None, description=text, **more)


def fields_of(cls: type[Block]) -> dict[str, FieldInfo]:
    """Return the fields of a block by the key that stands for each."""
    return {field.alias or name: field for name, field in cls.model_fields.items()}


class AsBlock:
    """In the annotation of a settings class: its fields are the keys of the block, and checked as such."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return handler.generate_schema(settings_block(source))


class _SettingsBlock(Block):
    """One that becomes a settings class, on which it is tried: the class knows its ranges."""

    settings: ClassVar[Any]

    @model_validator(mode="wrap")
    @classmethod
    def _build(cls, values: Any, check: ModelWrapValidatorHandler[Any]) -> Any:
        block = check(values)
        given = {f.name: values[f.name] for f in fields(cls.settings) if f.name in values}  # 5 is not yet 5.0
        own = {name: value for name, value in given.items() if not isinstance(value, Mapping)}
        try:
            cls.settings(**own)
        except (ValueError, TypeError) as error:
            raise ValueError(str(error)) from error
        return block


@cache
def settings_block(cls: Any) -> type[Block]:
    """Return the block that becomes the frozen dataclass ``cls``, with the texts of its docstring.

    Nested dataclasses are nested blocks.
    """
    hints, texts = get_type_hints(cls), arguments_of(cls)
    keys: dict[str, Any] = {}
    for f in fields(cls):
        hint = hints[f.name]
        nested = is_dataclass(hint)
        default = f.default if f.default is not MISSING else ... if f.default_factory is MISSING else None
        kind = Union[settings_block(hint), None] if nested else yaml_type(hint)  # noqa: UP007 (built at run time)
        keys[f.name] = (kind, Field(default, description=texts.get(f.name)))
    block = create_model(cls.__name__, __base__=_SettingsBlock, __module__=cls.__module__, __doc__=cls.__doc__, **keys)
    block.settings = cls
    return block


def inner_block(annotation: Any) -> type[Block] | None:
    """Return the block that stands under a key of this annotation, if its keys are known."""
    if isinstance(annotation, type):
        return annotation if issubclass(annotation, Block) else None
    members = get_args(annotation)
    if any(isinstance(member, AsBlock) for member in members):
        return settings_block(members[0])
    return next((found for member in members if (found := inner_block(member)) is not None), None)


@cache
def shown_schema(cls: type[Block]) -> dict[str, Any]:
    """Return the JSON Schema of a block, with inner blocks under ``$defs``."""
    return cls.model_json_schema(schema_generator=Draft7, ref_template="#/definitions/{model}")


def with_keys(cls: type[Block], keys: Mapping[str, Any]) -> type[Block]:
    """Return a block with further keys, given by their annotations."""
    if not keys:
        return cls
    more: dict[str, Any] = {name: (yaml_type(kind), None) for name, kind in keys.items()}
    return create_model(cls.__name__, __base__=cls, __module__=cls.__module__, **more)


def walk(cls: type[Block], place: str) -> Iterator[tuple[str, type[Block]]]:
    """Yield a block and the blocks inside it, with their places."""
    yield place, cls
    for name, field in fields_of(cls).items():
        inner = inner_block(field.annotation)
        if inner is not None:
            yield from walk(inner, f"{place}.{name}" if place else name)
