"""The weight of a loss term over a run: constant, fading, or in steps."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

__all__ = ["FadingWeight", "LossWeight", "SteppedWeight", "first_without", "loss_weight"]


@dataclass(frozen=True)
class FadingWeight:
    """From one value to another, then constant: ``{type: cosine, from: 1.0, to: 0.0, until: 0.8}``.

    Attributes:
        type: half a cosine, or a straight line.
        start: weight at the start (``from``).
        to: weight at ``until`` and after it.
        until: share of the run, in (0, 1].
    """

    type: Literal["cosine", "linear"]
    start: float
    to: float = 0.0
    until: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.until <= 1:
            raise ValueError(f"until must be a share of the run in (0, 1], got {self.until}")

    def at(self, share: float) -> float:
        """Return the weight when ``share`` of the run is done."""
        done = min(1.0, share / self.until)
        if done == 1.0:
            return self.to
        rest = 0.5 * (1.0 + math.cos(math.pi * done)) if self.type == "cosine" else 1.0 - done
        return self.to + (self.start - self.to) * rest

    def is_over(self, share: float) -> bool:
        """Tell whether the weight is zero from here to the end."""
        return self.to == 0 and (share >= self.until or self.start == 0)

    @property
    def breaks(self) -> tuple[float, ...]:
        """Shares of the run from which on the weight follows another rule."""
        return (self.until,)


@dataclass(frozen=True)
class SteppedWeight:
    """One value after the other: ``{type: steps, at: [0.5, 0.8], values: [1.0, 0.1, 0.0]}``.

    Attributes:
        type: steps.
        at: shares of the run at which the next value holds, growing, in (0, 1).
        values: one more than ``at``.
    """

    type: Literal["steps"]
    at_shares: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.values) != len(self.at_shares) + 1:
            raise ValueError(
                f"values must be one more than at, the first from the start, got {len(self.values)} and "
                f"{len(self.at_shares)}"
            )
        if sorted(set(self.at_shares)) != list(self.at_shares) or not all(0 < each < 1 for each in self.at_shares):
            raise ValueError(f"at must hold growing shares of the run in (0, 1), got {list(self.at_shares)}")

    def at(self, share: float) -> float:
        """Return the weight when ``share`` of the run is done."""
        return self.values[bisect_right(self.at_shares, share)]

    def is_over(self, share: float) -> bool:
        """Tell whether the weight is zero from here to the end."""
        return not any(self.values[bisect_right(self.at_shares, share) :])

    @property
    def breaks(self) -> tuple[float, ...]:
        """Shares of the run from which on the weight follows another rule."""
        return self.at_shares


@dataclass(frozen=True)
class _Constant:
    value: float = 1.0
    breaks: ClassVar[tuple[float, ...]] = ()

    def at(self, share: float) -> float:
        return self.value

    def is_over(self, share: float) -> bool:
        return self.value == 0


_FADING = {"from": "start", "to": "to", "until": "until"}
_KEYS = {"cosine": _FADING, "linear": _FADING, "steps": {"at": "at_shares", "values": "values"}}

LossWeight = _Constant | FadingWeight | SteppedWeight


def loss_weight(options: float | Mapping[str, Any]) -> LossWeight:
    """Return the weight that an option stands for.

    Raises:
        ValueError: an unknown type or key, a missing one, or a value out of range.
    """
    if not isinstance(options, Mapping):
        return _Constant(_number("a weight", options))
    values = dict(options)
    kind = values.pop("type", None)
    names = _KEYS.get(kind) if isinstance(kind, str) else None
    if names is None:
        raise ValueError(f"a weight is a number, or a block of type {', '.join(_KEYS)}, got type {kind!r}")
    unknown = [key for key in values if key not in names]
    if unknown:
        raise ValueError(f"unknown key '{unknown[0]}' in a weight of type {kind}; known are: {', '.join(names)}")
    missing = [key for key in (names if kind == "steps" else ("from",)) if key not in values]
    if missing:
        raise ValueError(f"a weight of type {kind} needs {' and '.join(missing)}")
    if kind == "steps":
        return SteppedWeight(kind, **{names[key]: _numbers(key, value) for key, value in values.items()})
    return FadingWeight(kind, **{names[key]: _number(key, value) for key, value in values.items()})


def first_without(weights: Collection[LossWeight], total_iter: int | None) -> int | None:
    """Return the first iteration, counted from 1, in which all weights are zero; None if there is none.

    Args:
        weights: of a run's terms.
        total_iter: its length; None looks at the first iteration alone.
    """
    breaks = {0.0, *(share for weight in weights for share in weight.breaks)} if total_iter else {0.0}
    for share in sorted(breaks):
        iteration = math.ceil(share * (total_iter or 1) - 1e-9) + 1
        done = (iteration - 1) / (total_iter or 1)
        if done < 1 and not any(weight.at(done) for weight in weights):
            return iteration
    return None


def _numbers(name: str, value: Any) -> tuple[float, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name} must be a list of numbers, got {value!r}")
    return tuple(_number(f"{name}[{i}]", each) for i, each in enumerate(value))


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value!r}")
    return float(value)
