"""Option files as JSON Schema, so that editors complete keys and underline mistakes while they are typed.

Made from what the check reads: the tables of ``keys.py`` and the signatures of whatever is registered. What the check
accepts the schema accepts; it knows nothing of files, devices, and of blocks that must agree with each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_type_hints

from basicsr.utils import registry

from ..archs.networks.vqgan_layout import DDConfig
from ..distill.terms import TERM_KEYS
from ..kinds import extra_keys, own_models
from .components import LOSS, METRIC, NETWORK, OPTIMIZER, SCHEDULER, Kind
from .docstrings import arguments_of, summary_of
from .inherit import BASE, REPLACE
from .key_docs import BLOCKS, DESCRIPTIONS
from .keys import (
    AT_LEAST,
    DIST,
    IGNORED_BY_PATCHES,
    LMDB_TYPE,
    PAIRED_TYPES,
    PATCH_TYPES,
    SETTINGS,
    TILE,
)
from .schema import FILE, needed_keys, networks, weight_keys
from .typecheck import type_schema

__all__ = ["json_schema"]

Schema = dict[str, Any]

_KINDS = (NETWORK, LOSS, OPTIMIZER, SCHEDULER, METRIC)
_TRAIN_SET, _OTHER_SET = "train", "^(val|test)(_.*)?$"


def json_schema() -> Schema:
    """Return the schema (draft 7) of option files for what is registered now.

    A file with ``_base_`` may leave anything out. Files of other models than this package's are hardly judged, for
    their keys are their own.
    """
    definitions: Schema = {}
    for kind in _KINDS:
        definitions |= {f"{kind.noun}.{name}": _arguments(kind, name) for name in _names(kind.find())}
    for suffix, complete in (("", True), (".part", False)):
        definitions |= {f"{kind.noun}{suffix}": _component(kind, complete) for kind in _KINDS}
        definitions[f"dataset{suffix}"] = _dataset(complete)
        definitions[f"file{suffix}"] = _file(suffix)
    definitions["file.other"] = _other_file()
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "dckd_basicsr option file",
        "type": "object",
        "if": {"properties": {"model_type": {"enum": own_models()}}},
        "then": {"if": {"required": [BASE]}, "then": _ref("file.part"), "else": _ref("file")},
        "else": _ref("file.other"),
        "definitions": definitions,
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _names(known: Mapping[str, Any]) -> dict[str, str]:
    """Names an option file may use, with the registered ones: BasicSR's lookup adds a suffix where it must."""
    short = {name.removesuffix("_basicsr"): name for name in known}
    return dict(sorted({**short, **{name: name for name in known}}.items()))


def _block(properties: Schema, needed: tuple[str, ...] | list[str] = (), text: str = "") -> Schema:
    """A block that has these keys and no others."""
    schema: Schema = {"type": "object", "properties": {**properties, REPLACE: {"type": "boolean"}}}
    schema["additionalProperties"] = False
    return schema | ({"required": list(needed)} if needed else {}) | ({"description": text} if text else {})


def _or_null(schema: Schema) -> Schema:
    # Editors show the description they find beside anyOf.
    text = {key: schema[key] for key in ("description",) if key in schema}
    return {"anyOf": [{k: v for k, v in schema.items() if k not in text}, {"type": "null"}], **text}


def _value(key: str, annotation: Any, text: str = "", default: Any = MISSING) -> Schema:
    schema = type_schema(annotation)
    if key in AT_LEAST:
        schema["minimum"] = AT_LEAST[key]
    if text:
        schema["description"] = text
    return schema | ({"default": _json(default)} if _is_json(default) else {})


def _is_json(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_json(v) for v in value)
    return value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value))


def _json(value: Any) -> Any:
    return [_json(v) for v in value] if isinstance(value, list | tuple) else value


def _keys(block: str) -> Schema:
    """The plain keys of one of this package's own blocks."""
    texts, annotations = DESCRIPTIONS[block], {**BLOCKS[block], **extra_keys(block)}
    return {key: _value(key, annotation, texts.get(key, "")) for key, annotation in annotations.items()}


