"""How a run was trained, in words for a card: by which teachers, and on which loss terms."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from basicsr.utils.registry import LOSS_REGISTRY

from ..config.networks import Network, inner_teachers, teachers_of
from ..config.problems import all_of, block_of, type_of
from ..config.rules import is_used
from ..distill.loss_weight import FadingWeight, SteppedWeight, loss_weight
from ..distill.terms.build import named_terms
from ..kinds import takes_terms

__all__ = ["NO_TEACHER", "loss_terms", "teachers"]

NO_TEACHER = "none"
"""What is said of a network that is known to have had no teacher."""


def teachers(options: Mapping[str, Any]) -> str | None:
    """Return the teachers that a run built: type and weight file of each; None where nobody can tell.

    Args:
        options: of the run. A teacher that none of its loss terms asks for is not built.
    """
    ours = takes_terms(options.get("model_type"))
    used = [each for each in teachers_of(options) if not ours or is_used(options, each.label, is_train=True)]
    if used:
        return all_of(_teacher(each, block_of(options, "path")) for each in used)
    return NO_TEACHER if ours else None


def loss_terms(options: Mapping[str, Any]) -> str | None:
    """Return the loss terms that were on, with their weights; None if there is none."""
    found = [text for text in _terms(block_of(options, "train")) if text]
    return f"loss terms {', '.join(found)}" if found else None


def _teacher(network: Network, paths: Mapping[str, Any]) -> str:
    own = type_of(network.block) == "PretrainedNet"
    named = _with_file(
        network.block, network.block.get("path") if own else paths.get(f"pretrain_network_{network.label}")
    )
    inner = [_with_file(block, block.get("path")) for _, block in inner_teachers("", network.block)]
    return f"{named} over {all_of(inner)}" if inner else named


def _with_file(block: Mapping[str, Any], file: Any) -> str:
    kind = type_of(block)
    return kind if kind == "Bicubic" else f"{kind} ({Path(str(file)).name if file else 'no file'})"


def _terms(train: Mapping[str, Any]) -> Iterator[str]:
    for key, block in train.items():
        if key.endswith("_opt") and isinstance(block, Mapping):
            yield _term(key.removesuffix("_opt"), [type_of(block)], 1.0, block)
    losses = train.get("losses")
    losses = named_terms(losses) if isinstance(losses, list) else losses
    for name, block in losses.items() if isinstance(losses, Mapping) else ():
        if isinstance(block, Mapping):
            kind, loss = type_of(block), block_of(block, "loss")
            yield _term(name, [kind if kind != name else "", type_of(loss)], block.get("weight", 1.0), loss)


def _term(name: str, kinds: Sequence[str], weight: Any, loss: Mapping[str, Any]) -> str:
    """Return a term with its types and weight; nothing if it is off."""
    weights = weight, loss.get("loss_weight", _default(loss))
    factor = math.prod(each for each in weights if isinstance(each, int | float))
    schedule = next((each for each in weights if isinstance(each, Mapping)), 1.0)
    told = [*filter(None, kinds), f"weight {_weight(schedule, factor)}"]
    return f"{name} ({', '.join(told)})" if factor else ""


def _default(loss: Mapping[str, Any]) -> Any:
    """Return the ``loss_weight`` of a loss that is told none; 1 of one that has no such argument."""
    cls = dict(iter(LOSS_REGISTRY)).get(type_of(loss))
    parameter = inspect.signature(cls).parameters.get("loss_weight") if cls is not None else None
    return 1.0 if parameter is None or parameter.default is parameter.empty else parameter.default


def _weight(options: float | Mapping[str, Any], factor: float) -> str:
    """Return a weight times ``factor`` in words: a number, or how it went over the run."""
    weight = loss_weight(options)
    if isinstance(weight, FadingWeight):
        way = "as a cosine" if weight.type == "cosine" else "in a straight line"
        until = f"over the {'' if weight.until == 1 else f'first {100 * weight.until:.4g} % of the '}run"
        return f"from {weight.start * factor:g} to {weight.to * factor:g} {way} {until}"
    if isinstance(weight, SteppedWeight):
        first, *later = [f"{value * factor:g}" for value in weight.values]
        steps = [f"{value} from {100 * share:.4g} % of the run on" for share, value in zip(weight.breaks, later)]
        return all_of([first, *steps])
    return f"{weight.at(0) * factor:g}"
