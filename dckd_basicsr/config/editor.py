"""Option files as JSON Schema, so that editors complete keys and underline mistakes while they are typed.

Made of what the check reads: the classes of :mod:`.blocks` and the signatures of whatever is registered. What the check
accepts the schema accepts; it knows nothing of files, devices, and of blocks that must agree with each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING
from typing import Any

from basicsr.utils import registry

from ..archs.networks.spandrel_arch import spandrel_names
from ..archs.networks.vqgan_layout import DDConfig
from ..archs.outline import network_class
from ..distill.terms import TERM_KEYS
from ..kinds import own_models
from .blocks import (
    Block,
    DistillingPath,
    DistillingTop,
    EveryFile,
    PairedBlock,
    PathBlock,
    TopBlock,
    blocks_for,
    fields_of,
    needed_keys,
)
from .blocks.base import settings_block, shown_schema
from .blocks.dataset import (
    DESCRIBED_TYPES,
    IGNORED_BY_INPUTS,
    IGNORED_BY_PATCHES,
    INPUTS_TYPE,
    LMDB_TYPE,
    PATCH_TYPES,
    SINGLE_TYPE,
)
from .blocks.docstrings import arguments_of, summary_of
from .blocks.top import TeacherBlock
from .blocks.train import LossBlock, TermBlock
from .blocks.values import type_schema
from .blocks.weight import SCHEDULES
from .components import KINDS, LOSS, METRIC, NETWORK, OPTIMIZER, SCHEDULER, TEACHER, TERM, Kind, short_name
from .inherit import BASE, REPLACE
from .networks import TEACHERS

__all__ = ["json_schema"]

Schema = dict[str, Any]

_TRAIN_SET, _OTHER_SET = "train", "^(val|test)(_.*)?$"
_TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
# A file that leaves its teachers to its base does not say their names; one letter too many is a slip all the same.
_NO_SLIP = "(?!(g|teacher|vqgan).?$)"


def json_schema() -> Schema:
    """Return the schema (draft 7) of option files for what is registered now.

    A file with ``_base_`` may leave anything out, and so may one without a model, which lies on others. Files of other
    models than this package's are hardly judged, for their keys are their own.
    """
    for name in spandrel_names():
        network_class(name)  # registers it
    definitions: Schema = {}
    for kind in KINDS:
        definitions |= {f"{kind.noun}.{name}": _arguments(kind, name) for name in _names(kind.find())}
    for suffix, complete in (("", True), (".part", False)):
        definitions |= {f"{kind.noun}{suffix}": _component(kind, complete) for kind in KINDS}
        definitions |= _weight(suffix)
        definitions[f"dataset{suffix}"] = _dataset(suffix)
        definitions |= _file(suffix)
    definitions["file.other"] = _other_file()
    part = {"anyOf": [{"required": [BASE]}, {"not": {"required": ["model_type"]}}]}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "dckd_basicsr option file",
        "type": "object",
        "if": {"properties": {"model_type": {"enum": own_models()}}},
        "then": {"if": part, "then": _ref("file.part"), "else": _ref("file")},
        "else": _ref("file.other"),
        "definitions": definitions,
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _names(known: Mapping[str, Any]) -> dict[str, str]:
    """Names an option file may use, with the registered ones: BasicSR's lookup adds a suffix where it must."""
    short = {name.removesuffix("_basicsr"): name for name in known}
    return dict(sorted({**short, **{name: name for name in known}}.items()))


def _or_null(schema: Schema) -> Schema:
    # Editors show the description they find beside anyOf.
    text = {key: schema[key] for key in ("description",) if key in schema}
    return {"anyOf": [{k: v for k, v in schema.items() if k not in text}, {"type": "null"}], **text}


# --- blocks: their classes, as pydantic tells them -----------------------------------------------------------------


def _blocks(cls: type[Block], suffix: str, needed: bool = True) -> tuple[Schema, Schema]:
    """Return the schema of a block, and the definitions of those inside it; with ``.part`` nothing must be given."""
    schema = _told(shown_schema(cls), suffix)
    inner = schema.pop("$defs", {})
    if not suffix and needed:
        schema["required"] = needed_keys(cls, own=True, is_train=True)
    for block in (schema, *inner.values()):
        block["properties"][REPLACE] = {"type": "boolean"}
        block["description"] = block.get("description", "").split("\n\n")[0].replace("\n", " ")
    return schema, {f"{name}{suffix}": block for name, block in inner.items()}


