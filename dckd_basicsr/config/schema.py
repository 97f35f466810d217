"""Unknown and missing keys, and values of the wrong kind.

``DCKDModel``, ``RestorationModel`` and what derives from them read only the keys of ``keys.py`` and those they name
themselves (``extra_keys``), so anything else in their files is a mistake.
Files of other models are judged by their own code; of them only what every BasicSR run needs is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..kinds import distils, extra_keys, is_own, own_models
from .keys import (
    AT_LEAST,
    DIST,
    DISTILLED,
    IGNORED_BY_PATCHES,
    LMDB_TYPE,
    LOGGER,
    PAIRED,
    PAIRED_TYPES,
    PATCH_TYPES,
    PATH,
    SETTINGS,
    SINGLE_TYPE,
    TILE,
    TOP,
    TRAIN,
    VAL,
    Block,
)
from .problems import block_of, show, unknown_key
from .signature import misfit, settings_problems

__all__ = ["FILE", "needed_keys", "networks", "schema_problems", "weight_keys"]

FILE = "the option file"
"""What the top of an option file is called in messages."""
# Whatever the model, the pipelines index into these.
_ALWAYS_JUDGED = ("name", "datasets", "path", "train", "val", "logger")


def schema_problems(opt: Mapping[str, Any], is_train: bool) -> list[str]:
    """Return what is wrong with the keys of every block, and with the kinds of their values."""
    model = opt.get("model_type")
    own = is_own(model)
    needed = needed_keys(own, is_train)
    known = networks(distilling=distils(model))
    problems = _block(FILE, opt, TOP | known | extra_keys("top", model), needed[FILE], own, model)
    problems += [text for k in _ALWAYS_JUDGED if opt.get(k) is not None for text in misfit(k, FILE, opt[k], TOP[k])]
    for name, keys in (("path", PATH | weight_keys(known)), ("train", TRAIN), ("val", VAL), ("logger", LOGGER)):
        if isinstance(opt.get(name), Mapping):
            problems += _block(name, opt[name], keys | extra_keys(name, model), needed.get(name, ()), own, model)
    for name, cls in SETTINGS.items() if own else ():
        problems += settings_problems(f"train.{name}", block_of(opt, "train").get(name), cls)
    if own:
        problems += settings_problems("val.tile", block_of(opt, "val").get("tile"), TILE)
        problems += settings_problems("dist_params", opt.get("dist_params"), DIST)
    return problems + _datasets(block_of(opt, "datasets"), own, is_train)


def needed_keys(own: bool, is_train: bool) -> dict[str, tuple[str, ...]]:
    """Return the keys each block must have, by the block's name; the top's under ``the option file``."""
    top: tuple[str, ...] = ("name", "model_type", "datasets", *(("scale", "network_g") if own else ()))
    if not is_train:
        return {FILE: top}
    return {
        FILE: (*top, "train", "logger"),
        "train": ("total_iter", *(("optim_g", "scheduler") if own else ())),
        "val": ("val_freq",),
        "logger": ("print_freq", "save_checkpoint_freq"),
    }


def networks(*, distilling: bool) -> dict[str, Any]:
    """Return the networks that a model of this package builds, with what stands under them."""
    others = ("network_teacher", "network_vqgan") if distilling else ()
    return {"network_g": Block, **dict.fromkeys(others, Block | None)}


def weight_keys(names: Iterable[str]) -> dict[str, Any]:
    """Return the keys of ``path`` that belong to the networks ``names``."""
    keys: dict[str, Any] = {}
    for name in names:
        label = name.removeprefix("network_")
        keys |= {f"pretrain_{name}": str | None, f"strict_load_{label}": bool, f"param_key_{label}": str | None}
    return keys


def _block(
    where: str, block: Mapping[str, Any], keys: Mapping[str, Any], needed: Sequence[str], own: bool, model: Any = None
) -> list[str]:
    missing = [key for key in needed if block.get(key) is None]
    problems = [f"missing key '{key}' in {where}" for key in missing]
    if not own:
        return problems
    problems += [_unknown(key, where, keys, model) for key in block if key not in keys]
    for key in [k for k in block if k in keys and k not in missing]:
        problems += misfit(key, where, block[key], keys[key]) or _too_small(key, where, block[key])
    return problems


def _unknown(key: Any, where: str, keys: Mapping[str, Any], model: Any) -> str:
    if (where, key) == ("train", "perceptual_opt"):
        return "'perceptual_opt' in train is a term of BasicSR's SRModel and would be ignored here; remove it"
    distilled = networks(distilling=True)
    if where in (FILE, "path") and key in distilled | weight_keys(distilled):
        return f"'{key}' in {where} would be ignored by model_type {model}; remove it, or use model_type: {DISTILLED}"
    return unknown_key(key, where, keys)


def _too_small(key: str, where: str, value: Any) -> list[str]:
    low = AT_LEAST.get(key)
    if low is None or not isinstance(value, int | float) or not value < low:  # NaN is told by numbers.py
        return []
    return [f"'{key}' in {where} must be at least {low}, got {show(value)}"]


def _datasets(datasets: Mapping[str, Any], own: bool, is_train: bool) -> list[str]:
    problems = ["datasets has no 'train' set"] if is_train and datasets and "train" not in datasets else []
    for name, dataset in datasets.items():
        where, phase = f"datasets.{name}", str(name).split("_")[0]
        if is_train and name != "train" and phase != "val":
            problems.append(f"{where} is neither 'train' nor 'val', 'val_2', ...; rename it")
        if not is_train and phase not in ("test", "val"):
            problems.append(f"{where} is not for testing; a test takes 'test_1', 'test_2', ... or 'val'")
        if isinstance(dataset, Mapping):
            problems += _dataset(where, dataset, phase, own)
        else:
            problems.append(f"{where} must be a block of 'key: value' lines, got {show(dataset)}")
    return problems


def _dataset(where: str, dataset: Mapping[str, Any], phase: str, own: bool) -> list[str]:
    needed = ["name", "type"]
    paired = dataset.get("type") in PAIRED_TYPES
    if paired:
        needed += ["dataroot_gt", "dataroot_lq"]
    elif dataset.get("type") == SINGLE_TYPE:
        needed += ["dataroot_lq"]
    if phase == "train":
        sizes = ["batch_size_per_gpu", *(["gt_size"] if paired else [])]
        needed += [] if paired and dataset.get("progressive") else sizes
    problems = _block(where, dataset, PAIRED, needed, own and paired)
    if own and dataset.get("type") in PATCH_TYPES:
        ignored = [key for key in IGNORED_BY_PATCHES if dataset.get(key) is not None]
        problems += [f"'{key}' in {where} would be ignored by {dataset['type']}; remove it" for key in ignored]
    if own and paired:
        problems += _mixed(where, dataset, phase)
    elif dataset.get("type") == LMDB_TYPE and phase == "train":
        problems.append(f"{where}: {LMDB_TYPE} leaves work to the model, which only {' and '.join(own_models())} do")
    if phase == "train" and dataset.get("prefetch_mode") == "cuda" and dataset.get("pin_memory") is not True:
        problems.append(f"{where}: prefetch_mode 'cuda' needs pin_memory: true")
    return problems


def _mixed(where: str, dataset: Mapping[str, Any], phase: str) -> list[str]:
    """Lists of databases, and their weights."""
    roots, weights = [dataset.get(key) for key in ("dataroot_gt", "dataroot_lq")], dataset.get("weights")
    lists = [root for root in roots if isinstance(root, list | tuple)]
    if dataset.get("type") != LMDB_TYPE:
        wrong = (("a list of data sets", bool(lists)), ("weights", weights is not None))
        return [f"{where}: {what} needs type: {LMDB_TYPE}" for what, is_there in wrong if is_there]
    problems = []
    if block_of(dataset, "io_backend").get("type", "lmdb") != "lmdb":
        problems.append(f"{where}: {LMDB_TYPE} reads LMDBs; set io_backend: {{type: lmdb}}, or leave it out")
    counts = [len(root) if isinstance(root, list | tuple) else 1 for root in roots]
    if counts[0] != counts[1] or not all(counts):
        problems.append(f"{where}: dataroot_gt names {counts[0]} databases and dataroot_lq {counts[1]}; give pairs")
    if weights is None:
        return problems
    if phase != "train":
        problems.append(f"'weights' in {where} would be ignored: every image is tested once; remove it")
    elif isinstance(weights, list | tuple) and len(weights) != counts[0]:
        problems.append(f"'weights' in {where} has {len(weights)} numbers for {counts[0]} databases; give one for each")
    elif isinstance(weights, list | tuple) and not all(isinstance(w, int | float) and w > 0 for w in weights):
        problems.append(f"'weights' in {where} must be positive, got {show(weights)}")
    return problems
