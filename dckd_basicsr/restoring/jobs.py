"""Which files are restored, and what their restorations are called."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.photos.keys import PHOTO_SUFFIXES, list_photos
from ..disk import clear_temporary
from ..errors import ConfigError, DatasetError, near_miss

__all__ = ["COMPARE", "Job", "find_jobs", "prepare_folder"]

COMPARE = "compare"
"""The folder of comparison strips below that of the restorations."""

_SAME = {".jpg": "jpg", ".jpeg": "jpg", ".png": "png", ".webp": "webp"}


@dataclass(frozen=True)
class Job:
    """A file to restore.

    Attributes:
        source: the file.
        target: where its restoration goes.
        kind: ``png``, ``jpg`` or ``webp``.
        strip: where its comparison strip goes, if one is wanted.
    """

    source: Path
    target: Path
    kind: str
    strip: Path | None = None


def find_jobs(inputs: Sequence[Path], out: Path, kind: str = "png", *, compare: bool = False) -> list[Job]:
    """Return what there is to do.

    Files keep their names and the sub-folders of the folder that was given. Two of one name in a folder (``a.png``
    beside ``a.jpg``) keep their extensions, as in the results of a test: ``a.png.png`` and ``a.jpg.png``.

    Args:
        inputs: images, and folders, which are searched with their sub-folders; what lies below ``out`` is left out.
        out: folder of the restorations.
        kind: ``png``, ``jpg``, ``webp``; or ``same``: each in the format that it has, others than these as PNG.
        compare: with strips.

    Raises:
        DatasetError: nothing there, or no images in it.
        ConfigError: ``out`` is among the inputs; or two files would have the same restoration.
    """
    sources: dict[Path, tuple[Path, Path]] = {}
    for given in inputs:
        for path, below in _files(given, out):
            sources.setdefault(path.parent.resolve() / path.name, (path, below))  # a link is a picture of its own
    listed = list(sources.values())
    bare = Counter(_named(below, kind, keep=False) for _, below in listed)
    jobs = []
    for path, below in listed:
        plain = _named(below, kind, keep=False)
        name = plain if bare[plain] == 1 else _named(below, kind, keep=True)
        strip = name if name.suffix == ".png" else name.with_name(f"{name.name}.png")
        jobs.append(Job(path, out / name, _kind(below, kind), out / COMPARE / strip if compare else None))
    _check_clashes(jobs)
    return jobs


def prepare_folder(out: Path, jobs: Sequence[Job] = ()) -> None:
    """Make the folder of the restorations, and see that files can be written there; raises ConfigError if not.

    What a command that was killed left half written beside the restorations of ``jobs`` is removed.
    """
    for folder in {path.parent for job in jobs for path in (job.target, job.strip) if path is not None}:
        clear_temporary(folder)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise ConfigError(
            f"nothing can be written to '{out}' ({error.strerror or error}); give another folder with -o, or make "
            "room or change its permissions"
        ) from error


def _files(given: Path, out: Path) -> list[tuple[Path, Path]]:
    """Return the files of an input, each with its path below it."""
    real, target = given.resolve(), out.resolve()
    if real == target or real.is_relative_to(target):
        raise ConfigError(
            f"'{given}' lies in '{out}', where the restorations go, and would be taken for one; give another folder "
            "with -o"
        )
    if given.is_dir():
        found = [p for p in list_photos(given) if not p.resolve().is_relative_to(target)]
        if not found:
            raise DatasetError(f"'{given}' holds no photos but those in '{out}'; check the path")
        return [(path, path.relative_to(given)) for path in found]
    if given.is_file():
        if real.parent == target:  # not reached by links
            raise ConfigError(f"'{given}' lies in '{out}', where the restorations go")
        return [(given, Path(given.name))]
    beside = [path.name for path in given.parent.iterdir()] if given.parent.is_dir() else []
    raise DatasetError(f"'{given}' does not exist{near_miss(given.name, beside) or '; check the path'}")


def _kind(path: Path, kind: str) -> str:
    return _SAME.get(path.suffix.lower(), "png") if kind == "same" else kind


def _named(below: Path, kind: str, *, keep: bool) -> Path:
    """Return the restoration's path; with ``keep`` the source's extension is part of the name."""
    if kind == "same" and below.suffix.lower() in _SAME:
        return below
    if keep or below.suffix.lower() not in PHOTO_SUFFIXES:
        return below.with_name(f"{below.name}.{_kind(below, kind)}")
    return below.with_suffix(f".{_kind(below, kind)}")


def _check_clashes(jobs: Sequence[Job]) -> None:
    taken: dict[Path, Job] = {}
    for job in jobs:
        for path in (job.target, job.strip):
            if path is None:
                continue
            other = taken.setdefault(path, job)
            if other is not job:
                raise ConfigError(
                    f"'{other.source}' and '{job.source}' would both be written to '{path}'; rename one, or restore "
                    "them into folders of their own"
                )
