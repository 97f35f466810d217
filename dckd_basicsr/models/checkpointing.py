"""Saving and resuming a model: weights, training state, best weights; complete or not at all."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from ..checkpoint import atomic_write, save_state
from ..errors import TrainingDiverged
from ..runtime.divergence import non_finite
from ..runtime.processes import gather
from ..runtime.random_state import random_state, restore_random_state

__all__ = [
    "apply_changed_options",
    "initial_rates",
    "of_this_process",
    "restore_streams",
    "training_state",
    "with_present_flags",
    "write_weights",
]

_LOG = logging.getLogger("basicsr")


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
        atomic_write(path.with_suffix(".safetensors"), lambda temporary: save_file(last, temporary, metadata))


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


def with_present_flags(state: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """Return an optimizer state whose groups run as this optimizer's do (fused or not), whatever wrote it did."""
    groups = []
    for saved, own in zip(state["param_groups"], optimizer.param_groups):
        flags = {key: own[key] for key in ("fused", "foreach", "capturable") if key in own}
        groups.append({**saved, **flags})
    return {**state, "param_groups": groups}


def initial_rates(state: Mapping[str, Any]) -> list[float]:
    """Return the learning rate from which the schedule of each group starts, out of an optimizer's state."""
    return [float(group.get("initial_lr", group["lr"])) for group in state["param_groups"]]


def apply_changed_options(optimizer: Optimizer, scheduler: Any, options: Mapping[str, Any]) -> None:
    """Let ``train.optim_g`` win over what a resumed optimizer brought, aloud: a lower rate is the cure of divergence.

    The rate of the schedule changes in proportion; the schedule itself goes on.
    """
    for i, group in enumerate(optimizer.param_groups):
        for key, value in options.items():
            known = group.get("initial_lr" if key == "lr" else key)
            if key in ("type", "fused", "foreach", "capturable") or known is None or _plain(known) == _plain(value):
                continue
            _LOG.warning("train.optim_g.%s was %s when the run was saved; it goes on with %s", key, known, value)
            if key != "lr":
                group[key] = value
                continue
            factor = float(value) / float(known)
            group["initial_lr"], group["lr"] = value, group["lr"] * factor
            scheduler.base_lrs[i] *= factor
            scheduler._last_lr[i] *= factor


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
