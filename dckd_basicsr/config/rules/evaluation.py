"""What holds for validation and test sets alone: names that keep results apart, images that can be measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2

from ...data.lmdb.reader import read_meta_info
from ...data.photos.headers import image_sizes
from ...errors import DatasetError
from ...kinds import trains_codebook
from ...metrics.sizes import least_side, wants_larger
from ..blocks.dataset import INPUTS_TYPE, SINGLE_TYPE
from ..problems import block_of

__all__ = ["evaluation_rules", "is_evaluated", "single_problems", "size_problems"]

_SHOWN = 3


def is_evaluated(key: str) -> bool:
    """Tell whether the set under this key of ``datasets`` is for validation or testing."""
    return key.split("_")[0] != "train"


def evaluation_rules(opt: Mapping[str, Any]) -> Iterator[str]:
    """Yield sets whose names would lose results, and sets without ground truth where one is needed."""
    if block_of(opt, "datasets", "train").get("type") == SINGLE_TYPE:
        yield (
            f"datasets.train: {SINGLE_TYPE} gives whole images, to be restored; to train on inputs alone, with a "
            f"teacher, use type: {INPUTS_TYPE}"
        )
    sets = {
        str(key): block
        for key, block in block_of(opt, "datasets").items()
        if is_evaluated(str(key)) and isinstance(block, Mapping)
    }
    known: dict[str, str] = {}
    for key, block in sets.items():
        name = block.get("name")
        if not isinstance(name, str):
            continue  # reported elsewhere, as is a name that is no folder's
        if name in known:
            yield (
                f"datasets.{known[name]} and datasets.{key} are both named '{name}', and results are kept by name; "
                "rename one"
            )
        known.setdefault(name, key)
    best = block_of(opt, "logger").get("keep_best")
    first, block = next(iter(sets.items()), ("", {}))
    if best is not None and block.get("type") == SINGLE_TYPE and not trains_codebook(opt.get("model_type")):
        yield (
            f"logger.keep_best judges by the first validation set, and datasets.{first} ({SINGLE_TYPE}) has no ground "
            "truth; put a set that has one first, or remove keep_best"
        )


def single_problems(where: str, folder: Path) -> Iterator[str]:
    """Yield one problem if a folder of inputs holds none, or other files, which BasicSR takes for images too."""
    if not folder.is_dir():
        yield f"{where}.dataroot_lq: '{folder}' is no folder; give the folder of the images"
        return
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if not files:
        yield f"{where}.dataroot_lq: '{folder}' holds no files (sub-folders are not searched); check the path"
    others = [path.name for path in files if not cv2.haveImageReader(str(path))]
    if others:
        shown = ", ".join(others[:_SHOWN]) + (", ..." if len(others) > _SHOWN else "")
        yield (
            f"{where}.dataroot_lq: '{folder}' holds files that are no images ({shown}), and every file "
            "of the folder is read; move them away"
        )


def size_problems(
    where: str, root: Path, names: Sequence[str] | None, scale: int, metrics: Mapping[str, Any]
) -> Iterator[str]:
    """Yield one problem if a set holds images that ``val.metrics`` cannot measure: a test would end in the middle.

    Args:
        where: the set, such as ``datasets.val``.
        root: ``dataroot_gt``: an LMDB, whose list of sizes is read, or a folder, of which the headers are.
        names: the files of a folder that the set takes; None for all.
        scale: GT is compared up to a multiple of it.
        metrics: the block ``val.metrics``.
    """
    measured = [(least_side(block), metric) for metric, block in metrics.items() if isinstance(block, Mapping)]
    if not measured:
        return
    least, metric = max(measured)
    try:
        sizes = (
            {key: (height, width) for key, (height, width, _) in read_meta_info(root).items()}
            if root.suffix == ".lmdb"
            else image_sizes(root, names)
        )
    except DatasetError:
        return  # reported elsewhere
    small = {name: size for name, size in sizes.items() if min(size) // scale * scale < least}
    if small:
        shown = ", ".join(f"'{name}' {height}x{width}" for name, (height, width) in list(small.items())[:_SHOWN])
        more = ", ..." if len(small) > _SHOWN else ""
        yield (
            f"{where}: {len(small)} of {len(sizes)} images in '{root}' are too small to be measured ({shown}{more}): "
            f"{wants_larger(metric, metrics[metric])}"
        )
