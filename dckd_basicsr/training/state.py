"""Saving and resuming a model: weights, training state, best weights; complete or not at all."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from ..data.random_state import random_state, restore_random_state
from ..errors import CheckpointError, TrainingDiverged
from ..weight_files import atomic_write, save_state, write_safetensors
from .divergence import non_finite
from .processes import gather

__all__ = [
    "check_optimizers",
    "initial_rates",
    "of_this_process",
    "restore_streams",
    "training_state",
    "with_present_options",
    "write_weights",
]

_LOG = logging.getLogger("basicsr")
_FLAGS = {"fused", "foreach", "capturable"}  # how an optimizer runs, not what it computes


def write_weights(
    nets: Mapping[str, nn.Module], path: Path, network: Mapping[str, Any], *, safetensors: bool = False
) -> None:
    """Write networks under BasicSR's names (``params``, ``params_ema``) to ``path``, atomically.

    Args:
        nets: at least one bare network.
        path: ``*.pth``.
        network: the network's option block, which travels in the safetensors file.
        safetensors: also write the last of ``nets`` (the moving average, if there is one) as ``*.safetensors``.

    Raises:
        TrainingDiverged: a value is not finite; nothing is written.
        CheckpointError: the file cannot be written; an older one stays as it was.
    """
    states = {key: _cpu_state(net) for key, net in nets.items()}
    for state in states.values():
        if bad := non_finite(state):
            raise TrainingDiverged(
                f"the weights are no longer finite ({', '.join(bad[:4])}), so '{path.name}' was not written; go on "
                "from the last checkpoint with a lower learning rate or train.clip_grad_norm"
            )
    save_state(states, path)
    if safetensors:
        last = {key: value.contiguous() for key, value in list(states.values())[-1].items()}
        metadata = {"format": "pt", "config": json.dumps(dict(network))}
        atomic_write(path.with_suffix(".safetensors"), lambda temporary: write_safetensors(last, temporary, metadata))


def _cpu_state(net: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().cpu() for key, value in net.state_dict().items()}


def training_state(model: Any, epoch: int, iteration: int) -> dict[str, Any]:
    """Gather what any model needs to go on, beside its weights; every process has to call this."""
    return {
        "epoch": epoch,
        "iter": iteration,
        "seed": int(model.opt["manual_seed"]),
        "optimizers": [optimizer.state_dict() for optimizer in model.optimizers],
        "schedulers": [scheduler.state_dict() for scheduler in model.schedulers],
        "streams": gather(random_state(model.device)),
    }


def of_this_process(states: Sequence[Any], opt: Mapping[str, Any]) -> Any:
    """Return this process's entry of what was gathered, or None; says so where the processes are other ones."""
    rank, world = int(opt["rank"]), int(opt["world_size"])
    if len(states) != world:
        _LOG.warning(
            "The training state was written by %d processes and is resumed by %d: data and noise are dealt anew",
            *(len(states), world),
        )
    return states[rank] if rank < len(states) else None


def restore_streams(state: Mapping[str, Any], model: Any) -> None:
    """Restore the global random streams of this process, if the state has them."""
    if "streams" not in state:
        _LOG.warning("The training state was written by stock BasicSR: random streams start afresh")
    elif stream := of_this_process(state["streams"], model.opt):
        restore_random_state(stream, model.device)


def check_optimizers(states: Sequence[Mapping[str, Any]], optimizers: Sequence[Optimizer]) -> None:
    """Refuse states of other optimizers than a run has, and those of other parameters.

    Raises:
        CheckpointError: there are more or fewer of them, or one moved more parameters or fewer.
    """
    if len(states) != len(optimizers):
        raise CheckpointError(
            f"the training state has {len(states)} optimizers, this run's option file {len(optimizers)}: one of them "
            "trains a network_d, the other none; resume with the networks of the saved run, or start a new run from "
            "the weights (path.pretrain_network_g)"
        )
    for each in zip(states, optimizers, strict=True):
        _check_parameters(*each)


def _check_parameters(state: Mapping[str, Any], optimizer: Optimizer) -> None:
    known, present = (
        sum(len(g["params"]) for g in groups) for groups in (state["param_groups"], optimizer.param_groups)
    )
    if known != present:
        raise CheckpointError(
            f"the optimizer of the training state moves {known} tensors, that of this run's option file {present}: its "
            "network or its terms with layers are other ones; resume with those of the saved run, or start a new run "
            "from the weights (path.pretrain_network_g)"
        )


def with_present_options(
    state: Mapping[str, Any], optimizer: Optimizer, options: Mapping[str, Any], where: str = "train.optim_g"
) -> dict[str, Any]:
    """Return an optimizer state whose groups have what the options of the resumed run say, and run as they do there.

    What changed is logged: a lower rate is the cure of divergence. ``lr`` stays until the schedule, which starts from
    ``initial_lr``, sets it in the next iteration.

    Args:
        state: as it was saved; stays as it is.
        optimizer: built by the options.
        options: its block in the option file.
        where: that block stands, for messages.
    """
    groups = []
    for saved, own in zip(state["param_groups"], optimizer.param_groups):
        group = {**saved, **{key: own[key] for key in _FLAGS if key in own}}
        for key in (key for key in options if key not in _FLAGS):
            name = "initial_lr" if key == "lr" else key
            if group.get(name) is not None and name in own and _plain(group[name]) != _plain(own[name]):
                _LOG.warning(
                    "%s.%s was %s when the run was saved; it goes on with %s", where, key, *(group[name], own[name])
                )
                group[name] = own[name]
        groups.append(group)
    return {**state, "param_groups": groups}


def initial_rates(state: Mapping[str, Any]) -> list[float]:
    """Return the learning rate from which the schedule of each group starts, out of an optimizer's state."""
    return [float(group.get("initial_lr", group["lr"])) for group in state["param_groups"]]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
