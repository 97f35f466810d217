"""Whether two runs were told the same but for what a comparison is about."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..config.networks import networks_of, with_own_file
from ..config.problems import block_of, show
from ..config.resources import resolve_weights

__all__ = ["are_equal", "differences", "digests"]

_ABSENT = "(not there)"
_OWN = ("name", "manual_seed", "num_gpu", "logger", "val", "dist_params", "auto_resume", "root_path", "deterministic")
"""Blocks that say who a run is, where it runs, and what it prints and measures on its way."""
_MACHINE = ("num_worker_per_gpu", "prefetch_mode", "num_prefetch_queue", "pin_memory", "io_backend", "name")
"""Keys of data sets that say how they are read, not what."""
_WRITTEN = ("save_img", "suffix", "pbar", "batch", "val_freq")
"""Keys of ``val`` that change no value of a test."""


def differences(
    one: Mapping[str, Any], other: Mapping[str, Any], *, is_train: bool = True
) -> dict[str, tuple[str, str]]:
    """Return the keys in which the options of two trainings, or of two tests, differ, with both values as text.

    Left out are the run's name and seed, devices, logs and workers, and of trainings validation, which change no weight
    and no value; and paths, for which :func:`digests` speak.
    """
    first, second = (
        {":".join(place): text for place, text in _flat(options, ()) if not _is_left_out(place, is_train)}
        for options in (one, other)
    )
    return {
        key: (first.get(key, _ABSENT), second.get(key, _ABSENT))
        for key in dict.fromkeys([*first, *second])
        if first.get(key) != second.get(key)
    }


def are_equal(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether the options of two trainings are the same, paths included, but for the run's name and seed."""
    first, second = (
        {place: text for place, text in _flat(options, ()) if place[0] not in ("name", "manual_seed")}
        for options in (one, other)
    )
    return first == second


def _flat(value: Any, place: tuple[str, ...]) -> Iterable[tuple[tuple[str, ...], str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, (*place, str(key)))
    elif value is not None:  # a key that is null is as good as none
        yield place, show(list(value) if isinstance(value, tuple) else value)


def _is_left_out(place: tuple[str, ...], is_train: bool) -> bool:
    top, key, inner = (*place, "", "")[:3]
    if top == "val" and not is_train:
        return key in _WRITTEN
    if top in _OWN:
        return True
    if top == "datasets":
        if is_train and not _is_training(key):
            return True
        is_name = inner == "name" and not is_train  # the values of a test stand under it
        return (inner in _MACHINE and not is_name) or inner.startswith("dataroot")
    return top == "path" and _is_input(key)


def _is_training(dataset: str) -> bool:
    return dataset.split("_")[0] == "train"


def _is_input(key: str) -> bool:
    return "pretrain_network" in key or key in ("resume_state", "experiments_root", "ignore_resume_networks")


def digests(options: Mapping[str, Any], *, is_train: bool = True) -> dict[str, str]:
    """Return digests of the data and weights that options name, by place.

    A database counts by its list of images, a folder by names and sizes of its files, a file of weights by its bytes.
    What is not there has none. Of a training the validation's data do not count; of a test only its data do, for the
    weights are the training's.
    """
    found: dict[str, str] = {}
    for name, dataset in block_of(options, "datasets").items():
        if is_train and not _is_training(str(name)):
            continue
        for key, value in dataset.items() if isinstance(dataset, Mapping) else ():
            if str(key).startswith("dataroot") and (evaluated := _of_roots(value)):
                found[f"{'datasets' if is_train else 'test'}:{name}:{key}"] = evaluated
    for place, value in _weights(options) if is_train else ():
        file = resolve_weights(value)
        if file.is_file():
            state = file.stat()
            found[place] = _of_file(file, state.st_size, state.st_mtime_ns)
    return found


def _weights(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the files of weights: those under ``path``, and those that networks name themselves."""
    for key, value in block_of(options, "path").items():
        if "pretrain_network" in key and isinstance(value, str):
            yield f"path:{key}", value
    for network in networks_of(options).values():
        for place, block in with_own_file(network.place, network.block):
            if isinstance(block.get("path"), str):
                yield f"{place.replace('.', ':')}:path", block["path"]


@cache
def _of_file(file: Path, size: int, changed: int) -> str:
    """Return the digest of a file, read once for as long as its size and time stay: every run asks for the same."""
    return _digest([file.read_bytes()])


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
