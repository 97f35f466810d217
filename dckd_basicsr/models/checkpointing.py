"""Saving and resuming a model: weights, training state, best weights; complete or not at all."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from ..checkpoint import atomic_write, save_state
from ..errors import TrainingDiverged
from ..runtime.divergence import non_finite
from ..runtime.processes import gather
from ..runtime.random_state import random_state, restore_random_state

__all__ = ["resume_random_states", "training_state", "write_weights"]

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
    """Gather all that a resumed run needs beside the weights; every process has to call this."""
    own = model.extra_training_state()
    streams = {"global": random_state(model.device), "generators": own.pop("generators")}
    return {
        "epoch": epoch,
        "iter": iteration,
        "optimizers": [optimizer.state_dict() for optimizer in model.optimizers],
        "schedulers": [scheduler.state_dict() for scheduler in model.schedulers],
        "dckd": {
            **own,
            "streams": gather(streams),
            "validations": model.record.as_plain(),
            "skipped": model.guard.skipped,
        },
    }


def resume_random_states(model: Any, streams: list[Mapping[str, Any]]) -> None:
    """Restore the random streams of this process."""
    rank, world = int(model.opt["rank"]), int(model.opt["world_size"])
    if len(streams) != world:
        _LOG.warning(
            "The training state was written by %d processes and is resumed by %d: data and noise are dealt anew",
            *(len(streams), world),
        )
    if rank < len(streams):
        restore_random_state(streams[rank]["global"], model.device)
        model.generators.load_training_state(streams[rank]["generators"], model.device)
