"""Whether the files an option file names are there, readable, and fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data import paired_folder_problems, paired_lmdb_problems, read_meta
from ..data.payload import RAW
from ..errors import DatasetError
from ..kinds import is_own
from .keys import LMDB_TYPE, PAIRED_TYPES, PATCH_TYPES
from .problems import block_of
from .resources import as_path, is_there, missing_file
from .weights import resume_problems, weight_problems

__all__ = ["file_problems", "is_lmdb"]


def file_problems(opt: Mapping[str, Any], is_train: bool) -> list[str]:
    """Return missing, damaged and ill-fitting files: weights, training states, data sets."""
    own = is_own(opt.get("model_type"))
    told: set[str] = set()
    problems = [*weight_problems(opt, is_train, told), *resume_problems(opt)]
    for name, dataset in block_of(opt, "datasets").items():
        if isinstance(dataset, Mapping):
            problems += _dataset(f"datasets.{name}", dataset, opt.get("scale"), own, told)
    return problems


def is_lmdb(dataset: Mapping[str, Any]) -> bool:
    """Tell whether a dataset block reads LMDBs: as its type or ``io_backend`` says, else by the name of its roots."""
    if dataset.get("type") == LMDB_TYPE:
        return True
    backend = block_of(dataset, "io_backend").get("type")
    return backend == "lmdb" if backend else str(dataset.get("dataroot_gt")).rstrip("/").endswith(".lmdb")


def _dataset(where: str, dataset: Mapping[str, Any], scale: Any, own: bool, told: set[str]) -> list[str]:
    # With an LMDB, BasicSR reads the list of images from the LMDB and leaves meta_info_file alone.
    keys = ["dataroot_gt", "dataroot_lq", *([] if is_lmdb(dataset) else ["meta_info_file"])]
    roots = {key: _texts(dataset.get(key)) for key in keys}
    problems = [
        missing_file(f"{where}.{key}", text, told)
        for key, texts in roots.items()
        for text in texts
        if not (is_there(as_path(text)) or is_there(as_path(text), folder=True))
    ]
    problems += _raw_problems(where, dataset, [*roots["dataroot_gt"], *roots["dataroot_lq"]])
    pairs = list(zip(roots["dataroot_gt"], roots["dataroot_lq"]))
    if own and dataset.get("type") in PAIRED_TYPES and pairs:
        problems += _backend_problems(where, dataset, roots)
        if not problems and not roots.get("meta_info_file"):
            for gt, lq in pairs:
                problems += _content_problems(where, dataset, as_path(gt), as_path(lq), scale)
    return problems


def _texts(value: Any) -> list[str]:
    """A root or a list of roots; what is no text is reported elsewhere."""
    values = value if isinstance(value, list | tuple) else [value]
    return [text for text in values if isinstance(text, str)]


def _raw_problems(where: str, dataset: Mapping[str, Any], roots: Sequence[str]) -> list[str]:
    if dataset.get("type") == LMDB_TYPE or not is_lmdb(dataset):
        return []
    return [
        f"{where}: '{root}' holds raw pixels, which only {LMDB_TYPE} reads; set type: {LMDB_TYPE}, or pack the photos "
        "again with --payload png"
        for root in roots
        if _is_raw(as_path(root))
    ]


def _is_raw(path: Path) -> bool:
    try:
        return read_meta(path).payload == RAW
    except DatasetError:
        return False  # told by other checks


def _backend_problems(where: str, dataset: Mapping[str, Any], roots: Mapping[str, Sequence[str]]) -> list[str]:
    lmdb = is_lmdb(dataset)
    return [
        f"{where}.{key} is '{root}', but this set is read as {'LMDB' if lmdb else 'image files'}; "
        f"{'give a folder named *.lmdb' if lmdb else 'set io_backend: {type: lmdb}'} for both roots, or neither"
        for key in ("dataroot_gt", "dataroot_lq")
        for root in roots[key]
        if root.rstrip("/").endswith(".lmdb") != lmdb
    ]


def _content_problems(where: str, dataset: Mapping[str, Any], gt: Path, lq: Path, scale: Any) -> list[str]:
    size, template = dataset.get("gt_size"), dataset.get("filename_tmpl", "{}")
    if dataset.get("type") in PATCH_TYPES:
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
