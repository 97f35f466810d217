"""Whether the files an option file names are there, readable, and fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..archs.vqgan_layout import vqgan_options_from_state
from ..checkpoint import load_weights
from ..data import paired_folder_problems, paired_lmdb_problems
from ..errors import CheckpointError, ConfigError
from .keys import OWN_MODELS, PAIRED_TYPES, PATCH_TYPE, TAUGHT_TERMS, VQGAN_TERMS
from .problems import block_of, type_of
from .resources import resolve_weights, where_to_get

__all__ = ["file_problems", "is_lmdb"]

# BasicSR loads net_g from the entry 'params' unless told otherwise; the others are searched for one.
_DEFAULT_PARAM_KEYS = {"g": "params"}

_NEEDED_BY = {"network_teacher": TAUGHT_TERMS, "network_vqgan": VQGAN_TERMS}


def file_problems(opt: Mapping[str, Any], is_train: bool) -> list[str]:
    """Return missing, damaged and ill-fitting files: weights, training states, data sets."""
    own = opt.get("model_type") in OWN_MODELS
    told: set[str] = set()
    problems = [*_weights(opt, is_train, own, told), *_resume_state(opt)]
    for name, dataset in block_of(opt, "datasets").items():
        if isinstance(dataset, Mapping):
            problems += _dataset(f"datasets.{name}", dataset, opt.get("scale"), own, told)
    return problems


def _missing(key: str, value: str, told: set[str], kind: str = "") -> str:
    """Word a missing file; where to get it is said once in a report. ``kind`` is the network it is meant for."""
    hint = where_to_get(key, f"{value} {kind}")
    text = f"{key}: '{value}' does not exist" + ("" if hint in told else f"; {hint}")
    told.add(hint)
    return text


def _weights(opt: Mapping[str, Any], is_train: bool, own: bool, told: set[str]) -> Iterator[str]:
    paths = block_of(opt, "path")
    for key, value in paths.items():
        label = str(key).removeprefix("pretrain_network_")
        if label == key or not isinstance(value, str) or not _is_used(opt, f"network_{label}", is_train, own):
            continue
        param_key = paths.get(f"param_key_{label}", _DEFAULT_PARAM_KEYS.get(label))
        kind = str(type_of(block_of(opt, f"network_{label}"))) if label == "teacher" else ""
        yield from _weight_file(f"path.{key}", value, param_key, own, told, kind)
    for key, block in opt.items():
        if not (str(key).startswith("network_") and isinstance(block, Mapping) and _is_used(opt, key, is_train, own)):
            continue
        if block.get("type") == "PretrainedNet" and isinstance(block.get("path"), str):
            yield from _weight_file(f"{key}.path", block["path"], None, own, told)


def _is_used(opt: Mapping[str, Any], network: str, is_train: bool, own: bool) -> bool:
    if not own:
        return True
    if network == "network_g":
        return True
    terms = _NEEDED_BY.get(network, ())  # an ablation that switches these terms off needs no such file
    return is_train and network in opt and any(block_of(opt, "train").get(term) for term in terms)


def _weight_file(key: str, value: str, param_key: Any, own: bool, told: set[str], kind: str = "") -> Iterator[str]:
    try:
        path = resolve_weights(value)
    except ConfigError as error:
        yield f"{key}: {error}"
        return
    if not path.is_file():
        yield _missing(key, value, told, kind)
    elif own:  # other models load with torch.load, in ways only they know
        try:
            state = load_weights(path, param_key if isinstance(param_key, str) else None).state
            if key.endswith("network_vqgan"):
                vqgan_options_from_state(state)
        except CheckpointError as error:
            yield f"{key}: {error}"


def _resume_state(opt: Mapping[str, Any]) -> Iterator[str]:
    state = block_of(opt, "path").get("resume_state")
    if isinstance(state, str) and not Path(state).expanduser().is_file():
        yield (
            f"path.resume_state: '{state}' does not exist; states are written to "
            "experiments/NAME/training_states/ITERATION.state, and --auto_resume finds the latest"
        )


def is_lmdb(dataset: Mapping[str, Any]) -> bool:
    """Tell whether a dataset block reads LMDBs: as ``io_backend`` says, else by the name of its roots."""
    backend = block_of(dataset, "io_backend").get("type")
    return backend == "lmdb" if backend else str(dataset.get("dataroot_gt")).rstrip("/").endswith(".lmdb")


def _dataset(where: str, dataset: Mapping[str, Any], scale: Any, own: bool, told: set[str]) -> list[str]:
    # With an LMDB, BasicSR reads the list of images from the LMDB and leaves meta_info_file alone.
    keys = ["dataroot_gt", "dataroot_lq", *([] if is_lmdb(dataset) else ["meta_info_file"])]
    roots = {key: Path(dataset[key]).expanduser() for key in keys if isinstance(dataset.get(key), str)}
    problems = [_missing(f"{where}.{key}", dataset[key], told) for key, path in roots.items() if not path.exists()]
    if own and dataset.get("type") in PAIRED_TYPES and {"dataroot_gt", "dataroot_lq"} <= roots.keys():
        problems += _backend_problems(where, dataset)
        if not problems and "meta_info_file" not in roots:
            problems += _content_problems(where, dataset, roots, scale)
    return problems


def _backend_problems(where: str, dataset: Mapping[str, Any]) -> list[str]:
    lmdb = is_lmdb(dataset)
    return [
        f"{where}.{key} is '{dataset[key]}', but this set is read as {'LMDB' if lmdb else 'image files'}; "
        f"{'give a folder named *.lmdb' if lmdb else 'set io_backend: {type: lmdb}'} for both roots, or neither"
        for key in ("dataroot_gt", "dataroot_lq")
        if dataset[key].rstrip("/").endswith(".lmdb") != lmdb
    ]


def _content_problems(where: str, dataset: Mapping[str, Any], roots: Mapping[str, Path], scale: Any) -> list[str]:
    gt, lq = roots["dataroot_gt"], roots["dataroot_lq"]
    size, template = dataset.get("gt_size"), dataset.get("filename_tmpl", "{}")
    if dataset.get("type") == PATCH_TYPE:
        size = None  # smaller images are reflected to the patch size
    if not isinstance(scale, int) or scale < 1:
        return []
    if is_lmdb(dataset):
        found = paired_lmdb_problems(gt, lq, scale, size if isinstance(size, int) else None)
    else:
        try:
            found = paired_folder_problems(gt, lq, scale, str(template))
        except (KeyError, IndexError, ValueError):
            found = [f"filename_tmpl '{template}' must hold one {{}}, which stands for the GT name without extension"]
    return [f"{where}: {problem}" for problem in found]
