"""The data sets of a file: what each must have, and which keys go together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...kinds import own_models
from ..blocks import PairedBlock, block_problems, missing_keys, needed_keys
from ..blocks.dataset import (
    DESCRIBED_TYPES,
    IGNORED_BY_INPUTS,
    IGNORED_BY_PATCHES,
    INPUTS_TYPE,
    LMDB_TYPE,
    PATCH_TYPES,
    SINGLE_TYPE,
)
from ..problems import all_of, block_of, show

__all__ = ["dataset_problems"]


def dataset_problems(datasets: Mapping[str, Any], own: bool, is_train: bool) -> list[str]:
    """Return what is wrong with the block ``datasets``; of other models' files only what any pipeline needs."""
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
    known, inputs = dataset.get("type") in DESCRIBED_TYPES, dataset.get("type") == INPUTS_TYPE
    needed = needed_keys(PairedBlock, own, is_train=phase == "train")
    if inputs:
        needed.remove("dataroot_gt")
        dataset = {k: v for k, v in dataset.items() if v is not None or k not in IGNORED_BY_INPUTS}  # switched off
    if not known:  # of which no more is known than that
        needed = ["name", "type", *(["dataroot_lq"] if dataset.get("type") == SINGLE_TYPE else [])]
    if phase == "train" and not (known and dataset.get("progressive")):
        needed += ["batch_size_per_gpu", *(["gt_size"] if known else [])]
    if own and known:
        problems = block_problems(PairedBlock, dataset, where, needed)
    else:
        problems = missing_keys(dataset, where, needed)
    if own and dataset.get("type") in PATCH_TYPES:
        ignored = [key for key in (IGNORED_BY_INPUTS if inputs else IGNORED_BY_PATCHES) if dataset.get(key) is not None]
        problems += [f"'{key}' in {where} would be ignored by {dataset['type']}; remove it" for key in ignored]
    if inputs and phase != "train":
        problems.append(f"{where}: {INPUTS_TYPE} cuts patches to train on; use type: {SINGLE_TYPE} for inputs alone")
    elif inputs and not own:
        models = all_of(own_models())
        problems.append(f"{where}: {INPUTS_TYPE} has no ground truth, without which only {models} train")
    if own and known:
        problems += _mixed(where, dataset, phase)
    elif dataset.get("type") == LMDB_TYPE and phase == "train":
        problems.append(f"{where}: {LMDB_TYPE} leaves work to the model, which only {all_of(own_models())} do")
    if phase == "train" and dataset.get("prefetch_mode") == "cuda" and dataset.get("pin_memory") is not True:
        problems.append(f"{where}: prefetch_mode 'cuda' needs pin_memory: true")
    return problems


def _mixed(where: str, dataset: Mapping[str, Any], phase: str) -> list[str]:
    """Lists of databases, and their weights."""
    roots, weights = [dataset.get(key) for key in ("dataroot_gt", "dataroot_lq")], dataset.get("weights")
    lists = [root for root in roots if isinstance(root, list | tuple)]
    if dataset.get("type") != LMDB_TYPE:
        given = weights is not None and dataset.get("type") != INPUTS_TYPE  # which would ignore them: told already
        wrong = (("a list of data sets", bool(lists)), ("weights", given))
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
