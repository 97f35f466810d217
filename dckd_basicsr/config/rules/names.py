"""Names that become folders and files: one component of a path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..problems import block_of, show
from ..resources import as_path

__all__ = ["name_problems"]

_LONGEST = 255
"""Bytes of a file's name, in the file systems of today."""
_LOG = "train__20240131_120000.log"
_PICTURE = "x_.png"


def name_problems(opt: Mapping[str, Any], own: bool) -> Iterator[str]:
    """Yield names that would crash a run or lead it out of its folder.

    Args:
        opt: options as loaded.
        own: whether the model is one of this package; of others the name of the run alone is judged.
    """
    name = opt.get("name")
    if isinstance(name, str) and (fault := _fault(name, _LOG)):
        yield f"'name' in the option file becomes the run's folder and {fault}, got {show(name)}; give a plain name"
    for key, dataset in block_of(opt, "datasets").items() if own else ():
        name = dataset.get("name") if isinstance(dataset, Mapping) and str(key).split("_")[0] != "train" else None
        if isinstance(name, str) and (fault := _fault(name)):
            where = f"'name' in datasets.{key} becomes a folder of pictures"
            yield f"{where} and {fault}, got {show(name)}; give a plain name"
    suffix = block_of(opt, "val").get("suffix") if own else None
    if isinstance(suffix, str) and suffix and (fault := _fault(suffix, _PICTURE)):
        yield f"'suffix' in val becomes part of file names and {fault}, got {show(suffix)}; give plain text"
    yield from _run_folder(opt)


def _fault(name: str, beside: str = "") -> str:
    """Say what keeps a name from being a file's, with what stands ``beside`` it there; empty for a good one."""
    longest = _LONGEST - len(beside)
    if not name:
        return "must not be empty"
    if name in (".", ".."):
        return "must name a folder of its own"
    if found := [character for character in "/\\" if character in name]:
        return f"must not hold {' '.join(found)}"
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        return "must not hold control characters"
    if len(name.encode("utf-8", errors="replace")) > longest:
        return f"must not be longer than {longest} bytes"
    return ""


def _run_folder(opt: Mapping[str, Any]) -> Iterator[str]:
    """``experiments_root`` is renamed where it is there already: it must not hold what the run stands on."""
    value = block_of(opt, "path").get("experiments_root")
    if not isinstance(value, str) or not value or "\0" in value:
        return
    here, root = Path.cwd().resolve(), as_path(value).resolve()
    if root == here or root in here.parents:
        yield (
            f"path.experiments_root: '{value}' is the folder that the command runs in, or one above it; give a folder "
            "of the run's own, for instance experiments/NAME"
        )
