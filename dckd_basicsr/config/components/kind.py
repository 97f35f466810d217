"""The kinds of component that option files name: networks, losses, terms, metrics, optimizers, schedules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from basicsr.utils import registry

from ...distill.terms import TERMS
from ..blocks.base import Block, fields_of
from ..blocks.train import LossBlock, TermBlock
from .signature import Parameters, parameters_of

__all__ = [
    "INNER_TEACHER",
    "KINDS",
    "LOSS",
    "METRIC",
    "NETWORK",
    "OPTIMIZER",
    "SCHEDULER",
    "TEACHER",
    "TERM",
    "Kind",
    "lookup",
    "registered",
    "short_name",
]


# The schedulers' option keys. Their own signatures are untyped, and both MultiStep names build the same class.
def _multi_step(
    milestones: Sequence[float],
    gamma: float = 0.1,
    restarts: Sequence[float] = (0,),
    restart_weights: Sequence[float] = (1,),
) -> None: ...


def _cosine_restart(periods: Sequence[float], restart_weights: Sequence[float] = (1,), eta_min: float = 0) -> None: ...


def _cosine(T_max: float, eta_min: float = 0) -> None: ...


def _cyclic(
    periods: Sequence[int], restart_weights: Sequence[float] = (1,), eta_mins: Sequence[float] = (0,)
) -> None: ...


_SCHEDULERS: dict[str, Callable[..., None]] = {
    "MultiStepLR": _multi_step,
    "MultiStepRestartLR": _multi_step,
    "CosineAnnealingRestartLR": _cosine_restart,
    "CosineAnnealingLR": _cosine,
    "CosineAnnealingRestartCyclicLR": _cyclic,
}


@dataclass(frozen=True)
class Kind:
    """A kind of component: an option block whose ``type`` names what the rest of it is passed to.

    Attributes:
        noun: what messages call it.
        find: returns what there is to name; called late, since user code registers more.
        provided: parameters that the caller fills in; they are no option keys.
        required: keys that must be given although the signature has a default, or does not have them.
        extra: further keys, with their annotations, that the caller takes out.
        inner: parameters that hold a block of another kind.
    """

    noun: str
    find: Callable[[], dict[str, Any]]
    provided: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    inner: Mapping[str, Kind] = field(default_factory=dict)

    def parameters(self, name: str) -> Parameters:
        """Return the keys of the block that names ``name``, one of those :attr:`find` returns."""
        found = parameters_of(self.find()[name], provided=self.provided, required=self.required, extra=self.extra)
        return found._replace(kinds={key: Any if key in self.inner else kind for key, kind in found.kinds.items()})


def registered(entries: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return what one of BasicSR's registries holds."""
    return dict(iter(entries))


def lookup(known: Mapping[str, Any], name: Any) -> str | None:
    """Return the full name of what ``name`` stands for: BasicSR's registries add a suffix where they must."""
    return next((full for full in (name, f"{name}_basicsr") if full in known), None) if isinstance(name, str) else None


def _optimizers() -> dict[str, Any]:
    found = {name: getattr(torch.optim, name) for name in dir(torch.optim)}
    return {
        name: cls
        for name, cls in found.items()
        if isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer) and cls is not torch.optim.Optimizer
    }


def _keys(block: type[Block], *names: str) -> dict[str, Any]:
    return {name: fields_of(block)[name].annotation for name in names}


NETWORK = Kind("network", lambda: registered(registry.ARCH_REGISTRY))
TEACHER = Kind("teacher", NETWORK.find, required=("name",), extra={"name": str})
INNER_TEACHER = Kind("network", NETWORK.find, extra={"path": str | None, "param_key": str | None})
"""A teacher inside a TeacherAggregation, which names its weights itself."""
LOSS = Kind("loss", lambda: registered(registry.LOSS_REGISTRY))
TERM = Kind("term", lambda: dict(TERMS), extra=_keys(TermBlock, "weight", "name"), inner={"loss": LOSS})
OPTIMIZER = Kind("optimizer", _optimizers, ("params",), ("lr",))
SCHEDULER = Kind("scheduler", lambda: dict(_SCHEDULERS))
METRIC = Kind(
    "metric",
    lambda: registered(registry.METRIC_REGISTRY),
    provided=("img", "img2"),
    extra={"better": Literal["higher", "lower"]},
)
KINDS = (NETWORK, TEACHER, LOSS, TERM, OPTIMIZER, SCHEDULER, METRIC)

_SHORT_NAMES = {"logits_opt": ("gate", "taught_by"), "consistency_opt": ("gate",)}


def short_name(key: str) -> Kind:
    """Return what stands under one of the short names of loss terms: a loss, with the keys that the term has."""
    return Kind("loss", LOSS.find, extra=_keys(LossBlock, *_SHORT_NAMES.get(key, ())))
