"""Whether two runs were told the same but for what a comparison is about."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..config.problems import block_of, show
from ..config.resources import resolve_weights

__all__ = ["differences", "digests"]

_ABSENT = "(not there)"
_OWN = ("name", "manual_seed", "num_gpu", "logger", "val", "dist_params", "auto_resume", "root_path", "deterministic")
"""Blocks that say who a run is, where it runs, and what it prints and measures on its way."""
_MACHINE = ("num_worker_per_gpu", "prefetch_mode", "num_prefetch_queue", "pin_memory", "io_backend", "name")
"""Keys of data sets that say how they are read, not what."""


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the keys in which the options of two trainings differ, with both values as text.

    Left out are the run's name and seed, devices, logs, validation and workers, which change no weight; and paths, for
    which :func:`digests` speak.
    """
    first, second = dict(_flat(one, ())), dict(_flat(other, ()))
    return {
        key: (first.get(key, _ABSENT), second.get(key, _ABSENT))
        for key in dict.fromkeys([*first, *second])
        if first.get(key) != second.get(key)
    }


def _flat(value: Any, place: tuple[str, ...]) -> Iterable[tuple[str, str]]:
    if _is_left_out(place):
        return
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, (*place, str(key)))
    elif value is not None:  # a key that is null is as good as none
        yield ":".join(place), show(list(value) if isinstance(value, tuple) else value)


def _is_left_out(place: tuple[str, ...]) -> bool:
    if not place:
        return False
    if place[0] in _OWN:
        return True
    if place[0] == "datasets":
        evaluated = len(place) > 1 and place[1].split("_")[0] != "train"
        return evaluated or (len(place) > 2 and (place[2] in _MACHINE or place[2].startswith("dataroot")))
    return place[0] == "path" and len(place) > 1 and _is_input(place[1])


def _is_input(key: str) -> bool:
    return "pretrain_network" in key or key in ("resume_state", "experiments_root", "ignore_resume_networks")


def digests(options: Mapping[str, Any]) -> dict[str, str]:
    """Return digests of the data and weights that options name, by place.

    A database counts by its list of images, a folder by names and sizes of its files, a file of weights by its bytes.
    What is not there has none.
    """
    found: dict[str, str] = {}
    for name, dataset in block_of(options, "datasets").items():
        for key, value in dataset.items() if isinstance(dataset, Mapping) else ():
            if str(key).startswith("dataroot") and (evaluated := _of_roots(value)):
                found[f"datasets:{name}:{key}"] = evaluated
    for key, value in block_of(options, "path").items():
        if "pretrain_network" in key and isinstance(value, str):
            file = resolve_weights(value)
            if file.is_file():
                found[f"path:{key}"] = _digest([file.read_bytes()])
    return found


def _of_roots(value: Any) -> str:
    parts = []
    for root in [Path(text).expanduser() for text in (value if isinstance(value, list) else [value]) if text]:
        meta = root / "meta_info.txt"
        if meta.is_file():
            parts.append(meta.read_bytes())
        elif root.is_dir():
            files = sorted(file for file in root.rglob("*") if file.is_file())
            parts += [f"{file.relative_to(root).as_posix()} {file.stat().st_size}\n".encode() for file in files]
    return _digest(parts) if parts else ""


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]
