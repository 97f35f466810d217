"""Whether the files an option file names are there, readable, and fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data.lmdb.pack_id import pack_problems
from ..data.lmdb.payload import RAW
from ..data.lmdb.reader import read_meta
from ..data.photos.file_lists import list_problems, read_list
from ..data.preflight import paired_folder_problems, paired_list_problems, paired_lmdb_problems, single_lmdb_problems
from ..errors import DatasetError
from ..kinds import is_own
from .blocks.dataset import IGNORED_BY_INPUTS, INPUTS_TYPE, LMDB_TYPE, PAIRED_TYPES, PATCH_TYPES, SINGLE_TYPE
from .problems import block_of
from .resources import as_path, is_there, missing_file
from .rules import is_evaluated, single_problems, size_problems
from .weights import resume_problems, weight_problems

__all__ = ["file_problems", "is_lmdb"]


def file_problems(opt: Mapping[str, Any], is_train: bool) -> list[str]:
    """Return missing, damaged and ill-fitting files: weights, training states, data sets."""
    own = is_own(opt.get("model_type"))
    told: set[str] = set()
    problems = [*weight_problems(opt, is_train, told), *resume_problems(opt)]
    for name, dataset in block_of(opt, "datasets").items():
        if isinstance(dataset, Mapping):
            evaluated = is_evaluated(str(name))
            # A remainder of a GT image is what only training cannot do with.
            found = _dataset(f"datasets.{name}", dataset, opt.get("scale"), own, told, rest=evaluated)
            if own and not found and evaluated:
                found = _evaluated(f"datasets.{name}", dataset, opt)
            problems += found
    return problems


def is_lmdb(dataset: Mapping[str, Any]) -> bool:
    """Tell whether a dataset block reads LMDBs: as its type or ``io_backend`` says, else by the name of its roots."""
    if dataset.get("type") == LMDB_TYPE:
        return True
    backend = block_of(dataset, "io_backend").get("type")
    inputs = dataset.get("dataroot_lq")
    root = inputs if dataset.get("type") == INPUTS_TYPE else dataset.get("dataroot_gt", inputs)
    return backend == "lmdb" if backend else str(root).rstrip("/").endswith(".lmdb")


def _dataset(where: str, dataset: Mapping[str, Any], scale: Any, own: bool, told: set[str], rest: bool) -> list[str]:
    # With an LMDB, BasicSR reads the list of images from the LMDB and leaves meta_info_file alone.
    keys = ["dataroot_gt", "dataroot_lq", *([] if is_lmdb(dataset) else ["meta_info_file"])]
    ignored = IGNORED_BY_INPUTS if dataset.get("type") == INPUTS_TYPE else ()
    roots = {key: [] if key in ignored else _texts(dataset.get(key)) for key in keys}
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
        for gt, lq in pairs if not problems else ():
            problems += _content_problems(where, dataset, as_path(gt), as_path(lq), scale, rest)
    elif own and dataset.get("type") == INPUTS_TYPE and not problems:
        problems += _backend_problems(where, dataset, roots)
        for lq in roots["dataroot_lq"] if not problems else ():
            found = [f"{where}: {line}" for line in single_lmdb_problems(as_path(lq))] if is_lmdb(dataset) else []
            problems += found if is_lmdb(dataset) else single_problems(where, as_path(lq))
    elif is_lmdb(dataset):
        problems += [f"{where}: {line}" for gt, lq in pairs for line in pack_problems(as_path(gt), as_path(lq))]
    return problems


def _evaluated(where: str, dataset: Mapping[str, Any], opt: Mapping[str, Any]) -> list[str]:
    """Look at the images of a validation or test set with which nothing else is wrong."""
    scale, lists = opt.get("scale"), _texts(dataset.get("meta_info_file"))
    if dataset.get("type") == SINGLE_TYPE and not is_lmdb(dataset):
        return [
            text
            for root in map(as_path, _texts(dataset.get("dataroot_lq")))
            for text in (_inputs_problems(where, as_path(lists[0]), root) if lists else single_problems(where, root))
        ]
    if dataset.get("type") not in PAIRED_TYPES or not isinstance(scale, int) or scale < 1:
        return []
    names = read_list(as_path(lists[0])) if lists and not is_lmdb(dataset) else None
    metrics = block_of(opt, "val", "metrics")
    roots = [as_path(root) for root in _texts(dataset.get("dataroot_gt"))]
    return [text for root in roots for text in size_problems(where, root, names, scale, metrics)]


def _inputs_problems(where: str, listed: Path, folder: Path) -> list[str]:
    found = list_problems(listed, lambda name: [folder / name], once=True)
    return [f"{where}.meta_info_file: {problem}" for problem in found]


def _texts(value: Any) -> list[str]:
    """A root or a list of roots; what is no text is reported elsewhere."""
    values = value if isinstance(value, list | tuple) else [value]
    return [text for text in values if isinstance(text, str)]


def _raw_problems(where: str, dataset: Mapping[str, Any], roots: Sequence[str]) -> list[str]:
    if dataset.get("type") in (LMDB_TYPE, INPUTS_TYPE) or not is_lmdb(dataset):
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
        f"{'give a folder named *.lmdb' if lmdb else 'set io_backend: {type: lmdb}'}"
        f"{' for both roots, or neither' if roots['dataroot_gt'] else ''}"
        for key in ("dataroot_gt", "dataroot_lq")
        for root in roots[key]
        if root.rstrip("/").endswith(".lmdb") != lmdb
    ]


def _content_problems(where: str, dataset: Mapping[str, Any], gt: Path, lq: Path, scale: Any, rest: bool) -> list[str]:
    size, template, stored = dataset.get("gt_size"), str(dataset.get("filename_tmpl", "{}")), False
    if dataset.get("type") in PATCH_TYPES:
        size, stored = None, True  # smaller images are reflected to the patch size; orientation tags are not applied
    if not isinstance(scale, int) or scale < 1:
        return []
    lists = _texts(dataset.get("meta_info_file"))
    if is_lmdb(dataset):
        found = paired_lmdb_problems(gt, lq, scale, size if isinstance(size, int) else None, rest=rest)
    else:
        try:
            if lists:
                where += ".meta_info_file"
                found = paired_list_problems(as_path(lists[0]), gt, lq, scale, template, rest=rest, turns=not stored)
            else:
                found = paired_folder_problems(gt, lq, scale, template, rest=rest, turns=not stored)
        except (KeyError, IndexError, ValueError):
            found = [f"filename_tmpl '{template}' must hold one {{}}, which stands for the GT name without extension"]
    return [f"{where}: {problem}" for problem in found]
