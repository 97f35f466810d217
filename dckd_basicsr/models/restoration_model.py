"""The base of this package's models: BasicSR's SRModel with safe checkpoints, padded validation and lazy logging."""

from __future__ import annotations

import contextlib
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from basicsr.archs import build_network
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn

from ..archs.buffers import follow
from ..archs.facts import ArchFacts, facts_of
from ..config.rules import loaded_channel_problems
from ..data.augment import images_on
from ..data.loaders import accumulation, patch_stages
from ..distill import DistillParts, DistillStep, Drawn, Generators, Objective, ObjectiveValues, settings_from
from ..errors import ConfigError
from ..inference.restore import restorer
from ..inference.validation import validate
from ..inference.validation_record import ValidationRecord
from ..install import register
from ..kinds import OwnModel
from ..training.divergence import DivergenceGuard, DivergenceSettings, gradient_norm
from ..training.flat import KeptBuffers
from ..training.processes import gather, take_from_first
from ..training.run_folder import goes_on_from_checkpoint, goes_on_in_place
from ..training.runtime import RuntimeSettings, backward_region, lay_out, may_fuse, region, settled
from ..training.schedules import build_schedule, schedule_state
from ..training.state import initial_rates, of_this_process, with_present_options
from ..training.step_runner import NotRecordable, StaticStep, on_recording_stream
from .accelerating import accelerate

__all__ = ["RestorationModel"]

_LOG = logging.getLogger("basicsr")
_FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)


