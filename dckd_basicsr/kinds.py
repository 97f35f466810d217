"""Which registered models are this package's own, and which of them distil: told by their class, never by their name.

A model of somebody else's that derives from ours, or ours under the name that it gets where another plugin holds its
own (``DCKDModel_dckd``), is trained and checked as ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from basicsr.utils.registry import MODEL_REGISTRY

__all__ = [
    "Distilling",
    "OwnModel",
    "TakingTerms",
    "TrainingCodebook",
    "distils",
    "extra_keys",
    "is_own",
    "own_models",
    "takes_terms",
    "trained_labels",
    "trains_codebook",
]


class OwnModel:
    """Base of this package's models.

    Attributes:
        labels: of the networks that train: ``g`` stands for ``network_g``. All are saved, and go on from a checkpoint.
            The class names those that there may be, a model those that it has.
        extra_keys: option keys that a derived model reads beside those of the classes it derives from, by block
            (``train``, ``path``, ``val``, ``logger``, or ``top``) and name, with the kind of value each takes:
            ``{"train": {"warm_teacher": float}}``.
    """

    labels: tuple[str, ...] = ("g",)
    extra_keys: ClassVar[Mapping[str, Mapping[str, Any]]] = {}


class TakingTerms(OwnModel):
    """Base of those that train on the loss terms of the option file."""


class Distilling(TakingTerms):
    """Base of those that can have a teacher."""


class TrainingCodebook(OwnModel):
    """Base of those that train a VQGAN on images alone."""


def is_own(model_type: Any) -> bool:
    """Tell whether an option file's ``model_type`` is of this package or derives from it."""
    return _is(model_type, OwnModel)


def distils(model_type: Any) -> bool:
    """Tell whether it is one that can have a teacher."""
    return _is(model_type, Distilling)


def trained_labels(model_type: Any) -> tuple[str, ...]:
    """Return the labels of the networks that a model of ours trains; none of other models."""
    found: tuple[str, ...] = _registered(model_type).labels if is_own(model_type) else ()
    return found


def takes_terms(model_type: Any) -> bool:
    """Tell whether it is one that trains on the loss terms of the option file."""
    return _is(model_type, TakingTerms)


def trains_codebook(model_type: Any) -> bool:
    """Tell whether it is one that trains a VQGAN."""
    return _is(model_type, TrainingCodebook)


def own_models(*, distilling: bool | None = None) -> list[str]:
    """Return the names of all registered models of ours, or of those that can have a teacher or cannot, in order."""
    names = sorted(name for name, _ in MODEL_REGISTRY if is_own(name))
    return [name for name in names if distilling is None or distils(name) == distilling]


def extra_keys(block: str, model_type: Any = None) -> dict[str, Any]:
    """Return the option keys that a model adds to a block of the option file; without a name those of all models."""
    found: dict[str, Any] = {}
    for name in own_models() if model_type is None else [model_type]:
        for each in reversed(_registered(name).__mro__) if is_own(name) else ():
            found |= vars(each).get("extra_keys", {}).get(block, {})
    return found


def _is(model_type: Any, base: type) -> bool:
    found = _registered(model_type)
    return isinstance(found, type) and issubclass(found, base)


def _registered(model_type: Any) -> Any:
    if not isinstance(model_type, str):
        return None
    known = dict(iter(MODEL_REGISTRY))
    return known.get(model_type) or known.get(f"{model_type}_basicsr")  # as BasicSR looks names up