def _settings(cls: Any) -> Schema:
    hints, texts = get_type_hints(cls), arguments_of(cls)
    properties: Schema = {}
    for f in fields(cls):
        nested = is_dataclass(hints[f.name])
        properties[f.name] = (
            _or_null(_settings(hints[f.name]))
            if nested
            else _value("", hints[f.name], texts.get(f.name, ""), f.default)
        )
    needed = [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING]
    return _block(properties, needed, summary_of(cls))


# --- components: type, and what it takes ---------------------------------------------------------------------------


def _arguments(kind: Kind, name: str) -> Schema:
    """The block of one network, loss, ...; what it must have is said by :func:`_component`."""
    target = kind.find()[_names(kind.find())[name]]
    found, texts = kind.parameters(_names(kind.find())[name]), arguments_of(target)
    properties = {
        key: _value("", annotation, texts.get(key, ""), found.defaults.get(key, MISSING))
        for key, annotation in found.kinds.items()
    }
    if (kind, name) == (NETWORK, "VQGAN"):
        properties["ddconfig"] = _or_null(_settings(DDConfig))
    if kind is METRIC and "crop_border" in properties:
        properties["crop_border"] |= {"type": "integer", "minimum": 0}
    return _block({"type": {"const": name}, **properties}, text=summary_of(target))


def _component(kind: Kind, complete: bool) -> Schema:
    names = _names(kind.find())
    cases = []
    for name, registered in names.items():
        needed = kind.parameters(registered).needed if complete else []
        then = {"allOf": [_ref(f"{kind.noun}.{name}"), {"required": needed}]} if needed else _ref(f"{kind.noun}.{name}")
        cases.append({"if": {"properties": {"type": {"const": name}}, "required": ["type"]}, "then": then})
    schema: Schema = {"type": "object", "properties": {"type": {"enum": list(names)}}, "allOf": cases}
    return schema | ({"required": ["type"]} if complete else {})


# --- blocks of the file --------------------------------------------------------------------------------------------


def _dataset(complete: bool) -> Schema:
    types = list(_names(dict(iter(registry.DATASET_REGISTRY))))
    ignored: Schema = {key: {"type": "null"} for key in IGNORED_BY_PATCHES}
    paired: Schema = _block(_keys("datasets.NAME"), ["dataroot_gt", "dataroot_lq"] if complete else [])
    named_patch = {"properties": {"type": {"enum": list(PATCH_TYPES)}}, "required": ["type"]}
    others = [name for name in PAIRED_TYPES if name != LMDB_TYPE]
    named_other = {"properties": {"type": {"enum": others}}, "required": ["type"]}
    single: Schema = {key: {"type": "string"} for key in ("dataroot_gt", "dataroot_lq")} | {"weights": {"type": "null"}}
    weights: Schema = {"weights": {"items": {"exclusiveMinimum": 0}}}
    cases = [
        {"if": named_patch, "then": {"properties": ignored}},
        {"if": named_other, "then": {"properties": single}, "else": {"properties": weights}},
    ]
    return {
        "type": "object",
        "properties": {"type": {"enum": types, "description": DESCRIPTIONS["datasets.NAME"]["type"]}},
        **({"required": ["name", "type"]} if complete else {}),
        "if": {"properties": {"type": {"enum": list(PAIRED_TYPES)}}},
        "then": {"allOf": [paired, *cases]},
    }


def _datasets(suffix: str) -> Schema:
    train = _ref(f"dataset{suffix}")
    if not suffix:
        progressive = {
            "properties": {"progressive": {"type": "array", "minItems": 1}, "type": {"enum": list(PAIRED_TYPES)}},
            "required": ["progressive"],
        }
        sized = {
            "required": ["batch_size_per_gpu"],
            "if": {"properties": {"type": {"enum": list(PAIRED_TYPES)}}},
            "then": {"required": ["gt_size"]},
        }
        train = {"allOf": [train, {"if": progressive, "then": {}, "else": sized}]}
    properties = {_TRAIN_SET: _or_null(train)}
    schema = _block(properties, text=DESCRIPTIONS["top"]["datasets"])
    return schema | {"patternProperties": {_OTHER_SET: _or_null(_ref(f"dataset{suffix}"))}}