def _told(value: Any, suffix: str) -> Any:
    """Copy a schema without the defaults that are none; as part of a file it needs nothing, and refers to parts."""
    if isinstance(value, list):
        return [_told(inner, suffix) for inner in value]
    if not isinstance(value, dict):
        return value
    left_out = {"title", *(["required"] if suffix and isinstance(value.get("required"), list) else [])}
    copy = {
        key: _told(inner, suffix)
        for key, inner in value.items()
        if not (key in left_out and "type" in value) and (key, inner) != ("default", None)
    }
    return {**copy, "$ref": f"{copy['$ref']}{suffix}"} if "$ref" in copy else copy


def _weight(suffix: str) -> Schema:
    definitions: Schema = {}
    for name, cls in SCHEDULES.items():
        schema, _ = _blocks(cls, suffix)
        schema["properties"]["type"] = {**schema["properties"]["type"], "enum": [name]}
        schema["properties"]["type"].pop("const", None)
        definitions[f"weight.{name}{suffix}"] = schema
    cases: list[Schema] = [
        {
            "if": {"properties": {"type": {"const": name}}, "required": ["type"]},
            "then": _ref(f"weight.{name}{suffix}"),
        }
        for name in SCHEDULES
    ]
    block = {"type": "object", "properties": {"type": {"enum": list(SCHEDULES)}}, "allOf": cases}
    needed = {} if suffix else {"required": ["type"]}
    return {**definitions, f"weight{suffix}": {"anyOf": [{"type": "number"}, {**block, **needed}]}}


# --- components: type, and what it takes ---------------------------------------------------------------------------


def _is_json(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_json(v) for v in value)
    return value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value))


def _json(value: Any) -> Any:
    return [_json(v) for v in value] if isinstance(value, list | tuple) else value


def _arguments(kind: Kind, name: str) -> Schema:
    """The block of one network, loss, ...; what it must have is said by :func:`_component`."""
    registered = _names(kind.find())[name]
    target, found = kind.find()[registered], kind.parameters(registered)
    texts = arguments_of(target)
    properties: Schema = {}
    for key, annotation in found.kinds.items():
        default = found.defaults.get(key, MISSING)
        properties[key] = type_schema(annotation) | ({"default": _json(default)} if _is_json(default) else {})
        properties[key] |= {"description": texts[key]} if texts.get(key) else {}
    for key in [key for key in kind.inner if key in properties]:
        properties[key] = _or_null(_loss("")) if found.defaults.get(key, ...) is None else _loss("")
    properties |= _extra(kind, properties)
    if name == "VQGAN" and kind in (NETWORK, TEACHER):
        properties["ddconfig"] = _or_null(_blocks(settings_block(DDConfig), "")[0])
    if kind is METRIC and "crop_border" in properties:
        properties["crop_border"] |= {"type": "integer", "minimum": 0}
    if kind is not TEACHER:  # blocks of a list, which is never merged
        properties[REPLACE] = {"type": "boolean"}
    return {
        "type": "object",
        "properties": {"type": {"const": name}, **properties},
        "additionalProperties": False,
        "description": summary_of(target),
    }


def _extra(kind: Kind, properties: Schema) -> Schema:
    """Keys beside the arguments, and the weight, which may be a block."""
    extra: Schema = {}
    described = {LOSS.noun: LossBlock, TERM.noun: TermBlock, TEACHER.noun: TeacherBlock}.get(kind.noun)
    for key, schema in shown_schema(described)["properties"].items() if described else ():
        if key in ("loss_weight", "weight") and (kind is TERM or key in properties):
            extra[key] = {"allOf": [_ref("weight")], "description": schema["description"]}
        elif key not in ("type", "loss_weight"):
            extra[key] = {k: v for k, v in schema.items() if k != "default"}
    return extra


def _component(kind: Kind, complete: bool) -> Schema:
    names = _names(kind.find())
    cases = []
    for name, registered in names.items():
        needed = kind.parameters(registered).needed if complete else []
        then = {"allOf": [_ref(f"{kind.noun}.{name}"), {"required": needed}]} if needed else _ref(f"{kind.noun}.{name}")
        cases.append({"if": {"properties": {"type": {"const": name}}, "required": ["type"]}, "then": then})
    schema: Schema = {"type": "object", "properties": {"type": {"enum": list(names)}}}
    schema |= {"allOf": cases} if cases else {}  # an empty list is none to JSON Schema
    return schema | ({"required": ["type"]} if complete else {})


