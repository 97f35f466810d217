"""BasicSR's own models on the same ground: weights and states written whole, read without unpickling, also on CPUs.

``install.replace_model_methods`` puts these methods into ``BaseModel``, from which every model inherits, this
package's too.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from basicsr.utils.dist_util import master_only
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..archs.build import WeightSource, load
from ..install import stock_method
from ..weight_files import save_state
from .state import training_state, write_weights

__all__ = ["MODEL_METHODS"]

_LOG = logging.getLogger("basicsr")


def model_to_device(self: Any, net: nn.Module) -> nn.Module:
    """Move to the device; in a process group wrap in DistributedDataParallel (also on CPUs, where stock fails)."""
    if not self.opt["dist"]:
        moved: nn.Module = stock_method("model_to_device")(self, net)
        return moved
    net = net.to(self.device)
    if not any(p.requires_grad for p in net.parameters()):
        return net
    unused = self.opt.get("find_unused_parameters", False)
    if self.device.type != "cuda":
        return DistributedDataParallel(net, find_unused_parameters=unused)
    return DistributedDataParallel(net, device_ids=[torch.cuda.current_device()], find_unused_parameters=unused)


def load_network(
    self: Any, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = "params"
) -> None:
    """Load weights without unpickling code; a misfit is one CheckpointError that names keys, shapes and values."""
    bare = self.get_bare_model(net)
    source = WeightSource(load_path, param_key, strict)
    load(bare, source.read().state, source, _values_of(bare))


def _values_of(net: nn.Module) -> dict[str, Any]:
    """Return what a file of published names may contradict; which block built the network is not told here."""
    values: dict[str, Any] = {"type": type(net).__name__}
    if hasattr(net, "img_range") and isinstance(getattr(net, "mean", None), torch.Tensor):
        values |= {"img_range": net.img_range, "rgb_mean": net.mean.flatten().tolist()}  # type: ignore[operator]
    return values


@master_only
def save_network(
    self: Any, net: Any, net_label: str, current_iter: int | str, param_key: str | list[str] = "params"
) -> None:
    """Write weights atomically; a failed write raises (the stock method logs it and trains on).

    Args:
        self: the model.
        net: one network, or one for each key.
        net_label: ``net_g``, ``net_d``, ...
        current_iter: in the file's name; -1 is ``latest``.
        param_key: under which name in the file, or names.
    """
    nets = net if isinstance(net, list) else [net]
    keys = param_key if isinstance(param_key, list) else [param_key]
    bare = {key: self.get_bare_model(n) for key, n in zip(keys, nets, strict=True)}
    path = Path(self.opt["path"]["models"], f"{net_label}_{'latest' if current_iter == -1 else current_iter}.pth")
    options = self.opt.get(f"network_{net_label.removeprefix('net_')}", {})
    write_weights(bare, path, options, safetensors=bool(self.opt["logger"].get("safetensors")))


def save_training_state(self: Any, epoch: int, current_iter: int) -> None:
    """Write the training state atomically, after the weights; every process has to call this."""
    if current_iter == -1:
        return
    state = {**training_state(self, epoch, current_iter), **self.extra_training_state()}
    if self.opt["rank"] == 0:
        save_state(state, Path(self.opt["path"]["training_states"], f"{current_iter}.state"))


def extra_training_state(self: Any) -> dict[str, Any]:
    """Return what a model keeps beside weights, optimizers and schedules; nothing in BasicSR's own."""
    return {}


#: What ``BaseModel`` gets, by name.
MODEL_METHODS = (model_to_device, load_network, save_network, save_training_state, extra_training_state)
