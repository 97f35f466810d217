"""The base of this package's models: networks with optimizers, a moving average, safe files, exact resume, validation.

A model names its networks by label and says what an iteration is; everything around that is here. So a model with a
discriminator has ``labels = ("g", "d")`` and an ``optimize_parameters`` of its own, and trains in the same loop.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from basicsr.models.base_model import BaseModel
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..archs.buffers import follow
from ..archs.build import Built, WeightSource, build, load
from ..archs.frozen import holds_frozen
from ..data.augment import images_on
from ..distill import settings_from
from ..inference.restore import restorer
from ..inference.validation import validate
from ..inference.validation_record import ValidationRecord
from ..kinds import OwnModel
from ..training.compiling import as_written
from ..training.divergence import DivergenceGuard, DivergenceSettings, gradient_norm
from ..training.flat import KeptBuffers
from ..training.processes import take_from_first
from ..training.run_folder import goes_on_from_checkpoint, goes_on_in_place
from ..training.runtime import RuntimeSettings, lay_out, may_fuse, settled
from ..training.schedules import build_schedule, schedule_state
from ..training.state import check_optimizers, initial_rates, with_present_options
from ..training.step_runner import on_recording_stream

__all__ = ["TrainedModel"]

_LOG = logging.getLogger("basicsr")
_FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)


class TrainedModel(OwnModel, BaseModel):
    """Networks that train, each with an optimizer; the first one is tested, and may have a moving average.

    A label ``g`` stands for the option blocks ``network_g`` and ``train.optim_g``, the weights
    ``path.pretrain_network_g`` and the attributes ``net_g`` and ``optimizer_g``. Networks are bare in there; what runs
    them in a process group is wrapped by :meth:`data_parallel`.

    Attributes:
        facts: of the first network.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        if opt.get("device") == "mps":
            self.device = torch.device("mps")  # BasicSR knows CUDA and the CPU alone
        self.scale = int(opt.get("scale", 1))
        self.said_without_gt: set[str] = set()
        """Sets of which the log told that they hold images without ground truth."""
        if self.is_train:
            asked = settings_from(RuntimeSettings, opt["train"].get("runtime"), "train.runtime")
            self.runtime = settled(asked, self.device, int(opt["world_size"]))
        built = {label: self._built(label) for label in self.labels}
        for label, (net, _) in built.items():
            setattr(self, f"net_{label}", net)
        self.facts = built[self.labels[0]].facts
        if self.is_train:
            self.init_training_settings()

    net_g: nn.Module
    gt: Tensor | None
    """Of the batch; None of inputs alone."""

    def _built(self, label: str) -> Built:
        """Build a network, load its weights, and lay it out; processes start from those of rank 0."""
        options, where = self.opt[f"network_{label}"], f"network_{label}"
        weights = WeightSource.named(self.opt["path"], label)
        scale = self.opt.get("scale") if label == self.labels[0] else None
        net, facts = build(options, weights=weights, scale=scale, device=self.device, where=where)
        self.print_network(net)
        if self.is_train:
            lay_out(net, self.runtime, facts)
            take_from_first([*net.parameters(), *net.buffers()])
        return Built(net, facts)

    def networks(self) -> dict[str, nn.Module]:
        """Return the networks that train, by label."""
        return {label: getattr(self, f"net_{label}") for label in self.labels}

    # --- training -------------------------------------------------------------------------------------------------

    def init_training_settings(self) -> None:
        """Build what training needs: moving average, guard, record; then a model's own; then the optimizers."""
        train_opt, rank = self.opt["train"], int(self.opt["rank"])
        for net in self.networks().values():
            net.train()
        self.ema_decay = float(train_opt.get("ema_decay") or 0)
        if self.ema_decay > 0:
            self._init_ema()
        self.clip_grad_norm = train_opt.get("clip_grad_norm")
        self.scaler = self._loss_scale()
        settings = settings_from(DivergenceSettings, train_opt.get("divergence"), "train.divergence")
        run = Path(self.opt["path"]["experiments_root"])
        self.guard = DivergenceGuard(settings, run / "divergence", rank)
        self.record = ValidationRecord(run / "validations.json" if rank == 0 else None)
        self.values: dict[str, Tensor] = {}
        self.init_step()
        self.setup_optimizers()
        self.setup_schedulers()

    def init_step(self) -> None:
        """Build what an iteration needs beside the networks; called once they are loaded and copied."""

    def feed_data(self, data: Mapping[str, Any]) -> None:
        images = images_on(data, self.device)
        self.lq, self.gt = images["lq"], images.get("gt")

    def parameters_of(self, label: str) -> Iterable[nn.Parameter]:
        """Return what the optimizer of a network moves."""
        return getattr(self, f"net_{label}").parameters()

    def kept_buffers(self, net: nn.Module) -> KeptBuffers | None:
        """Return a network's buffers before a step, for :meth:`take_step`; None where nothing is checked."""
        return KeptBuffers(net) if self.guard.settings.check else None

    def data_parallel(self, module: nn.Module) -> nn.Module:
        """Return what runs a module: itself, or where there are several processes what averages its gradients too.

        Call it after the layout, since DistributedDataParallel lays out its buckets as it finds the parameters, and
        again where other parameters train. Buffers stay each process's own until :func:`.take_from_first`. Where the
        step is to be recorded, the wrapping takes place on the stream of the recordings, to which else the hooks in
        its gradients were foreign.

        Args:
            module: holds parameters that train, all of which get a gradient in each backward pass.
        """
        if not self.opt["dist"]:
            return module
        with on_recording_stream() if self.runtime.cuda_graph else contextlib.nullcontext():
            return DistributedDataParallel(
                module,
                device_ids=[torch.cuda.current_device()] if self.device.type == "cuda" else None,
                find_unused_parameters=bool(self.opt.get("find_unused_parameters", False)),
                broadcast_buffers=False,  # which would be before a step; optimize_parameters shares them after it
            )

    def take_step(
        self,
        label: str,
        iteration: int,
        losses: Mapping[str, Tensor],
        batch: Mapping[str, Tensor],
        kept: KeptBuffers | None = None,
    ) -> Tensor | None:
        """Take or skip the step of one optimizer; a skipped one leaves no trace in running means either.

        Args:
            label: of the network, whose gradients are in place.
            iteration: for messages.
            losses: scalars by name, for messages.
            batch: tensors to keep of a step that is skipped.
            kept: the network's buffers before the step.

        Returns:
            The norm of the gradients, on their device: the step was taken where it is finite. None where nothing is
            checked.
        """
        optimizer = getattr(self, f"optimizer_{label}")
        params = [p for p in self.parameters_of(label) if p.grad is not None]
        if self.scaler:
            self.scaler.unscale_(optimizer)
        norm = torch.nn.utils.clip_grad_norm_(params, self.clip_grad_norm) if self.clip_grad_norm else None
        if self.guard.settings.check:
            norm = gradient_norm(params) if norm is None else norm
            if kept is not None:
                kept.restore_unless(norm.isfinite())
            scale = self.scaler.scale(norm.new_ones(())) if self.scaler else None
            self.guard.step(optimizer, iteration, losses, norm, batch, scale)
        elif self.scaler:
            self.scaler.step(optimizer)
        else:
            optimizer.step()
        return norm

    def after_step(self) -> None:
        """Share running means, move the average and the loss scale, once all optimizers have had their steps.

        Running means are those of rank 0 afterwards, on every process: what follows a network copies them.
        """
        if self.scaler:
            self.scaler.update()
        take_from_first(buffer for module in self.shared_modules() for buffer in module.buffers())
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)

    def shared_modules(self) -> Iterable[nn.Module]:
        """Return the modules whose buffers all processes are to have alike."""
        return self.networks().values()

    def model_ema(self, decay: float = 0.999) -> None:
        """Move the average towards the first network; buffers are copied."""
        follow(self.net_g_ema, self.net_g, 1.0 - decay)

    def get_current_log(self) -> dict[str, float]:
        """Values of the last step, averaged over processes.

        The only place that reads them from the device; the training loop calls it when it prints, on every rank.
        """
        self.guard.settle()
        if not self.values:
            return {}
        values = torch.stack([value.detach().float() for value in self.values.values()])
        if self.opt["dist"]:
            torch.distributed.all_reduce(values)
            values /= self.opt["world_size"]
        return dict(zip(self.values, values.tolist()))

    def setup_optimizers(self) -> None:
        """Any optimizer of ``torch.optim`` by name, over the parameters that train; fused on GPUs where it can be."""
        for label in self.labels:
            options = dict(self.opt["train"][f"optim_{label}"])
            optimizer = getattr(torch.optim, options.pop("type"))
            params = [p for p in self.parameters_of(label) if p.requires_grad]
            own = {"fused", "foreach"} & options.keys()
            if may_fuse(self.device, self.runtime) and optimizer in _FUSED and not own:
                options["fused"] = True
            self.optimizers.append(optimizer(params, **options))
            setattr(self, f"optimizer_{label}", self.optimizers[-1])

    def setup_schedulers(self) -> None:
        """A schedule by name for each optimizer, see ``training/schedules.py``."""
        options = self.opt["train"]["scheduler"]
        self.schedulers.extend(build_schedule(optimizer, options) for optimizer in self.optimizers)

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """Move the schedules on; during the warm-up, iteration i of n has i / n of the scheduled rate.

        The stock method scales the rate that schedules go on from, so that a stepwise one never reaches its full rate.
        """
        factor = current_iter / warmup_iter if current_iter < warmup_iter else 1.0
        for optimizer, scheduler in zip(self.optimizers, self.schedulers, strict=True):
            _set_rates(optimizer, scheduler.get_last_lr())
            if current_iter > 1:
                scheduler.step()
            if factor < 1.0:
                _set_rates(optimizer, [factor * rate for rate in scheduler.get_last_lr()])

    def _loss_scale(self) -> torch.amp.GradScaler | None:
        """Float16 has too few small numbers for the gradients of means over whole images.

        With PyTorch's 2^16, those of the contrast's large taps are a few of float16's smallest steps; a scale that is
        too high costs a few steps that are left out until it has come down.
        """
        half = "fp16" in (self.runtime.precision.student, self.runtime.precision.frozen)
        return torch.amp.GradScaler(self.device.type, init_scale=2.0**20, growth_interval=500) if half else None

    def _init_ema(self) -> None:
        """Start the average: of a checkpoint's network from its own, else as the network if ``param_key_g`` names that.

        Without that key BasicSR's rule holds: the file's ``params_ema`` if it has one, else its ``params``.
        """
        # frozen networks inside are shared with a copy; otherwise the random streams go on as they always did
        copied = deepcopy(self.net_g) if holds_frozen(self.net_g) else None
        self.net_g_ema = copied or build(self.opt["network_g"], device=self.device).net
        lay_out(self.net_g_ema, self.runtime, self.facts)  # tensors of other strides are averaged one by one
        self.model_ema(0)  # also for what a file that fits in part leaves out
        paths = self.opt["path"]
        path = paths.get("pretrain_network_g")
        if path is not None and (goes_on_from_checkpoint(self.opt, "network_g") or "param_key_g" not in paths):
            source = WeightSource(path, "params_ema", bool(paths.get("strict_load_g", True)), search=True)
            load(self.net_g_ema, source.read().state, source, self.opt["network_g"])
        self.net_g_ema.eval().requires_grad_(False)

    # --- networks and state on disk: see also install.py -----------------------------------------------------------

    def save(self, epoch: int, current_iter: int) -> None:
        """Write weights and training state; -1 writes weights alone. Every process has to call this.

        Raises:
            TrainingDiverged: the weights are not finite.
            CheckpointError: a file cannot be written. Earlier checkpoints stay as they were.
        """
        self.guard.settle()
        self._save_first(current_iter)
        for label in self.labels[1:]:
            self.save_network(getattr(self, f"net_{label}"), f"net_{label}", current_iter)
        self.save_training_state(epoch, current_iter)

    def save_best(self) -> None:
        """Write the first network as ``net_g_best.pth``, with the moving average if there is one."""
        self._save_first("best")

    def _save_first(self, iteration: int | str) -> None:
        average = getattr(self, "net_g_ema", None)
        if average is None:
            self.save_network(self.net_g, "net_g", iteration)
        else:
            self.save_network([self.net_g, average], "net_g", iteration, ["params", "params_ema"])

    def resume_training(self, resume_state: Mapping[str, Any]) -> None:
        """Take up optimizers, schedules, random streams and what :meth:`extra_training_state` gave."""
        state, own = dict(resume_state), resume_state.get("dckd")
        train_opt = self.opt["train"]
        check_optimizers(state["optimizers"], self.optimizers)
        saved = zip(state["optimizers"], self.optimizers, self.labels, strict=True)
        state["optimizers"] = [
            with_present_options(one, optimizer, train_opt[f"optim_{label}"], f"train.optim_{label}")
            for one, optimizer, label in saved
        ]
        rates = zip(state["schedulers"], map(initial_rates, state["optimizers"]), strict=True)
        state["schedulers"] = [schedule_state(train_opt["scheduler"], *each) for each in rates]
        super().resume_training(state)
        kept = own["validations"] if own else ()
        self.record.resume(int(state["iter"]), kept, with_file=goes_on_in_place(self.opt))
        if own:
            self.load_extra_training_state(own)
        else:
            _LOG.warning("The training state was written by stock BasicSR: what only this package keeps starts afresh")

    def extra_training_state(self) -> dict[str, Any]:
        """State outside networks, optimizers and schedules, under ``dckd``; tensors and plain containers only."""
        own: dict[str, Any] = {"validations": self.record.as_plain(), "skipped": self.guard.training_state()}
        if self.scaler:
            own["loss_scale"] = self.scaler.state_dict()
        return {"dckd": own}

    def load_extra_training_state(self, state: Mapping[str, Any]) -> None:
        """Restore what is under ``dckd`` in the training state."""
        self.guard.load_training_state(state["skipped"])
        if self.scaler and "loss_scale" in state:
            self.scaler.load_state_dict(dict(state["loss_scale"]))

    # --- testing ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def test(self) -> None:
        """Restore ``self.lq`` with the moving average, if there is one, as ``val`` says; see ``restore.py``."""
        net = self.net_g_ema if hasattr(self, "net_g_ema") else self.net_g
        training = net.training
        with as_written(net):
            self.output = restorer(net.eval(), self.facts, self.opt.get("val") or {})(self.lq)
        net.train(training)

    strips = False
    """Whether validation writes the ground truth beside each restored image."""

    def validation_batch(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what is restored (``lq``) and what it is measured against (``gt``, if there is one) of a batch."""
        return batch

    def figures_of_set(self) -> dict[str, float]:
        """Return what validation is to record of the set just restored, besides ``val.metrics``."""
        return {}

    def nondist_validation(self, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
        validate(self, dataloader, current_iter, tb_logger, save_img)

    def dist_validation(self, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
        validate(self, dataloader, current_iter, tb_logger, save_img)


def _set_rates(optimizer: Any, rates: Sequence[float]) -> None:
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