def _loss(suffix: str, key: str = "") -> Schema:
    """A loss, where it stands: what the short name ``key`` does not take is none of its keys."""
    others = {name: False for name in ("gate", "taught_by") if name not in short_name(key).extra}
    return {"allOf": [_ref(f"loss{suffix}"), {"properties": others}]}


def _open_terms(suffix: str) -> Schema:
    """``train.losses``: a list of whole terms, or terms by name, whose type is by default the name."""
    whole = {"allOf": [_ref("term"), {"properties": {REPLACE: False}}]}
    typed = {"if": {"required": ["type"]}, "then": _ref(f"term{suffix}")}
    named = {}
    for name, registered in _names(TERM.find()).items():
        needed = [] if suffix else [key for key in TERM.parameters(registered).needed if key != "type"]
        plain = {"allOf": [_ref(f"term.{name}"), {"required": needed}]} if needed else _ref(f"term.{name}")
        named[name] = _or_null({"type": "object", **typed, "else": plain})
    block = {
        "properties": {REPLACE: {"type": "boolean"}, **named},
        "additionalProperties": _or_null(_ref(f"term{suffix}")),
    }
    return {"anyOf": [{"type": "array", "items": whole}, {"type": "object", **block}]}


# --- the file ------------------------------------------------------------------------------------------------------


def _dataset(suffix: str) -> Schema:
    types = list(_names(dict(iter(registry.DATASET_REGISTRY))))
    ignored: Schema = {key: {"type": "null"} for key in IGNORED_BY_PATCHES}
    paired, _ = _blocks(PairedBlock, suffix)
    needed = paired.pop("required", [])
    named_inputs = {"properties": {"type": {"const": INPUTS_TYPE}}, "required": ["type"]}
    inputs = {"required": [key for key in needed if key != "dataroot_gt"]} | {
        "properties": {key: {"type": "null"} for key in IGNORED_BY_INPUTS}
    }
    named_patch = {"properties": {"type": {"enum": list(PATCH_TYPES)}}, "required": ["type"]}
    others = [name for name in DESCRIBED_TYPES if name != LMDB_TYPE]
    named_other = {"properties": {"type": {"enum": others}}, "required": ["type"]}
    single: Schema = {key: {"type": "string"} for key in ("dataroot_gt", "dataroot_lq")} | {"weights": {"type": "null"}}
    weights: Schema = {"weights": {"items": {"exclusiveMinimum": 0}}}
    named_whole = {"properties": {"type": {"const": SINGLE_TYPE}}, "required": ["type"]}
    whole = {"if": named_whole, "then": {"required": ["dataroot_lq"]}}
    cases = [
        {"if": named_inputs, "then": inputs, "else": {"required": needed}},
        {"if": named_patch, "then": {"properties": ignored}},
        {"if": named_other, "then": {"properties": single}, "else": {"properties": weights}},
    ]
    return {
        "type": "object",
        "properties": {"type": {**paired["properties"]["type"], "enum": types}},
        **({} if suffix else {"required": ["name", "type"]}),
        "if": {"properties": {"type": {"enum": list(DESCRIBED_TYPES)}}},
        "then": {"allOf": [paired, *cases]},
        **({} if suffix else {"else": whole}),
    }


def _datasets(suffix: str) -> Schema:
    train = _ref(f"dataset{suffix}")
    if not suffix:
        progressive = {
            "properties": {"progressive": {"type": "array", "minItems": 1}, "type": {"enum": list(DESCRIBED_TYPES)}},
            "required": ["progressive"],
        }
        sized = {
            "required": ["batch_size_per_gpu"],
            "if": {"properties": {"type": {"enum": list(DESCRIBED_TYPES)}}},
            "then": {"required": ["gt_size"]},
        }
        train = {"allOf": [train, {"if": progressive, "then": {}, "else": sized}]}
    return {
        "type": "object",
        "properties": {_TRAIN_SET: _or_null(train), REPLACE: {"type": "boolean"}},
        "patternProperties": {_OTHER_SET: _or_null(_ref(f"dataset{suffix}"))},
        "additionalProperties": False,
    }


