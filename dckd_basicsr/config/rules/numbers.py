"""Numbers that YAML can write and a run cannot use: infinite, not a number, out of range."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from ..blocks.dataset import PAIRED_TYPES
from ..problems import block_of, show

__all__ = ["is_number", "number_problems"]

_SEEDS = 2**32
"""NumPy takes 32 bits."""
_RANKS = 2**16
"""More processes than a run has; each adds its rank to the seed."""
_NEVER = ("val.val_freq", "logger.print_freq", "logger.save_checkpoint_freq", "train.clip_grad_norm")
"""Where infinity has a meaning: at no iteration, no limit."""


def number_problems(opt: Mapping[str, Any], own: bool) -> Iterator[str]:
    """Yield numbers that would stop a run, or empty it of meaning, long after its start.

    Args:
        opt: options as loaded.
        own: whether the model is one of this package; of others only what the pipelines read is judged.
    """
    if own:
        yield from _endless(opt, "")
    else:
        total = block_of(opt, "train").get("total_iter")
        yield from _endless({"total_iter": total}, "train")
    seed = opt.get("manual_seed")
    largest = _SEEDS - (_RANKS if opt.get("dist") is True else 1)
    if isinstance(seed, int) and not isinstance(seed, bool) and not 0 <= seed <= largest:
        yield f"'manual_seed' in the option file must be between 0 and {largest}, got {show(seed)}"
    for name, dataset in block_of(opt, "datasets").items() if own else ():
        if isinstance(dataset, Mapping) and dataset.get("type") == PAIRED_TYPES[0]:  # alone to use them
            yield from _normalization(f"datasets.{name}", dataset)


def is_number(value: Any) -> TypeGuard[float]:
    """Tell whether a value is a number that can be reckoned with: finite, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _endless(value: Any, where: str) -> Iterator[str]:
    """Every infinite number that means nothing, and every NaN, below a block or list, by its place."""
    if isinstance(value, float) and not math.isfinite(value) and not (value == math.inf and where in _NEVER):
        block, _, key = where.rpartition(".")
        yield f"'{key}' in {block or 'the option file'} must be a finite number, got {show(value)}"
    for key, inner in value.items() if isinstance(value, Mapping) else ():
        yield from _endless(inner, f"{where}.{key}" if where else str(key))
    for i, inner in enumerate(value if isinstance(value, list | tuple) else ()):
        yield from _endless(inner, f"{where}[{i}]" if isinstance(inner, Mapping) else where)


def _normalization(where: str, dataset: Mapping[str, Any]) -> Iterator[str]:
    """``mean`` and ``std`` are used together, one of each for a channel or for all."""
    given = {key: dataset[key] for key in ("mean", "std") if dataset.get(key) is not None}
    if len(given) == 1:
        (key,) = given
        yield f"'{key}' in {where} needs '{'std' if key == 'mean' else 'mean'}' beside it, or leave both out"
    channels = 1 if dataset.get("color") == "y" else 3
    for key, values in given.items():
        if not isinstance(values, list) or not all(is_number(value) for value in values):
            continue  # reported elsewhere
        if len(values) not in (1, channels):
            numbers = "3 numbers, one for each channel, or one for all" if channels == 3 else "1 number"
            yield f"'{key}' in {where} must have {numbers}, got {show(values)}"
        if key == "std" and not all(value > 0 for value in values):
            yield f"'std' in {where} must be positive, got {show(values)}"
