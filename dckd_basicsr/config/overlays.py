"""Overlays: the methods that ``--with`` puts on an option file, combined so that their order says nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..distill.terms.build import named_terms
from ..errors import ConfigError, near_miss
from ..methods import packaged_methods
from .blocks.dataset import INPUTS_TYPE
from .inherit import LOSSES, REPLACE, Source, load_overlay, merged
from .problems import block_of, report, show
from .resources import as_path, is_there, packaged_file

__all__ = ["Overlay", "combined", "load_overlays", "overlaid"]

_WHOLE = ("weight", "loss_weight")
"""Keys whose blocks are one value: parts of two schedules make none."""
_LIKE_PIXEL = ("logits_opt", "consistency_opt")
"""Terms that compare images: where the file has none, an overlay that names no loss means that of ``pixel_opt``."""

_STUDENT = "pretrain_network_g"

Place = tuple[str, ...]


@dataclass(frozen=True)
class Overlay:
    """What one name after ``--with`` stands for.

    Attributes:
        name: of the method, or of the file without its ending.
        shown: what was given, for messages.
        options: as loaded.
    """

    name: str
    shown: str
    options: Mapping[str, Any]


def load_overlays(names: Iterable[str]) -> list[Overlay]:
    """Load the methods that are named, each once, sorted by name.

    Raises:
        ConfigError: there is no such method or file, or it is no overlay.
    """
    files = {file.resolve(): (name, file) for name, file in ((name, _find(name)) for name in names)}
    found = sorted((file.stem, str(name), file) for name, file in files.values())
    return [Overlay(stem, name, load_overlay(file)) for stem, name, file in found]


def _find(name: str) -> Path:
    """Return the file: a bare name is that of a packaged method, everything else first of all a path."""
    methods, path = packaged_methods(), as_path(name)
    if name in methods:
        return methods[name]
    if is_there(path):
        return path
    packaged = packaged_file(path) or methods.get(name.removesuffix(".yml"))
    if packaged is not None and packaged in methods.values():
        return packaged
    hint = near_miss(path.name.removesuffix(".yml"), methods)
    if packaged is not None:
        hint = "; it is an option file to run by itself (-opt)."
    raise ConfigError(
        f"unknown method '{name}' after --with{hint or '.'} Give the path of a YAML file, or one of: "
        f"{', '.join(methods) or 'none'}"
    )


def overlaid(
    options: Mapping[str, Any],
    source: Source,
    overlays: Sequence[Overlay],
    settled: Iterable[Place] = (),
    is_train: bool = True,
) -> tuple[dict[str, Any], Source]:
    """Put overlays on the options of a file.

    Args:
        options: of the file with what it inherits.
        source: what messages call it.
        overlays: as :func:`load_overlays` returns them.
        settled: places that overrides set afterwards, so that overlays may differ there.
        is_train: for training; a test measures what the training with the same overlays wrote.

    Returns:
        The options, with the overlays in their ``name``; and what to call their source.

    Raises:
        ConfigError: overlays contradict each other.
    """
    part = combined(overlays, settled)
    replaced = dict(source.replaced)
    against_gt = block_of(part, "train", "pixel_opt")
    if against_gt and against_gt.get("type") is None and _without_truth(options):
        part = {**part, "train": {k: v for k, v in block_of(part, "train").items() if k != "pixel_opt"}}
    result = merged(options, part, replaced)
    train, pixel = result.get("train"), block_of(result, "train", "pixel_opt")
    for key in _LIKE_PIXEL:
        block = block_of(result, "train", key)
        if block_of(part, "train", key) and block.get("type") is None and isinstance(train, dict):
            own = {k: v for k, v in block.items() if v is not None}
            train[key] = {**{k: v for k, v in pixel.items() if k != "loss_weight"}, **own}
    names = [overlay.name for overlay in overlays]
    if isinstance(result.get("name"), str):
        result["name"] = "_".join([result["name"], *names])
    weights = block_of(result, "path").get(_STUDENT)
    if not is_train and isinstance(weights, str):
        result["path"] = {**result["path"], _STUDENT: _of_run(weights, names)}
    return result, Source(f"{source} --with {' '.join(overlay.shown for overlay in overlays)}", replaced, names)


def _without_truth(options: Mapping[str, Any]) -> bool:
    """Whether a file trains on inputs alone and has no loss of which a method could set the weight."""
    kind = block_of(options, "datasets", "train").get("type")
    return kind == INPUTS_TYPE and block_of(options, "train", "pixel_opt").get("type") is None


def _of_run(weights: str, names: Sequence[str]) -> str:
    """Return where the run of the same name with overlays has such weights; other paths as they are."""
    path = Path(weights)
    if len(path.parts) < 4 or path.parts[-4] != "experiments" or path.parts[-2] != "models":
        return weights
    run = path.parents[1]
    return str(run.with_name("_".join([run.name, *names])) / path.parts[-2] / path.name)


def combined(overlays: Sequence[Overlay], settled: Iterable[Place] = ()) -> dict[str, Any]:
    """Return the union of overlays as one: what one switches off (null) and another sets is set.

    Raises:
        ConfigError: a key has different values in two of them, and is none of those that are settled.
    """
    wrong: dict[Place, str] = {}
    result = _union([(overlay.shown, overlay.options) for overlay in overlays], (), wrong)
    settled = list(settled)
    open_ = [text for place, text in wrong.items() if not any(place[: len(one)] == one for one in settled)]
    if open_:
        raise ConfigError(report(open_, f"--with {' '.join(overlay.shown for overlay in overlays)}"))
    return result


def _union(parts: Sequence[tuple[str, Mapping[str, Any]]], place: Place, wrong: dict[Place, str]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key in dict.fromkeys(key for _, block in parts for key in block):
        inner = (*place, str(key))
        given = [(name, block[key]) for name, block in parts if key in block]
        if ".".join(inner) == LOSSES:
            given = [(name, named_terms(value) if isinstance(value, list) else value) for name, value in given]
        found = [(name, value) for name, value in given if value is not None]
        if ".".join(place) == LOSSES and any("type" in value for _, value in found if isinstance(value, Mapping)):
            found = [(name, {"type": key, **value} if isinstance(value, Mapping) else value) for name, value in found]
        if not found:
            result[key] = None
        elif key not in _WHOLE and all(isinstance(value, Mapping) for _, value in found):
            result[key] = _union(found, inner, wrong)
            if ".".join(inner) == LOSSES and len(found) < len(given):  # null was for those of the file
                result[key][REPLACE] = True
        else:
            result[key] = found[0][1]
            other = next(((name, value) for name, value in found if value != found[0][1]), None)
            if other is not None:
                wrong[inner] = _contradiction(inner, found[0], other)
    return result


def _contradiction(place: Place, one: tuple[str, Any], other: tuple[str, Any]) -> str:
    said = " and ".join(f"{show(value)} in {name}" for name, value in (one, other))
    value = show(one[1]).replace("'", "") if not isinstance(one[1], Mapping | list) else "..."
    return f"{'.'.join(place)} is {said}, which contradict each other; say which: --force_yml {':'.join(place)}={value}"
