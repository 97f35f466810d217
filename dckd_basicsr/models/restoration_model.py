"""The base of this package's models: BasicSR's SRModel with safe checkpoints, padded validation and lazy logging."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from basicsr.archs import build_network
from basicsr.models.sr_model import SRModel
from basicsr.utils.dist_util import master_only
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..archs.facts import ArchFacts, facts_of
from ..checkpoint import load_into, load_weights, save_state
from ..compat import register
from ..distill import DistillParts, DistillStep, Generators, Objective, ObjectiveValues
from ..errors import ConfigError
from ..runtime.loaders import patch_stages
from ..runtime.schedules import build_schedule
from ..runtime.tiling import TileSettings, run_tiled
from .padding import run_padded
from .validation import validate

__all__ = ["RestorationModel"]

_LOG = logging.getLogger("basicsr")


@register(MODEL_REGISTRY)
class RestorationModel(SRModel):
    """Trains and tests one network on its own loss terms (``train.pixel_opt``); :class:`DCKDModel` adds the others.

    ``SRModel.__init__`` builds and loads ``net_g`` and then calls :meth:`init_training_settings`, so everything a
    subclass needs for training is built inside that method.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        self.facts = facts_of(self.get_bare_model(self.net_g), opt["network_g"], int(opt.get("scale", 1)))
        if self.facts.scale != int(opt.get("scale", self.facts.scale)):
            raise ConfigError(
                f"network_g ({opt['network_g']['type']}) upscales by {self.facts.scale}, but scale is {opt['scale']}; "
                "make the two equal"
            )
        if self.is_train:
            self.check_patches("network_g", self.facts)

    def check_patches(self, network: str, facts: ArchFacts) -> None:
        """Refuse training patches that a network cannot take, also one whose rules only its weight file tells.

        Raises:
            ConfigError: names the network, the patch and what would fit.
        """
        train = self.opt["datasets"]["train"]
        if not (train.get("progressive") or train.get("gt_size")):
            return  # a dataset that sizes its patches in a way of its own
        for stage in patch_stages(self.opt):
            if not facts.admits(stage.gt_size // facts.scale):
                raise ConfigError(
                    f"gt_size {stage.gt_size} in datasets.train gives LQ patches of {stage.gt_size // facts.scale} px, "
                    f"but {network} ({self.opt[network]['type']}) takes multiples of {facts.multiple_of}, at least "
                    f"{facts.minimum}; make gt_size a multiple of {facts.scale * facts.multiple_of}"
                )

    # --- training -------------------------------------------------------------------------------------------------

    def init_training_settings(self) -> None:
        """Build the moving average, the objective, the optimizer and the schedulers."""
        self.net_g.train()
        train_opt = self.opt["train"]
        self.ema_decay = float(train_opt.get("ema_decay") or 0)
        if self.ema_decay > 0:
            self._init_ema()
        self.clip_grad_norm = train_opt.get("clip_grad_norm")
        self.objective = Objective(train_opt).to(self.device)
        # Ranks draw their own degradations; the offset keeps their streams apart for any sensible seed.
        self.generators = Generators(int(self.opt["manual_seed"]) + 1_000_003 * int(self.opt["rank"]))
        self.parts = self.build_parts()
        self.values: ObjectiveValues | None = None
        self._batch_shape: torch.Size | None = None
        self.setup_optimizers()
        self.setup_schedulers()

    def build_parts(self) -> DistillParts:
        """What the loss terms may draw on besides student and data; nothing here."""
        unmet = self.objective.needs
        if unmet:
            raise ConfigError(
                f"model_type RestorationModel trains without a teacher, but train asks for {', '.join(sorted(unmet))}; "
                "use model_type: DCKDModel"
            )
        return DistillParts(generators=self.generators)

    def optimize_parameters(self, current_iter: int) -> None:
        """One iteration: forward, terms, backward, optimizer, moving average."""
        if self.lq.shape != self._batch_shape:
            self._batch_shape = self.lq.shape
            batch, _, height, width = self._batch_shape
            _LOG.info("From iteration %d: batches of %d LQ patches of %dx%d px", current_iter, batch, width, height)
        self.optimizer_g.zero_grad(set_to_none=True)
        self.output = self.net_g(self.lq)
        step = DistillStep(self.parts, self.lq, self.gt, self.output, self.objective.needs)
        self.values = self.objective(step)
        self.values.total.backward()
        if self.clip_grad_norm:
            torch.nn.utils.clip_grad_norm_(self.net_g.parameters(), self.clip_grad_norm)
        self.optimizer_g.step()
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)

    def feed_data(self, data: Mapping[str, Any]) -> None:
        self.lq = data["lq"].to(self.device, non_blocking=True)
        if "gt" in data:
            self.gt = data["gt"].to(self.device, non_blocking=True)

    @torch.no_grad()
    def model_ema(self, decay: float = 0.999) -> None:
        """Move the average towards the student in one multi-tensor operation; buffers are copied."""
        source = self.get_bare_model(self.net_g)
        theirs = dict(source.named_parameters())
        mine = dict(self.net_g_ema.named_parameters())
        torch._foreach_lerp_(list(mine.values()), [theirs[name].detach() for name in mine], 1.0 - decay)
        buffers = dict(source.named_buffers())
        for name, buffer in self.net_g_ema.named_buffers():
            buffer.copy_(buffers[name])

    def get_current_log(self) -> dict[str, float]:
        """Terms and measures of the last step, averaged over processes.

        The only place that reads them from the device; the training loop calls it when it prints, on every rank.
        """
        if self.values is None:
            return {}
        scalars = {**self.values.losses, "l_total": self.values.total, **self.values.measures}
        values = torch.stack([value.detach().float() for value in scalars.values()])
        if self.opt["dist"]:
            torch.distributed.all_reduce(values)
            values /= self.opt["world_size"]
        return OrderedDict(zip(scalars, values.tolist()))

    def setup_optimizers(self) -> None:
        """Any optimizer of ``torch.optim`` by name, over the parameters that train."""
        options = dict(self.opt["train"]["optim_g"])
        optimizer = getattr(torch.optim, options.pop("type"))
        params = [p for p in self.net_g.parameters() if p.requires_grad]
        self.optimizer_g = optimizer(params, **options)
        self.optimizers.append(self.optimizer_g)

    def setup_schedulers(self) -> None:
        """A schedule by name, see ``runtime/schedules.py``."""
        options = self.opt["train"]["scheduler"]
        self.schedulers.extend(build_schedule(optimizer, options) for optimizer in self.optimizers)

    def _init_ema(self) -> None:
        self.net_g_ema = build_network(self.opt["network_g"]).to(self.device)
        path = self.opt["path"].get("pretrain_network_g")
        if path is not None:
            self.load_network(self.net_g_ema, path, self.opt["path"].get("strict_load_g", True), "params_ema")
        else:
            self.model_ema(0)
        self.net_g_ema.eval().requires_grad_(False)

    # --- networks on devices and disk ------------------------------------------------------------------------------

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Move to the device; in a process group wrap in DistributedDataParallel (also on CPUs)."""
        net = net.to(self.device)
        if not self.opt["dist"] or not any(p.requires_grad for p in net.parameters()):
            return net
        ids = [torch.cuda.current_device()] if self.device.type == "cuda" else None
        unused = self.opt.get("find_unused_parameters", False)
        return DistributedDataParallel(net, device_ids=ids, find_unused_parameters=unused)

    def load_network(
        self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = "params"
    ) -> None:
        """Load weights without unpickling code; a misfit is one CheckpointError that names keys and shapes."""
        weights = load_weights(load_path, param_key)
        bare = self.get_bare_model(net)
        load_into(bare, weights.state, load_path, strict=strict)
        _LOG.info("Loaded %s from %s", type(bare).__name__, load_path)

    @master_only
    def save_network(self, net: Any, net_label: str, current_iter: int, param_key: str | list[str] = "params") -> None:
        """Write weights atomically; a failed write raises (the stock method logs it and trains on)."""
        nets = net if isinstance(net, list) else [net]
        keys = param_key if isinstance(param_key, list) else [param_key]
        name = "latest" if current_iter == -1 else str(current_iter)
        states = {key: _cpu_state(self.get_bare_model(n)) for key, n in zip(keys, nets, strict=True)}
        save_state(states, Path(self.opt["path"]["models"], f"{net_label}_{name}.pth"))

    @master_only
    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """Write optimizers, schedulers and :meth:`extra_training_state` atomically, after the weights."""
        if current_iter == -1:
            return
        state = {
            "epoch": epoch,
            "iter": current_iter,
            "optimizers": [o.state_dict() for o in self.optimizers],
            "schedulers": [s.state_dict() for s in self.schedulers],
            "dckd": self.extra_training_state(),
        }
        save_state(state, Path(self.opt["path"]["training_states"], f"{current_iter}.state"))

    def resume_training(self, resume_state: Mapping[str, Any]) -> None:
        super().resume_training(resume_state)
        if "dckd" in resume_state:
            self.load_extra_training_state(resume_state["dckd"])
        else:
            _LOG.warning("the training state was written by stock BasicSR: random streams start afresh")

    def extra_training_state(self) -> dict[str, Any]:
        """State outside student, optimizer and scheduler; tensors and plain containers only."""
        return {"generators": self.generators.training_state()}

    def load_extra_training_state(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`extra_training_state`."""
        self.generators.load_training_state(state["generators"], self.device)

    # --- testing ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def test(self) -> None:
        """Restore ``self.lq`` with the moving average if there is one, padded, and in tiles if ``val.tile`` says so."""
        net = self.net_g_ema if hasattr(self, "net_g_ema") else self.get_bare_model(self.net_g)
        training = net.training
        net.eval()
        tile = (self.opt.get("val") or {}).get("tile")
        if tile:
            settings = TileSettings(**tile)
            self.output = run_tiled(lambda x: run_padded(net, x, self.facts), self.lq, self.facts.scale, settings)
        else:
            self.output = run_padded(net, self.lq, self.facts)
        net.train(training)

    def nondist_validation(self, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
        validate(self, dataloader, current_iter, tb_logger, save_img)


def _cpu_state(net: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().cpu() for key, value in net.state_dict().items()}
