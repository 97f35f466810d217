"""What the images of a validation or test set are called in tables and files: by their whole path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

from ..data.photos.keys import PHOTO_SUFFIXES

__all__ = ["image_names", "picture_path"]


def image_names(dataset: Any) -> Callable[[str], str]:
    """Return a function from a sample's ``lq_path`` to the image's name, such as ``GOPR0384_11_00/000001``.

    The name is an LMDB's key, or a file's path below the root of the set, without its extension. Files that share such
    a name (``a.png`` beside ``a.jpg``) keep their extensions. Names hold no ``..`` and do not start at the root of the
    file system: they become paths of pictures.

    Args:
        dataset: with BasicSR's ``opt``, and with ``paths`` if it lists its images as BasicSR's datasets do.
    """
    roots = [root for key in dataset.opt if str(key).startswith("dataroot") for root in _texts(dataset.opt[key])]
    whole = {path: _below(path, roots) for path in _listed(dataset)}
    shared = {name for name, count in Counter(map(_bare, whole.values())).items() if count > 1}
    names = {path: name if _bare(name) in shared else _bare(name) for path, name in whole.items()}
    if len(set(names.values())) < len(names):  # a.png, a.jpg and a.png.jpg
        names = whole
    return lambda path: names.get(path) or _bare(_below(path, roots))


def picture_path(opt: Mapping[str, Any], dataset: str, name: str, current_iter: int | str) -> Path:
    """Return where an image's restoration is written: in a test one file, while training one folder of them.

    Args:
        opt: parsed options.
        dataset: name of the set, which is a folder: sets may hold images of one name.
        name: of the image; its folders are folders here.
        current_iter: the iteration; not read in a test.
    """
    folder = Path(opt["path"]["visualization"], dataset)
    if opt["is_train"]:
        return folder / name / f"{PurePath(name).name}_{current_iter}.png"
    return folder / f"{name}_{opt['val'].get('suffix') or opt['name']}.png"


def _listed(dataset: Any) -> list[str]:
    """Return the LQ paths that a dataset knows beforehand, none if it keeps them in a way of its own."""
    paths = getattr(dataset, "paths", None)
    if not isinstance(paths, list):
        return []
    found = [entry.get("lq_path") if isinstance(entry, Mapping) else entry for entry in paths]
    return [path for path in found if isinstance(path, str)]


def _texts(value: Any) -> list[str]:
    values: Iterable[Any] = value if isinstance(value, list | tuple) else [value]
    return [text for text in values if isinstance(text, str)]


def _below(path: str, roots: Iterable[str]) -> str:
    found = PurePath(path)
    below = [found.relative_to(root) for root in roots if found.is_relative_to(root)]
    found = min(below, key=lambda rest: len(rest.parts), default=found)  # LQ may lie in a folder below GT's
    return "/".join(part for part in found.parts if part not in (found.anchor, ".."))


def _bare(name: str) -> str:
    """Without the extension of a photo; any other dot is part of the name."""
    suffix = PurePath(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in PHOTO_SUFFIXES else name
