"""The named parts of an option file: networks, losses, metrics, datasets, optimizer, scheduler, model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from basicsr.utils import registry

from ..archs.networks.vqgan_layout import DDConfig
from ..kinds import is_own
from .problems import block_of, choose, show
from .signature import Parameters, binding_problems, misfit, parameters_of, settings_problems

__all__ = ["LOSS", "METRIC", "NETWORK", "OPTIMIZER", "SCHEDULER", "Kind", "component_problems", "network_problems"]


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
        required: keys that must be given although the signature has a default.
        extra: further keys, with their annotations, that the caller takes out.
    """

    noun: str
    find: Callable[[], dict[str, Any]]
    provided: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    def parameters(self, name: str) -> Parameters:
        """Return the keys of the block that names ``name``, one of those :attr:`find` returns."""
        return parameters_of(self.find()[name], provided=self.provided, required=self.required, extra=self.extra)


NETWORK = Kind("network", lambda: _names(registry.ARCH_REGISTRY))
LOSS = Kind("loss", lambda: _names(registry.LOSS_REGISTRY))
OPTIMIZER = Kind("optimizer", lambda: _optimizers(), ("params",), ("lr",))
SCHEDULER = Kind("scheduler", lambda: dict(_SCHEDULERS))
METRIC = Kind(
    "metric",
    lambda: _names(registry.METRIC_REGISTRY),
    provided=("img", "img2"),
    extra={"better": Literal["higher", "lower"]},
)


def component_problems(opt: Mapping[str, Any], is_train: bool) -> list[str]:
    """Return unknown type names, and arguments that their constructors would not take."""
    own = is_own(opt.get("model_type"))
    problems = []
    models = _names(registry.MODEL_REGISTRY)
    if opt.get("model_type") is not None and _lookup(models, opt["model_type"]) is None:
        problems.append(choose("model", opt["model_type"], "model_type", models))
    for key, block in opt.items():
        if str(key).startswith("network_") and block is not None:
            problems += network_problems(str(key), block, own)
    for key, block in block_of(opt, "val", "metrics").items():
        problems += _metric(f"val.metrics.{key}", block, own)
    for key, block in block_of(opt, "datasets").items():
        name = block.get("type") if isinstance(block, Mapping) else None
        datasets = _names(registry.DATASET_REGISTRY)
        if name is not None and _lookup(datasets, name) is None:
            problems.append(choose("dataset", name, f"datasets.{key}", datasets))
    if is_train:
        problems += _training(block_of(opt, "train"), own)
    return problems


def network_problems(where: str, block: Any, own: bool = True) -> list[str]:
    """Return what is wrong with the block of one network, as far as its constructor's signature tells."""
    problems = _component(NETWORK, where, block, own)
    if isinstance(block, Mapping) and block.get("type") == "VQGAN":
        problems += settings_problems(f"{where}.ddconfig", block.get("ddconfig"), DDConfig)
    return problems


def _training(train: Mapping[str, Any], own: bool) -> Iterator[str]:
    for key, block in train.items():
        if str(key).endswith("_opt") and block:
            yield from _component(LOSS, f"train.{key}", block, own)
    for key in [k for k in train if str(k).startswith("optim_")]:
        problems = _component(OPTIMIZER, f"train.{key}", train[key], own)
        yield from problems or (_optimizer_trial(f"train.{key}", train[key]) if own else ())
    scheduler = train.get("scheduler")
    if own and scheduler is not None:
        yield from _component(SCHEDULER, "train.scheduler", scheduler, own)
        yield from _paired_lengths(block_of(train, "scheduler"))


def _optimizer_trial(where: str, block: Mapping[str, Any]) -> Iterator[str]:
    """Build the optimizer on one number: ranges are for its constructor to say."""
    options = dict(block)
    name = options.pop("type")
    try:
        getattr(torch.optim, name)([torch.nn.Parameter(torch.zeros(1))], **options)
    except (ValueError, TypeError, RuntimeError) as error:
        yield f"{where} ({name}) refuses these arguments: {str(error).splitlines()[0]}"


def _paired_lengths(scheduler: Mapping[str, Any]) -> Iterator[str]:
    many = "periods" if "periods" in scheduler else "restarts"
    values, weights = scheduler.get(many, [0]), scheduler.get("restart_weights", [1])
    if isinstance(values, list) and isinstance(weights, list) and len(values) != len(weights):
        yield f"train.scheduler has {len(values)} {many}, but {len(weights)} restart_weights; give one weight for each"


def _metric(where: str, block: Any, own: bool) -> list[str]:
    problems = _component(METRIC, where, block, own)
    border = block.get("crop_border", 0) if isinstance(block, Mapping) else 0
    wrong = misfit("crop_border", where, border, int)
    if not wrong and border < 0:
        wrong = [f"'crop_border' in {where} must be at least 0, got {border}"]
    return problems + wrong


def _component(kind: Kind, where: str, block: Any, own: bool) -> list[str]:
    known = kind.find()
    if not isinstance(block, Mapping):
        return [f"{where} must be a block with a 'type', got {show(block)}"]
    name = block.get("type")
    if name is None:
        return [f"missing key 'type' in {where}; one of {', '.join(sorted(known))}"]
    target = _lookup(known, name)
    if target is None:
        return [choose(kind.noun, name, where, known)]
    arguments = {k: v for k, v in block.items() if k != "type"}
    return binding_problems(
        f"{where} ({name})",
        target,
        arguments,
        provided=kind.provided,
        required=kind.required,
        extra=kind.extra,
        strict=own,
    )


def _names(entries: registry.Registry) -> dict[str, Any]:
    return dict(iter(entries))


def _lookup(known: Mapping[str, Any], name: Any) -> Any:
    # BasicSR's registries answer to a name without its '_basicsr' suffix too.
    return (known.get(name) or known.get(f"{name}_basicsr")) if isinstance(name, str) else None


def _optimizers() -> dict[str, Any]:
    found = {name: getattr(torch.optim, name) for name in dir(torch.optim)}
    return {
        name: cls
        for name, cls in found.items()
        if isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer) and cls is not torch.optim.Optimizer
    }
