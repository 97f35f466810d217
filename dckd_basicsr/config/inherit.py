"""Option files that build on others: ``_base_: other.yml``.

Later files win. Blocks merge key by key; lists and single values replace what was there. A block replaces the inherited
one whole where it says ``_replace_: true``, or names another ``type``: the arguments of one network or loss mean
nothing to another. ``_replace_: false`` keeps them all the same. Among the paired datasets another type keeps the keys
that it can use, unless the block names another data set (``name`` and both roots).

``train.losses`` is a list or a block of terms by name; where one meets the other, the list is read as such a block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..distill.terms.build import named_terms
from ..errors import ConfigError, near_miss
from ..methods import packaged_methods
from .blocks.dataset import (
    DESCRIBED_TYPES,
    IGNORED_BY_INPUTS,
    IGNORED_BY_PATCHES,
    INPUTS_TYPE,
    LMDB_TYPE,
    PATCH_TYPES,
)
from .load import load_yaml
from .problems import block_of, show
from .resources import as_path, is_there, packaged_file, packaged_options

__all__ = ["BASE", "LOSSES", "REPLACE", "Source", "load_options", "load_overlay", "merged"]

BASE, REPLACE = "_base_", "_replace_"
LOSSES = "train.losses"
"""Where terms stand as a list or by name."""

_DEEPEST = 16


class Source(str):
    """What messages call an option file with its bases.

    Attributes:
        replaced: the blocks of which nothing is inherited because their type changed: old and new type by place.
        methods: the names of the overlays on it.
    """

    replaced: Mapping[str, tuple[Any, Any]]
    methods: tuple[str, ...]

    def __new__(cls, text: str, replaced: Mapping[str, tuple[Any, Any]], methods: Sequence[str] = ()) -> Source:
        source = super().__new__(cls, text)
        source.replaced, source.methods = dict(replaced), tuple(methods)
        return source


def load_options(path: Path | str) -> tuple[dict[str, Any], Source]:
    """Load an option file with everything it inherits.

    Returns:
        The merged options, in the order of the first file that has a key, without ``_base_`` and ``_replace_``; and
        what to call their source in messages: the file, with the files it builds on.

    Raises:
        ConfigError: a file of the chain is missing or unreadable, files name each other in a circle or too deep, or
            ``_base_`` and ``_replace_`` stand where they mean nothing.
    """
    path = Path(path)
    bases: list[Path] = []
    replaced: dict[str, tuple[Any, Any]] = {}
    try:
        options = _load((path,), bases, replaced)
    except RecursionError as error:
        raise ConfigError(f"option file '{path}': a YAML anchor contains itself; write its value out") from error
    names = ", ".join(dict.fromkeys(str(base) for base in bases))
    return options, Source(f"{path} (on {names})" if names else str(path), replaced)


def load_overlay(path: Path) -> dict[str, Any]:
    """Load a file that changes others: as it stands, with ``_replace_`` in its blocks.

    Raises:
        ConfigError: it is missing or unreadable, names a base, or ``_replace_`` stands where it means nothing.
    """
    options = load_yaml(path)
    if BASE in options:
        raise ConfigError(
            f"option file '{path}' has {BASE}, so it is no overlay; train it by itself (-opt {path}), or name what it "
            "builds on after --with, too"
        )
    _check_places(options, path, "")
    return options


def merged(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    replaced: dict[str, tuple[Any, Any]] | None = None,
    where: str = "",
) -> dict[str, Any]:
    """Return ``old`` changed by ``new``, neither of them touched.

    Args:
        old: what is inherited.
        new: what the file says.
        replaced: gets the blocks that another type replaced, as :attr:`Source.replaced`.
        where: the place of both, for ``replaced``.

    >>> merged({"a": {"x": 1, "y": [1, 2]}}, {"a": {"y": [3]}, "b": None})
    {'a': {'x': 1, 'y': [3]}, 'b': None}
    >>> merged({"a": {"type": "EDSR", "upscale": 2}}, {"a": {"type": "RCAN"}})
    {'a': {'type': 'RCAN'}}
    """
    result = dict(old)
    replaced = {} if replaced is None else replaced
    for key, value in new.items():
        implied = {"type": key} if where == LOSSES else {}
        inherited, place = result.get(key), f"{where}.{key}" if where else str(key)
        if place == LOSSES:
            inherited, value = _alike(inherited, value)
        if isinstance(value, Mapping):
            if not isinstance(inherited, Mapping) or value.get(REPLACE):
                inherited = {}
                for old_news in [p for p in replaced if f"{p}.".startswith(f"{place}.")]:
                    del replaced[old_news]
            elif value.get(REPLACE) is None and _retyped({**implied, **inherited}, value):
                if _is_same_data(inherited, value):
                    inherited = _usable(inherited, value["type"])
                else:
                    replaced[place] = (inherited.get("type", key), value["type"])
                    inherited = {}
            value = merged(inherited, {k: v for k, v in value.items() if k != REPLACE}, replaced, place)
        result[key] = value
    return result


def _alike(old: Any, new: Any) -> tuple[Any, Any]:
    """Make blocks of a list and a block of terms, so that neither is lost."""
    if isinstance(old, list) and isinstance(new, Mapping):
        return named_terms(old), new
    if isinstance(old, Mapping) and isinstance(new, list):
        return old, named_terms(new)
    return old, new


def _retyped(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return "type" in old and "type" in new and old["type"] != new["type"]


def _is_same_data(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether a data set is merely to be read by another type of those whose keys are known."""
    roots = ("dataroot_lq",) if new["type"] == INPUTS_TYPE else ("dataroot_gt", "dataroot_lq")
    complete = all(new.get(key) is not None for key in ("name", *roots))
    return old.get("type") in DESCRIBED_TYPES and new["type"] in DESCRIBED_TYPES and not complete


