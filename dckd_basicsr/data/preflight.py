"""Checks of a GT/LQ pair before training starts: quick, as no image of a database is decoded.

Each function returns a list of problems, each one sentence for the user; an empty list means all is well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from ..errors import DatasetError
from .lmdb.pack_id import pack_problems
from .lmdb.payload import Shape
from .lmdb.reader import LmdbImages, read_meta_info
from .photos.file_lists import list_problems, listed_pair, read_list
from .photos.images import read_image
from .photos.orientation import file_orientation

__all__ = [
    "pair_problems",
    "paired_folder_problems",
    "paired_list_problems",
    "paired_lmdb_problems",
    "single_lmdb_problems",
]

_SHOWN = 3


def paired_lmdb_problems(
    gt: Path, lq: Path, scale: int, gt_size: int | None = None, *, rest: bool = False
) -> list[str]:
    """Check two databases by their ``meta_info.txt``, their pack ids and the size of ``data.mdb``.

    Args:
        gt: ``dataroot_gt``.
        lq: ``dataroot_lq``.
        scale: GT height and width must be this times those of LQ.
        gt_size: side of the training crop in GT pixels; None if whole images are used.
        rest: GT may have a remainder at the right and bottom, which datasets cut off outside training.
    """
    problems: list[str] = []
    shapes = [_database("dataroot_gt", gt, problems), _database("dataroot_lq", lq, problems)]
    if problems:
        return problems
    problems = pair_problems(gt, lq, scale, *shapes, rest=rest) or pack_problems(gt, lq)
    small = next((key for key, shape in shapes[0].items() if min(shape[:2]) < (gt_size or 0)), None)
    if small is not None:
        problems.append(
            f"dataroot_gt '{gt}': '{small}' is {_size(shapes[0][small])}, smaller than gt_size {gt_size}; "
            "lower gt_size, or pack larger crops"
        )
    return problems


def single_lmdb_problems(lq: Path) -> list[str]:
    """Check the database ``dataroot_lq`` of inputs alone, as :func:`paired_lmdb_problems` does each of two."""
    problems: list[str] = []
    _database("dataroot_lq", lq, problems)
    return problems


def _database(role: str, path: Path, problems: list[str]) -> dict[str, Shape]:
    """Return a database's shapes; what is wrong with it is added to ``problems``."""
    shapes: dict[str, Shape] = {}
    if path.suffix != ".lmdb":
        problems.append(f"{role} '{path}' must be a folder whose name ends in '.lmdb' for io_backend lmdb")
        return shapes
    try:
        shapes = read_meta_info(path)
        LmdbImages(path)  # checks data.mdb
    except DatasetError as error:
        # Open in this process already: then it was readable a moment ago.
        if "already open in this process" not in str(error):
            problems.append(f"{role}: {error}")
    return shapes


def pair_problems(
    gt: Path,
    lq: Path,
    scale: int,
    gt_shapes: Mapping[str, Shape],
    lq_shapes: Mapping[str, Shape],
    *,
    rest: bool = False,
) -> list[str]:
    """Compare two databases' keys, and shapes GT = scale x LQ, or LQ = floor(GT / scale) if GT may have a ``rest``.

    The paths are for the message only.
    """
    if gt_shapes.keys() != lq_shapes.keys():
        return [
            f"'{gt}' and '{lq}' hold different images: {_only(gt_shapes, lq_shapes, gt)}; "
            f"{_only(lq_shapes, gt_shapes, lq)}; check the paths, or pack both together again with `basicsr prepare`"
        ]
    for key, shape in lq_shapes.items():
        if not _fits(gt_shapes[key], shape, scale, rest):
            return [
                f"'{key}' is {_size(gt_shapes[key])} in '{gt}' and {_size(lq_shapes[key])} in '{lq}', "
                f"not {scale} times smaller; check scale and paths"
            ]
    return []