def _file(suffix: str) -> Schema:
    """A file of this package's models; with the suffix ``.part`` one that leaves the rest to its base."""
    blocks = blocks_for(None)
    schemas: dict[str, Schema] = {}
    definitions: Schema = {}
    for name, cls in blocks.items():
        schemas[name], inner = _blocks(cls, suffix, needed=name not in ("top", "val"))
        definitions |= inner
    top, train, val = (schemas[name]["properties"] for name in ("top", "train", "val"))
    off: list[Schema] = [{"type": "null"}, {"type": "object", "maxProperties": 0}]  # as good as left out
    for key in TERM_KEYS:
        _put(train, key, {"anyOf": [_loss(suffix, key), *off]})
    _put(train, "losses", _or_null(_open_terms(suffix)))
    _put(train, "perceptual_opt", {"anyOf": [_ref(f"{LOSS.noun}{suffix}"), *off]})
    _put(train, "optim_d", _or_null(_ref(f"{OPTIMIZER.noun}{suffix}")))
    for key, kind in (("optim_g", OPTIMIZER), ("scheduler", SCHEDULER)):
        _put(train, key, {"allOf": [_ref(f"{kind.noun}{suffix}")]})
    for key in [key for key in top if key.startswith("network_")]:
        network = _ref(f"network{suffix}")
        _put(top, key, {"allOf": [network]} if key in fields_of(TopBlock) else _or_null(network))
    _put(top, TEACHERS, _or_null({"type": "array", "items": _ref("teacher"), "minItems": 1}))
    metrics = {"additionalProperties": _ref(f"metric{suffix}"), "properties": {REPLACE: {"type": "boolean"}}}
    _put(val, "metrics", _or_null({"type": "object", **metrics}))
    _put(top, "datasets", _datasets(suffix))
    for name in ("path", "train", "val", "logger"):
        definitions[f"{name}{suffix}"] = schemas[name]
        nullable = name in ("path", "val")
        _put(top, name, _or_null(_ref(f"{name}{suffix}")) if nullable else {"allOf": [_ref(f"{name}{suffix}")]})
    definitions[f"path.named{suffix}"] = _named(schemas["path"], _NO_SLIP if suffix else "")
    _put(top, "path", {})
    top["model_type"] = {**top["model_type"], "enum": own_models()}
    top[BASE] = _base()
    del top[REPLACE]
    definitions[f"file{suffix}"] = {**schemas["top"], "allOf": _cases(suffix)}
    if not suffix:
        definitions["file"]["required"] = needed_keys(blocks["top"], own=True, is_train=False)
        training = {
            "required": needed_keys(blocks["top"], own=True, is_train=True),
            "properties": {"val": {"required": needed_keys(blocks["val"], own=True, is_train=True)}},
        }
        definitions["file"]["allOf"].append({"if": {"required": ["train"]}, "then": training})
    return definitions


def _put(properties: Schema, key: str, schema: Schema) -> None:
    """Replace what stands under a key, and leave what it means."""
    properties[key] = {**schema, "description": properties[key]["description"]}


def _named(path: Schema, admitted: str) -> Schema:
    """The block ``path`` of a file with teachers of any name."""
    names = f"{admitted}[A-Za-z][A-Za-z0-9_]*$"
    patterns = {f"^(pretrain_network|param_key)_{names}": _TEXT_OR_NULL, f"^strict_load_{names}": {"type": "boolean"}}
    return {**path, "patternProperties": patterns}


def _cases(suffix: str) -> list[Schema]:
    """What depends on the model: whether there are teachers, and under which names their weights are."""
    plain = {"properties": {"model_type": {"enum": own_models(distilling=False)}}, "required": ["model_type"]}
    forbidden: dict[str, Schema] = {
        "top": dict.fromkeys(fields_of(DistillingTop).keys() - fields_of(TopBlock).keys(), False),
        "path": dict.fromkeys(fields_of(DistillingPath).keys() - fields_of(PathBlock).keys(), False),
    }
    named = {"properties": {"path": _or_null(_ref(f"path.named{suffix}"))}}
    usual = {"properties": {"path": _or_null(_ref(f"path{suffix}"))}}
    return [
        {"if": plain, "then": {"properties": {**forbidden["top"], "path": {"properties": forbidden["path"]}}}},
        named if suffix else {"if": {"required": [TEACHERS]}, "then": named, "else": usual},
    ]


def _base() -> Schema:
    text = "option files to build on: paths from this file's folder, or names of packaged files; later ones win"
    name = {"type": "string", "minLength": 1}
    return {"anyOf": [name, {"type": "array", "items": name}], "description": text}


def _other_file() -> Schema:
    properties = _told(shown_schema(EveryFile), "")["properties"]
    properties["model_type"] = {"enum": list(_names(dict(iter(registry.MODEL_REGISTRY))))}
    return {"properties": properties}