@register(MODEL_REGISTRY)
class RestorationModel(OwnModel, SRModel):
    """Trains and tests one network on its own loss terms (``train.pixel_opt``); :class:`DCKDModel` adds the others.

    ``SRModel.__init__`` builds and loads ``net_g`` and then calls :meth:`init_training_settings`, so everything a
    subclass needs for training is built inside that method.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        self.said_without_gt: set[str] = set()
        """Sets of which the log told that they hold images without ground truth."""
        self.facts = facts_of(self.get_bare_model(self.net_g), opt["network_g"], int(opt.get("scale", 1)))
        if self.facts.scale != int(opt.get("scale", self.facts.scale)):
            raise ConfigError(
                f"network_g ({opt['network_g']['type']}) upscales by {self.facts.scale}, but scale is {opt['scale']}; "
                "make the two equal"
            )
        if self.is_train:
            self.check_patches("network_g", self.facts)

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Move and, in a process group, wrap a network.

        The student is laid out before, since DistributedDataParallel lays out its buckets as it finds the parameters;
        and where its step is to be recorded, it is wrapped on the stream of the recordings, to which else the hooks in
        its gradients would be foreign.
        """
        if not self.is_train or net is not getattr(self, "net_g", None):
            return super().model_to_device(net)
        asked = settings_from(RuntimeSettings, self.opt["train"].get("runtime"), "train.runtime")
        self.runtime = settled(asked, self.device, int(self.opt["world_size"]))
        lay_out(net, self.runtime, facts_of(net, self.opt["network_g"], int(self.opt.get("scale", 1))))
        if not self.opt["dist"]:
            return super().model_to_device(net)
        with on_recording_stream() if self.runtime.cuda_graph else contextlib.nullcontext():
            wrapped = super().model_to_device(net)
        wrapped.broadcast_buffers = False  # which would be before a step; optimize_parameters shares them after it
        return wrapped

    def check_patches(self, network: str, facts: ArchFacts) -> None:
        """Refuse training patches that a network cannot take, also one whose rules only its weight file tells.

        Raises:
            ConfigError: names the network, the channels or the patch, and what would fit.
        """
        for problem in loaded_channel_problems(self.opt, network, facts):
            raise ConfigError(problem)
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
        self.accumulate = accumulation(self.opt)
        self.scaler = self._loss_scale()
        self.static: StaticStep | None = None
        run, rank = Path(self.opt["path"]["experiments_root"]), int(self.opt["rank"])
        settings = settings_from(DivergenceSettings, train_opt.get("divergence"), "train.divergence")
        self.guard = DivergenceGuard(settings, run / "divergence", rank)
        self.record = ValidationRecord(run / "validations.json" if rank == 0 else None)
        self.objective = Objective(train_opt).to(self.device)
        # Ranks draw their own degradations; the offset keeps their streams apart for any sensible seed.
        self.generators = Generators(int(self.opt["manual_seed"]) + 1_000_003 * int(self.opt["rank"]))
        self.parts = self.build_parts()
        accelerate(self)
        self.values: ObjectiveValues | None = None
        self._batch_shape: torch.Size | None = None
        self.setup_optimizers()
        self.setup_schedulers()

    def build_parts(self) -> DistillParts:
        """What the loss terms may draw on besides student and data; nothing here."""
        unmet = self.objective.needs
        if unmet:
            raise ConfigError(
                f"model_type {self.opt['model_type']} trains without a teacher, but train asks for "
                f"{', '.join(sorted(unmet))}; use model_type: DCKDModel"
            )
        return DistillParts(generators=self.generators)

    def optimize_parameters(self, current_iter: int) -> None:
        """One iteration: forward, terms, backward, optimizer, moving average.

        Running means are those of rank 0 afterwards, on every process: what follows the student copies them.
        """
        if self.lq.shape != self._batch_shape:
            self._batch_shape = self.lq.shape
            batch, _, height, width = self._batch_shape
            _LOG.info("From iteration %d: batches of %d LQ patches of %dx%d px", current_iter, batch, width, height)
        self.optimizer_g.zero_grad(set_to_none=True)
        kept = KeptBuffers(self.get_bare_model(self.net_g)) if self.guard.settings.check else None
        self.values = self._forward_backward()
        self._step(current_iter, self.values, kept)
        take_from_first(self.get_bare_model(self.net_g).buffers())
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)

    def _forward_backward(self) -> ObjectiveValues:
        """Leave the gradient of the mean over the batch in place, part by part; return the mean values."""
        parts = list(zip(self.lq.chunk(self.accumulate), self.gt.chunk(self.accumulate), strict=True))
        found = self._replayed(parts) if self.static else None
        if found is None:
            found = []
            for i, (lq, gt) in enumerate(parts):
                later = i + 1 < len(parts) and self.opt["dist"]  # processes average gradients once, with the last part
                with self.net_g.no_sync() if later else contextlib.nullcontext():
                    found.append(self._compute(self.net_g, lq, gt))
        return found[0] if len(parts) == 1 else _mean(found)

    def compute(self, lq: Tensor, gt: Tensor, *drawn: Tensor) -> ObjectiveValues:
        """Add one part's gradient to the student's, of this process alone.

        Args:
            lq: (B, C, h, w) in [0, 1].
            gt: (B, C, scale * h, scale * w) in [0, 1].
            drawn: the tensors of :class:`Drawn`, if they were drawn beforehand.
        """
        return self._compute(self.get_bare_model(self.net_g), lq, gt, Drawn(*drawn) if drawn else None)

    def _compute(self, net: nn.Module, lq: Tensor, gt: Tensor, drawn: Drawn | None = None) -> ObjectiveValues:
        with region(self.runtime.precision.student, self.device):
            output = net(lq)
        values = self.objective(DistillStep(self.parts, lq, gt, output.float(), self.objective.needs, drawn))
        total = values.total / self.accumulate if self.accumulate > 1 else values.total
        # 1, or NaN where the loss is infinite with finite derivatives: the guard looks at gradients, which all
        # processes share.
        direction = 1.0 + 0.0 * total.detach()
        with backward_region(self.runtime.precision, encoder=self.parts.encoder is not None):
            (self.scaler.scale(total) if self.scaler else total).backward(direction)
        return values

    def _replayed(self, parts: Sequence[tuple[Tensor, Tensor]]) -> list[ObjectiveValues] | None:
        """Compute a batch with the recorded step; None if it cannot be recorded, now and for the rest of the run."""
        assert self.static is not None
        try:
            return self.static(parts, shared=self.opt["dist"])
        except NotRecordable as error:
            _LOG.warning("the step cannot be recorded as a CUDA graph and runs without: %s", error)
            self.static = None
            self.optimizer_g.zero_grad(set_to_none=True)
            return None

    def _step(self, current_iter: int, values: ObjectiveValues, kept: KeptBuffers | None) -> None:
        """Take or skip the optimizer's step; a skipped one leaves no trace in running means either."""
        params = [p for p in self.net_g.parameters() if p.grad is not None]
        if self.scaler:
            self.scaler.unscale_(self.optimizer_g)
        norm = torch.nn.utils.clip_grad_norm_(params, self.clip_grad_norm) if self.clip_grad_norm else None
        if kept is not None:
            norm = gradient_norm(params) if norm is None else norm
            kept.restore_unless(norm.isfinite())
            scale = self.scaler.scale(norm.new_ones(())) if self.scaler else None
            batch = {"lq": self.lq, "gt": self.gt}
            self.guard.step(self.optimizer_g, current_iter, values.losses, norm, batch, scale)
        elif self.scaler:
            self.scaler.step(self.optimizer_g)
        else:
            self.optimizer_g.step()
        if self.scaler:
            self.scaler.update()

    def _loss_scale(self) -> torch.amp.GradScaler | None:
        """Float16 has too few small numbers for the gradients of means over whole images.

        With PyTorch's 2^16, those of the contrast's large taps are a few of float16's smallest steps; a scale that is
        too high costs a few steps that are left out until it has come down.
        """
        half = "fp16" in (self.runtime.precision.student, self.runtime.precision.frozen)
        return torch.amp.GradScaler(self.device.type, init_scale=2.0**20, growth_interval=500) if half else None

    def feed_data(self, data: Mapping[str, Any]) -> None:
        images = images_on(data, self.device)
        self.lq = images["lq"]
        if "gt" in images:
            self.gt = images["gt"]

    def model_ema(self, decay: float = 0.999) -> None:
        """Move the average towards the student; buffers are copied."""
        follow(self.net_g_ema, self.get_bare_model(self.net_g), 1.0 - decay)

    def get_current_log(self) -> dict[str, float]:
        """Terms and measures of the last step, averaged over processes.

        The only place that reads them from the device; the training loop calls it when it prints, on every rank.
        """
        self.guard.settle()
        if self.values is None:
            return {}
        scalars = {**self.values.losses, "l_total": self.values.total, **self.values.measures}
        values = torch.stack([value.detach().float() for value in scalars.values()])
        if self.opt["dist"]:
            torch.distributed.all_reduce(values)
            values /= self.opt["world_size"]
        return OrderedDict(zip(scalars, values.tolist()))

    def setup_optimizers(self) -> None:
        """Any optimizer of ``torch.optim`` by name, over the parameters that train; fused on GPUs where it can be."""
        options = dict(self.opt["train"]["optim_g"])
        optimizer = getattr(torch.optim, options.pop("type"))
        params = [p for p in self.net_g.parameters() if p.requires_grad]
        if may_fuse(self.device, self.runtime) and optimizer in _FUSED and not {"fused", "foreach"} & options.keys():
            options["fused"] = True
        self.optimizer_g = optimizer(params, **options)
        self.optimizers.append(self.optimizer_g)

    def setup_schedulers(self) -> None:
        """A schedule by name, see ``training/schedules.py``."""
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

    def _init_ema(self) -> None:
        """Start the average: of a checkpoint's student from its own, else as the student if ``param_key_g`` names that.

        Without that key BasicSR's rule holds: the file's ``params_ema`` if it has one, else its ``params``.
        """
        self.net_g_ema = build_network(self.opt["network_g"]).to(self.device)
        self.model_ema(0)  # also for what a file that fits in part leaves out
        paths = self.opt["path"]
        path = paths.get("pretrain_network_g")
        if path is not None and (goes_on_from_checkpoint(self.opt, "network_g") or "param_key_g" not in paths):
            self.load_network(self.net_g_ema, path, paths.get("strict_load_g", True), "params_ema")
        self.net_g_ema.eval().requires_grad_(False)

    # --- networks and state on disk: see also stock.py ---------------------------------------------------------------

    def save(self, epoch: int, current_iter: int) -> None:
        """Write weights and training state; -1 writes weights alone. Every process has to call this.

        Raises:
            TrainingDiverged: the weights are not finite.
            CheckpointError: a file cannot be written. Earlier checkpoints stay as they were.
        """
        self.guard.settle()
        super().save(epoch, current_iter)

    def save_best(self) -> None:
        """Write the weights as ``net_g_best.pth``, with the moving average if there is one."""
        average = getattr(self, "net_g_ema", None)
        if average is None:
            self.save_network(self.net_g, "net_g", "best")
        else:
            self.save_network([self.net_g, average], "net_g", "best", ["params", "params_ema"])

    def resume_training(self, resume_state: Mapping[str, Any]) -> None:
        """Take up optimizer, schedule, random streams and what :meth:`extra_training_state` gave."""
        state, own = dict(resume_state), resume_state.get("dckd")
        saved, train_opt = zip(state["optimizers"], self.optimizers, strict=True), self.opt["train"]
        state["optimizers"] = [with_present_options(*each, train_opt["optim_g"]) for each in saved]
        saved = zip(state["schedulers"], map(initial_rates, state["optimizers"]), strict=True)
        state["schedulers"] = [schedule_state(train_opt["scheduler"], *each) for each in saved]
        super().resume_training(state)
        kept = own["validations"] if own else ()
        self.record.resume(int(state["iter"]), kept, with_file=goes_on_in_place(self.opt))
        if own:
            self.load_extra_training_state(own)
        else:
            _LOG.warning("The training state was written by stock BasicSR: what only this package keeps starts afresh")

    def extra_training_state(self) -> dict[str, Any]:
        """State outside student, optimizer and scheduler; tensors and plain containers only."""
        generators = gather(self.generators.training_state())
        own: dict[str, Any] = {
            "generators": generators,
            "validations": self.record.as_plain(),
            "skipped": self.guard.training_state(),
        }
        if self.scaler:
            own["loss_scale"] = self.scaler.state_dict()
        return {"dckd": own}

    def load_extra_training_state(self, state: Mapping[str, Any]) -> None:
        """Restore what is under ``dckd`` in the training state."""
        self.guard.load_training_state(state["skipped"])
        if self.scaler and "loss_scale" in state:
            self.scaler.load_state_dict(dict(state["loss_scale"]))
        if generators := of_this_process(state["generators"], self.opt):
            self.generators.load_training_state(generators, self.device)

    # --- testing ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def test(self) -> None:
        """Restore ``self.lq`` with the moving average, if there is one, as ``val`` says; see ``restore.py``."""
        net = self.net_g_ema if hasattr(self, "net_g_ema") else self.get_bare_model(self.net_g)
        training = net.training
        self.output = restorer(net.eval(), self.facts, self.opt.get("val") or {})(self.lq)
        net.train(training)

    def nondist_validation(self, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
        validate(self, dataloader, current_iter, tb_logger, save_img)

    def dist_validation(self, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
        validate(self, dataloader, current_iter, tb_logger, save_img)


def _mean(values: Sequence[ObjectiveValues]) -> ObjectiveValues:
    def mean(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {name: torch.stack([each[name].detach() for each in found]).mean() for name in found[0]}

    return ObjectiveValues(mean([v.losses for v in values]), mean([v.measures for v in values]))


def _set_rates(optimizer: Any, rates: Sequence[float]) -> None:
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