def paired_folder_problems(
    gt: Path, lq: Path, scale: int, filename_tmpl: str = "{}", *, rest: bool = False, turns: bool = True
) -> list[str]:
    """Check two folders of images by their file names, orientation tags, and the first pair's sizes.

    Args:
        gt: ``dataroot_gt``.
        lq: ``dataroot_lq``.
        scale: GT height and width must be this times those of LQ.
        filename_tmpl: the LQ name without extension for a GT name ``{}``, as in BasicSR (``{}x4``).
        rest: GT may have a remainder at the right and bottom, which datasets cut off outside training.
        turns: the dataset turns images by their orientation tags, as BasicSR's do; False if it reads stored pixels.
    """
    problems = [
        f"{role} '{path}' does not exist or is not a folder; check the path"
        for role, path in (("dataroot_gt", gt), ("dataroot_lq", lq))
        if not path.is_dir()
    ]
    if problems:
        return problems
    # BasicSR pairs every visible file of the two folders, whatever its kind, and keeps the extension.
    wanted = {f"{filename_tmpl.format(path.stem)}{path.suffix}": path for path in _files(gt)}
    found = {path.name: path for path in _files(lq)}
    if not wanted:
        return [f"dataroot_gt '{gt}' holds no files; check the path"]
    if wanted.keys() != found.keys():
        return [
            f"dataroot_gt '{gt}' holds {len(wanted)} files and dataroot_lq '{lq}' {len(found)}, and their names do not "
            f"pair up with filename_tmpl '{filename_tmpl}': {_only(wanted, found, lq, 'missing in')}; "
            f"{_only(found, wanted, lq)}"
        ]
    return _file_problems([(wanted[name], found[name]) for name in sorted(wanted)], scale, rest, turns)


def paired_list_problems(
    file: Path, gt: Path, lq: Path, scale: int, filename_tmpl: str = "{}", *, rest: bool = False, turns: bool = True
) -> list[str]:
    """Check the pairs that ``meta_info_file`` lists, as :func:`paired_folder_problems` does those of two folders.

    With ``rest``, which tells a validation or test set, no image may be listed twice.
    """
    pairs = partial(listed_pair, gt, lq, filename_tmpl)
    return list_problems(file, pairs, once=rest) or _file_problems(
        [pairs(name) for name in read_list(file)], scale, rest, turns
    )


def _file_problems(pairs: Sequence[tuple[Path, Path]], scale: int, rest: bool, turns: bool) -> list[str]:
    first = pairs[0]
    try:
        gt_shape, lq_shape = (read_image(path).shape for path in first)
    except DatasetError as error:
        return [str(error)]
    if not _fits(gt_shape, lq_shape, scale, rest):
        return [
            f"'{first[0]}' is {_size(gt_shape)} and '{first[1]}' {_size(lq_shape)}, "
            f"not {scale} times smaller; check scale and paths"
        ]
    for gt, lq in pairs if turns else ():
        tags = file_orientation(gt), file_orientation(lq)
        if tags[0] != tags[1]:
            return [
                f"'{gt}' has orientation tag {tags[0]} and '{lq}' {tags[1]} (1 is none), and BasicSR turns images by "
                "their tags; remove the tags from both, or read pixels as they are stored: with type: "
                "PairedPatchDataset, or from databases of `basicsr prepare paired`"
            ]
    return []


def _fits(gt: Sequence[int], lq: Sequence[int], scale: int, rest: bool) -> bool:
    if rest:
        return (gt[0] // scale, gt[1] // scale) == tuple(lq[:2])
    return tuple(gt[:2]) == (scale * lq[0], scale * lq[1])


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]


def _only(these: Iterable[str], those: Iterable[str], where: Path, verb: str = "only in") -> str:
    names = sorted(set(these) - set(those))
    more = ", ..." if len(names) > _SHOWN else ""
    return f"{len(names)} {verb} '{where.name}'" + (f" ({', '.join(names[:_SHOWN])}{more})" if names else "")


def _size(shape: Sequence[int]) -> str:
    return f"{shape[0]}x{shape[1]}"