def _file(suffix: str) -> Schema:
    """A file of this package's models; with the suffix ``.part`` one that leaves the rest to its base."""
    complete = not suffix
    needed = needed_keys(own=True, is_train=True) if complete else {}
    path, train, val, logger = (_keys(name) for name in ("path", "train", "val", "logger"))
    top = _keys("top")
    off: list[Schema] = [{"type": "null"}, {"type": "object", "maxProperties": 0}]  # as good as left out
    for key in TERM_KEYS:
        train[key] = {"anyOf": [_ref(f"loss{suffix}"), *off], "description": DESCRIPTIONS["train"][key]}
    for key, kind in (("optim_g", OPTIMIZER), ("scheduler", SCHEDULER)):
        train[key] = {"allOf": [_ref(f"{kind.noun}{suffix}")], "description": DESCRIPTIONS["train"][key]}
    for key in networks(distilling=True):
        network = _ref(f"network{suffix}")
        network = {"allOf": [network]} if key in networks(distilling=False) else _or_null(network)
        top[key] = {**network, "description": DESCRIPTIONS["top"][key]}
    train |= {name: _or_null(_settings(cls)) for name, cls in SETTINGS.items()}
    val["tile"] = _or_null(_settings(TILE))
    top["dist_params"] = _or_null(_settings(DIST))
    metric = {
        "type": "object",
        "additionalProperties": _ref(f"metric{suffix}"),
        "properties": {REPLACE: {"type": "boolean"}},
    }
    val["metrics"] = _or_null(metric | {"description": DESCRIPTIONS["val"]["metrics"]})
    top |= {
        "model_type": {"enum": own_models(), "description": DESCRIPTIONS["top"]["model_type"]},
        "datasets": _datasets(suffix),
        "path": _or_null(_block(path, text=DESCRIPTIONS["top"]["path"])),
        "train": _block(train, needed.get("train", ()), DESCRIPTIONS["top"]["train"]),
        "val": _or_null(_block(val, text=DESCRIPTIONS["top"]["val"])),
        "logger": _block(logger, needed.get("logger", ()), DESCRIPTIONS["top"]["logger"]),
        BASE: _base(),
    }
    file = _block(top, needed_keys(own=True, is_train=False)[FILE] if complete else [])
    del file["properties"][REPLACE]
    file["allOf"] = [{"if": _is_plain(), "then": _no_teacher()}]
    if complete:
        training = {"required": list(needed[FILE]), "properties": {"val": {"required": list(needed["val"])}}}
        file["allOf"].append({"if": {"required": ["train"]}, "then": training})
    return file


def _base() -> Schema:
    text = "option files to build on: paths from this file's folder, or names of packaged files; later ones win"
    name = {"type": "string", "minLength": 1}
    return {"anyOf": [name, {"type": "array", "items": name}], "description": text}


def _is_plain() -> Schema:
    return {"properties": {"model_type": {"enum": own_models(distilling=False)}}, "required": ["model_type"]}


def _no_teacher() -> Schema:
    mine = networks(distilling=False)
    others = [name for name in networks(distilling=True) if name not in mine]
    forbidden = dict.fromkeys(weight_keys(others), False)
    return {"properties": {**dict.fromkeys(others, False), "path": {"properties": forbidden}}}


def _other_file() -> Schema:
    kinds = ("name", "datasets", "path", "train", "val", "logger")
    properties = {key: type_schema(BLOCKS["top"][key]) for key in kinds}
    properties["model_type"] = {"enum": list(_names(dict(iter(registry.MODEL_REGISTRY))))}
    return {"properties": properties}