def _usable(dataset: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return what another type can use of a data set: the rest would be refused or ignored."""
    if kind == INPUTS_TYPE:  # which a folder serves as well as a database, told by its name
        lists = {key for key in ("dataroot_lq",) if isinstance(dataset.get(key), list)}
        return {key: value for key, value in dataset.items() if key not in {*IGNORED_BY_INPUTS, "io_backend", *lists}}
    unusable = {*IGNORED_BY_PATCHES} if kind in PATCH_TYPES else {"progressive"}
    if kind == LMDB_TYPE:
        unusable |= {"filename_tmpl"}
        unusable |= {"io_backend"} if block_of(dataset, "io_backend").get("type") != "lmdb" else set()
    else:
        unusable |= {"weights", *(k for k in ("dataroot_gt", "dataroot_lq") if isinstance(dataset.get(k), list))}
    return {key: value for key, value in dataset.items() if key not in unusable}


def _load(chain: Sequence[Path], bases: list[Path], replaced: dict[str, tuple[Any, Any]]) -> dict[str, Any]:
    """Load the last file of ``chain``, each of whose files names the next.

    What it builds on is added to ``bases``, and blocks of another type to ``replaced``.
    """
    file = chain[-1]
    options = load_yaml(file)
    named = options.pop(BASE, None)
    _check_places(options, file, "")
    result: dict[str, Any] = {}
    for name in _names(named, file):
        base = _find(name, chain)
        inherited = _load((*chain, base), bases, replaced)
        bases.append(base)
        result = merged(result, inherited, replaced)
    return merged(result, options, replaced)


def _names(named: Any, file: Path) -> list[str]:
    names = named if isinstance(named, list) else [] if named is None else [named]
    if not all(isinstance(name, str) and name for name in names):
        raise ConfigError(f"option file '{file}': {BASE} must be a file or a list of files, got {show(named)}")
    return names


def _find(name: str, chain: Sequence[Path]) -> Path:
    """Return the file that the last file of ``chain`` calls ``name``: from its own folder, else a packaged one."""
    given = as_path(name)
    found = chain[-1].parent / given
    if not is_there(found):
        packaged = packaged_file(given)
        if packaged is None:
            known = [*packaged_options(), *(p.name for p in found.parent.glob("*.yml"))]
            hint = near_miss(given.name, known) or near_miss(
                name, [f"methods/{method}.yml" for method in packaged_methods()]
            )
            raise ConfigError(
                f"option file '{chain[-1]}': its {BASE} '{name}' does not exist{hint or '.'} Paths count from the "
                f"folder of the file that names them ({_arrows([*chain, found])}); packaged files go by their name"
            )
        found = packaged
    if found.resolve() in [file.resolve() for file in chain]:
        raise ConfigError(f"option files build on each other in a circle: {_arrows([*chain, found])}; break it")
    if len(chain) > _DEEPEST:
        raise ConfigError(f"option files build on each other more than {_DEEPEST} deep: {_arrows([*chain, found])}")
    return found


def _arrows(files: Sequence[Path]) -> str:
    return " -> ".join(str(file) for file in files)


def _check_places(block: Mapping[str, Any], file: Path, where: str) -> None:
    """Refuse the two keys where they would do nothing: ``_base_`` in a block, ``_replace_`` outside or in a list."""
    for key, value in block.items():
        if key == BASE:
            raise ConfigError(f"option file '{file}': {BASE} belongs to the top of the file, not into {where}")
        if key == REPLACE and not where:
            raise ConfigError(
                f"option file '{file}': {REPLACE} belongs into a block; a file that takes nothing over has no {BASE}"
            )
        if key == REPLACE and "]" in where:
            raise ConfigError(
                f"option file '{file}': {REPLACE} in {where} means nothing, as the list replaces an inherited one "
                "whole; remove it"
            )
        if key == REPLACE and not isinstance(value, bool):
            raise ConfigError(f"option file '{file}': {REPLACE} in {where} must be true or false, got {show(value)}")
        place = f"{where}.{key}" if where else str(key)
        inner = {
            place: value,
            **{f"{place}[{i}]": each for i, each in enumerate(value if isinstance(value, list) else ())},
        }
        for name, each in inner.items():
            if isinstance(each, Mapping):
                _check_places(each, file, name)
