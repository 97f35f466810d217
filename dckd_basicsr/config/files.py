"""Whether the files an option file names are there, readable, and fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data import paired_folder_problems, paired_lmdb_problems
from .keys import OWN_MODELS, PAIRED_TYPES, PATCH_TYPE
from .problems import block_of
from .resources import as_path, is_there, missing_file
from .weights import resume_problems, weight_problems

__all__ = ["file_problems", "is_lmdb"]


def file_problems(opt: Mapping[str, Any], is_train: bool) -> list[str]:
    """Return missing, damaged and ill-fitting files: weights, training states, data sets."""
    own = opt.get("model_type") in OWN_MODELS
    told: set[str] = set()
    problems = [*weight_problems(opt, is_train, told), *resume_problems(opt)]
    for name, dataset in block_of(opt, "datasets").items():
        if isinstance(dataset, Mapping):
            problems += _dataset(f"datasets.{name}", dataset, opt.get("scale"), own, told)
    return problems


def is_lmdb(dataset: Mapping[str, Any]) -> bool:
    """Tell whether a dataset block reads LMDBs: as ``io_backend`` says, else by the name of its roots."""
    backend = block_of(dataset, "io_backend").get("type")
    return backend == "lmdb" if backend else str(dataset.get("dataroot_gt")).rstrip("/").endswith(".lmdb")


def _dataset(where: str, dataset: Mapping[str, Any], scale: Any, own: bool, told: set[str]) -> list[str]:
    # With an LMDB, BasicSR reads the list of images from the LMDB and leaves meta_info_file alone.
    keys = ["dataroot_gt", "dataroot_lq", *([] if is_lmdb(dataset) else ["meta_info_file"])]
    roots = {key: as_path(dataset[key]) for key in keys if isinstance(dataset.get(key), str)}
    missing = [key for key, path in roots.items() if not (is_there(path) or is_there(path, folder=True))]
    problems = [missing_file(f"{where}.{key}", dataset[key], told) for key in missing]
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
