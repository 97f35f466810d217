"""The block ``path``: weights and training states."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from .base import BY_RUN, Block, key

__all__ = ["LOADS", "DistillingPath", "PathBlock", "weight_keys"]

LOADS = "false loads what fits and logs the rest; where nothing fits that is an error"
_SEARCHED = "the entry of the file that holds the weights; null searches for one"


class PathBlock(Block):
    """Weights of the trained network, training states, folders."""

    resume_state: str | None = key("a training state (*.state) to go on from; --auto_resume finds the latest")
    ignore_resume_networks: Sequence[str] | None = key(
        "networks that keep their pretrain_network_* on a resume, besides all but network_g"
    )
    experiments_root: str = key("the folder of a training run; experiments/NAME below the current folder by default")
    pretrain_network_g: str | None = key("weights to start from, or to test: a file, or builtin:NAME")
    strict_load_g: bool = key(LOADS)
    param_key_g: str | None = key(
        "the entry of the file that student and average start from; by default params, and params_ema for the average, "
        "and where a file has no params, one is searched for"
    )
    models: Annotated[str, BY_RUN] = key()
    training_states: Annotated[str, BY_RUN] = key()
    log: Annotated[str, BY_RUN] = key()
    visualization: Annotated[str, BY_RUN] = key()
    results_root: Annotated[str, BY_RUN] = key()


class DistillingPath(PathBlock):
    """And those of what teaches. A teacher with a name has the same keys with its name in them."""

    pretrain_network_teacher: str | None = key("the teacher's weights: a file, or builtin:NAME")
    strict_load_teacher: bool = key(LOADS)
    param_key_teacher: str | None = key(_SEARCHED)
    pretrain_network_vqgan: str | None = key("the VQGAN's weights: a file of `basicsr convert vqgan`, or builtin:NAME")
    strict_load_vqgan: bool = key("accepted, without effect: the encoder must fit")
    param_key_vqgan: str | None = key(_SEARCHED)


def weight_keys(labels: Iterable[str]) -> dict[str, Any]:
    """Return the keys that belong to the weights of the networks with these names, with their annotations."""
    keys: dict[str, Any] = {}
    for label in labels:
        keys |= {
            f"pretrain_network_{label}": str | None,
            f"strict_load_{label}": bool,
            f"param_key_{label}": str | None,
        }
    return keys
