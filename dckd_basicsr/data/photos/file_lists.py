"""Lists of images as ``meta_info_file`` names them, read as BasicSR reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePath

__all__ = ["list_problems", "listed_pair", "read_list"]


def read_list(file: Path) -> list[str]:
    """Return the image name of every line: what comes before the first space; '' of an empty line."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        return [line.strip().split(" ")[0] for line in lines]


def listed_pair(gt: Path, lq: Path, filename_tmpl: str, name: str) -> tuple[Path, Path]:
    """Return the files of a listed name: BasicSR takes the input from ``lq`` itself, whatever folder is before it."""
    plain = PurePath(name)
    return gt / name, lq / f"{filename_tmpl.format(plain.stem)}{plain.suffix}"


def list_problems(file: Path, files_of: Callable[[str], Sequence[Path]], *, once: bool) -> list[str]:
    """Return what is wrong with a list, one sentence at most: an empty line, one that is there twice, a missing file.

    Args:
        file: the list.
        files_of: gives the files that BasicSR reads for a listed name.
        once: an image may be listed once only: results are kept by name. In training, twice is twice as often.
    """
    names = read_list(file)
    if not names:
        return [f"'{file}' lists no images; write one file name on each line"]
    seen: dict[str, int] = {}
    inputs: dict[Path, str] = {}
    for number, name in enumerate(names, start=1):
        if not name:
            return [f"'{file}' line {number} is empty, and BasicSR takes every line for an image; remove the line"]
        first = seen.setdefault(name, number)
        if once and first < number:
            return [f"'{file}' lists '{name}' in lines {first} and {number}; list every image once"]
        files = files_of(name)
        other = inputs.setdefault(files[-1], name)
        if other != name:
            return [
                f"'{file}' lists '{other}' and '{name}', and BasicSR reads one input for both; give every image a file "
                "name of its own, or pack the pairs with `basicsr prepare paired`"
            ]
        missing = next((path for path in files if not path.is_file()), None)
        if missing is not None:
            return [f"'{file}' line {number} names '{name}', but '{missing}' is missing; correct the list or the path"]
    return []
