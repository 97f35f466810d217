"""From the options of a run to its terms: ``losses``, a list or by name, and the short names of the usual ones."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, count
from typing import Any

from torch import nn

from ...errors import ConfigError, near_miss
from ..loss_weight import LossWeight, loss_weight
from .base import TERMS, Term

__all__ = [
    "SHORT_NAMES",
    "TERM_KEYS",
    "TOTAL",
    "TermOptions",
    "WeightedTerm",
    "build_terms",
    "name_fault",
    "named_terms",
    "term_options",
]

TOTAL = "l_total"
"""The name of what is minimised, among a step's values."""


SHORT_NAMES = {
    "pixel_opt": "pixel",
    "logits_opt": "logits",
    "contrastive_opt": "contrast",
    "distribution_opt": "distribution",
    "consistency_opt": "consistency",
}
"""Option keys of ``train`` that stand for one term each, with its name. Their block is that of the term's loss."""

TERM_KEYS = tuple(SHORT_NAMES)
"""Their keys."""

_OF_THE_TERM = ("gate", "taught_by")
"""Keys of a short name's block that are the term's own, not its loss's."""


@dataclass(frozen=True)
class WeightedTerm:
    """A term with its weight over the run."""

    term: Term
    weight: LossWeight

    @property
    def name(self) -> str:
        """What the log calls it."""
        return self.term.label


@dataclass(frozen=True)
class TermOptions:
    """What an option file says of one term.

    Attributes:
        place: where, for messages: ``train.logits_opt``, ``train.losses[0]``, ``train.losses.NAME``.
        type: name in the registry.
        arguments: of its constructor.
        weight: number or schedule, as it stands there.
        name: for the log; None for the usual one.
    """

    place: str
    type: str
    arguments: Mapping[str, Any]
    weight: float | Mapping[str, Any] = 1.0
    name: str | None = None

    @property
    def is_off(self) -> bool:
        """Whether its weight is zero throughout, so that it needs nothing."""
        if isinstance(self.weight, Mapping):
            return False
        block = self.arguments.get("loss")
        return self.weight == 0 or (isinstance(block, Mapping) and _is_zero(block.get("loss_weight")))

    @cached_property
    def built(self) -> WeightedTerm:
        """The term, with its losses but without layers that depend on networks.

        Raises:
            ConfigError: there is no such term, or it refuses its options; names the place.
        """
        cls = TERMS.get(self.type)
        if cls is None:
            known = ", ".join(sorted(TERMS))
            hint = near_miss(self.type, TERMS) or f"; known are: {known}"
            raise ConfigError(f"unknown term '{self.type}' in {self.place}{hint}")
        try:
            weight = loss_weight(self.weight)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{self.place}: {error}") from error
        try:
            term = cls(**self.arguments)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{self.place} ({self.type}): {error}") from error
        term.label = self.name or cls.log_name
        return WeightedTerm(term, weight)

    @property
    def needs(self) -> frozenset[Hashable]:
        """What the term asks of a step; nothing where it is off."""
        return frozenset() if self.is_off else self.built.term.needs


def term_options(train: Mapping[str, Any]) -> Iterator[TermOptions]:
    """Yield what the block ``train`` says of its terms: the short names first, in their order, then ``losses``."""
    for key, name in SHORT_NAMES.items():
        if train.get(key):
            yield _short(f"train.{key}", name, train[key])
    losses = train.get("losses") or ()
    if isinstance(losses, Mapping):
        for key, block in losses.items():
            if block is not None:
                yield _open(f"train.losses.{key}", {"type": key, "name": f"l_{key}", **block})
        return
    for i, block in enumerate(losses):
        yield _open(f"train.losses[{i}]", block)


def named_terms(blocks: Iterable[Any]) -> dict[str, Any]:
    """Return a list ``losses`` as the same terms by name.

    The key is the entry's ``name`` without ``l_``, else its ``type``; from the second of one key on it is numbered.

    >>> list(named_terms([{"type": "logits"}, {"type": "logits", "weight": 0.1}, {"type": "logits", "name": "l_more"}]))
    ['logits', 'logits_2', 'more']
    """
    found: dict[str, Any] = {}
    for block in blocks:
        said = [block.get(key) for key in ("name", "type")] if isinstance(block, Mapping) else []
        stem = next((text for text in said if isinstance(text, str) and text), "term").removeprefix("l_")
        names = chain([stem], (f"{stem}_{number}" for number in count(2)))
        found[next(name for name in names if name not in found)] = block
    return found


def build_terms(train: Mapping[str, Any]) -> list[WeightedTerm]:
    """Build the terms that are on.

    Args:
        train: maps short names (``pixel_opt``, ...) to loss blocks, and ``losses`` to a list of blocks with ``type``,
            ``weight``, ``name`` and the term's own options, or to a mapping of such blocks, whose keys are ``type``
            and, after ``l_``, ``name`` where a block has none. None and missing keys are off, other keys are ignored.

    Raises:
        ConfigError: no term is on, two have one name, or one refuses its options.
    """
    options = [each for each in term_options(train) if not each.is_off]
    if not options:
        raise ConfigError(f"no loss term is switched on; set losses, or at least one of {', '.join(SHORT_NAMES)}")
    places: dict[str, str] = {}
    for each in options:
        name = each.built.name
        if fault := name_fault(name):
            raise ConfigError(f"{each.place}: name {fault}, got '{name}'")
        if name in places:
            raise ConfigError(f"{places[name]} and {each.place} are both called '{name}' in the log; give one a `name`")
        places[name] = each.place
    return [each.built for each in options]


def name_fault(name: str) -> str:
    """Say what keeps a term from being called so in the log; empty for a good name."""
    if not name or "." in name:
        return "must be a plain word, for the log"
    # Beside the terms the log has these; a module has the attributes of its class.
    if name in (TOTAL, "epoch", "iter", "lrs", "time", "data_time") or hasattr(nn.ModuleDict(), name):
        return "must be none that is taken, for instance l_mine"
    return ""


def _open(place: str, block: Mapping[str, Any]) -> TermOptions:
    own = {"type", "weight", "name"}
    arguments = {key: value for key, value in block.items() if key not in own}
    return TermOptions(place, str(block.get("type")), arguments, block.get("weight", 1.0), block.get("name"))


def _short(place: str, name: str, block: Any) -> TermOptions:
    own = {key: block[key] for key in _OF_THE_TERM if block.get(key) is not None}
    loss = {key: value for key, value in block.items() if key not in _OF_THE_TERM}
    weight: float | Mapping[str, Any] = 1.0
    if isinstance(loss.get("loss_weight"), Mapping):
        weight = loss["loss_weight"]
        loss["loss_weight"] = 1.0
    return TermOptions(place, name, {"loss": loss, **own}, weight)


def _is_zero(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == 0
