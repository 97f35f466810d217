"""The codebook as a BasicSR model: a VQGAN that learns to reconstruct images, and with that the codes it does it by."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from basicsr.losses import build_loss
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn

from ..archs import VQGAN
from ..codebook import (
    CodebookAverages,
    CodebookSettings,
    Reconstructing,
    ReconstructionStep,
    Step,
    adversarial_settings,
)
from ..distill import Generators, settings_from
from ..errors import ConfigError
from ..inference.restore import restorer
from ..install import register
from ..kinds import TrainingCodebook
from ..losses.adversarial import adaptive_weight, hinge_of_discriminator, hinge_of_generator
from ..losses.quantization import code_figures
from ..training.processes import average, gather
from ..training.runtime import backward_region, region, set_float32
from ..training.state import of_this_process
from .base import TrainedModel

__all__ = ["VQGANModel"]

_LOG = logging.getLogger("basicsr")
_IMAGE_LOSSES = {"pixel_opt": "l_pix", "perceptual_opt": "l_percep"}


@register(MODEL_REGISTRY)
class VQGANModel(TrainedModel, TrainingCodebook):
    """Trains the VQGAN whose encoder and codebook a distillation takes for ``network_vqgan``.

    It learns from images alone, which are their own ground truth: the GT of a paired set, else its inputs. With
    ``network_d`` a discriminator joins in (Esser et al., CVPR 2021), from the iteration that ``train.adversarial``
    says. The averages of which the codes are made, and the stream that revives dead ones, are in the training state;
    the weights are in the official layout.
    """

    labels: tuple[str, ...] = ("g", "d")
    strips = True

    def __init__(self, opt: dict[str, Any]) -> None:
        if not opt.get("network_d"):
            self.labels = ("g",)
        self._passed: Tensor | None = None
        super().__init__(opt)

    net_g: VQGAN
    net_g_ema: VQGAN
    net_d: nn.Module

    def init_step(self) -> None:
        """Build losses, codebook averages and what runs the networks."""
        train_opt, rank = self.opt["train"], int(self.opt["rank"])
        self._check_networks()
        settings = settings_from(CodebookSettings, train_opt.get("codebook"), "train.codebook")
        self.decoder_first = settings.decoder_first
        self.adversarial = adversarial_settings(train_opt.get("adversarial"))
        self.generators = Generators(int(self.opt["manual_seed"]) + 1_000_003 * rank)
        self.averages = CodebookAverages(
            self.net_g.quantize,
            settings,
            self.generators.on(self.device),
            average=average,
            processes=int(self.opt["world_size"]),
            rank=rank,
            fresh=self.opt["path"].get("pretrain_network_g") is None,
        )
        self.region = partial(region, self.runtime.precision.student, self.device)
        losses = {name: build_loss(train_opt[key]) for key, name in _IMAGE_LOSSES.items() if train_opt.get(key)}
        set_float32(self.runtime.precision)
        if self.runtime.compile or self.runtime.cuda_graph:
            _LOG.info("VQGANModel runs its step as it is: neither compiled nor as a CUDA graph")
        step = ReconstructionStep(self.net_g, losses, settings.commitment, self.region).to(self.device)
        self.runs_g = self.data_parallel(step)
        self.runs_d = self.data_parallel(self.net_d) if "d" in self.labels else None

    def _check_networks(self) -> None:
        if not isinstance(self.net_g, VQGAN) or not hasattr(self.net_g, "decoder"):
            raise ConfigError(
                f"model_type {self.opt['model_type']} trains a VQGAN with its decoder; give network_g type: VQGAN, and "
                "decoder: true where its weights have none"
            )
        size = self.opt["datasets"]["train"].get("gt_size")
        if "d" not in self.labels or not isinstance(size, int):
            return
        try:  # now, and not in the iteration in which it joins in
            with torch.no_grad():
                self.net_d.eval()(torch.zeros(1, self.net_g.config.out_ch, size, size, device=self.device))
        except RuntimeError as error:
            raise ConfigError(
                f"network_d cannot judge patches of gt_size {size} ({str(error).splitlines()[0]}); give larger ones, "
                "or a network_d of fewer levels"
            ) from error
        self.net_d.train()

    def feed_data(self, data: Mapping[str, Any]) -> None:
        super().feed_data(data)
        self.lq = self.lq if self.gt is None else self.gt

    def optimize_parameters(self, current_iter: int) -> None:
        """One iteration: reconstruct, step of the network, codes, step of the discriminator, moving average."""
        judged = self.runs_d is not None and current_iter >= self.adversarial.start
        self.optimizer_g.zero_grad(set_to_none=True)
        kept = self.kept_buffers(self.net_g)
        step: Step = self.runs_g(self.lq)
        losses = dict(step.losses)
        if judged:
            losses["l_adv"] = self._adversarial(step)
        self.values = {**losses, "l_total": self._backward(losses)}
        learn = current_iter > self.decoder_first
        for parameter in () if learn else (*self.net_g.encoder.parameters(), *self.net_g.quant_conv.parameters()):
            parameter.grad = None  # which processes have exchanged: they expect one of each parameter
        norm = self.take_step("g", current_iter, losses, {"image": self.lq}, kept)
        self.averages.update(step.outputs, step.indices, None if norm is None else norm.isfinite(), learn=learn)
        if judged:
            self._teach_discriminator(current_iter, step)
        self.after_step()

    def _backward(self, losses: Mapping[str, Tensor]) -> Tensor:
        total = torch.stack(list(losses.values())).sum()
        direction = 1.0 + 0.0 * total.detach()  # NaN where the loss is infinite with finite derivatives
        with backward_region(self.runtime.precision, encoder=False):
            (self.scaler.scale(total) if self.scaler else total).backward(direction)
        return total.detach()

    def _adversarial(self, step: Step) -> Tensor:
        """Return the loss that asks for reconstructions which the discriminator takes for images."""
        self.net_d.requires_grad_(False)
        with self.region():
            scores = self.net_d(step.made)
        self.net_d.requires_grad_(True)
        loss = hinge_of_generator(scores)
        weight = self.adversarial.weight
        if not self.adversarial.adaptive:
            return weight * loss
        made = torch.stack([loss for name, loss in step.losses.items() if name in _IMAGE_LOSSES.values()]).sum()
        last = self.net_g.decoder.conv_out.weight
        # Means over all pixels have gradients below float16's numbers; 2^20, as the losses may have, lies above them.
        scale = step.made.numel() ** 0.5 if self.scaler else 1.0
        pulls = [torch.autograd.grad(scale * each, last, retain_graph=True)[0] / scale for each in (made, loss)]
        return weight * adaptive_weight(pulls[0], pulls[1]) * loss

    def _teach_discriminator(self, iteration: int, step: Step) -> None:
        assert self.runs_d is not None
        self.optimizer_d.zero_grad(set_to_none=True)
        kept = self.kept_buffers(self.net_d)
        with self.region():
            real, fake = self.runs_d(torch.cat([step.image, step.made.detach()])).chunk(2)
        losses = {"l_d": hinge_of_discriminator(real, fake)}
        self._backward(losses)
        self.take_step("d", iteration, losses, {"image": self.lq}, kept)
        self.values |= losses

    @torch.no_grad()
    def model_ema(self, decay: float = 0.999) -> None:
        """Move the average towards the network; its codes are the network's own.

        They are averages already. Averaged once more, a code that was revived lay between two places for thousands of
        iterations, near no encoder output.
        """
        super().model_ema(decay)
        self.net_g_ema.quantize.load_state_dict(self.net_g.quantize.state_dict())

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        with warnings.catch_warnings():  # a discriminator that joins later has a schedule from the start
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
            super().update_learning_rate(current_iter, warmup_iter)

    def get_current_log(self) -> dict[str, float]:
        """Add usage and perplexity of the codebook since the last call to the values of the last step."""
        if self.values:
            self.values = {**self.values, **self.averages.figures()}
        return super().get_current_log()

    # --- state -----------------------------------------------------------------------------------------------------

    def extra_training_state(self) -> dict[str, Any]:
        """Add the averages of the codebook, and the stream that revives dead codes."""
        state = super().extra_training_state()
        state["dckd"] |= {
            "codebook": {key: value.cpu() for key, value in self.averages.state_dict().items()},
            "generators": gather(self.generators.training_state()),
        }
        return state

    def load_extra_training_state(self, state: Mapping[str, Any]) -> None:
        super().load_extra_training_state(state)
        self.averages.load_state_dict(state["codebook"])
        if generators := of_this_process(state["generators"], self.opt):
            self.generators.load_training_state(generators, self.device)

    # --- testing ---------------------------------------------------------------------------------------------------

    def validation_batch(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return a batch in which the image is input and ground truth: the GT of a pair, else the input."""
        image = batch.get("gt", batch["lq"])
        return {**batch, "lq": image, "gt": image}

    @torch.no_grad()
    def test(self) -> None:
        """Reconstruct ``self.lq`` with the moving average, if there is one, and count the codes."""
        net: VQGAN = getattr(self, "net_g_ema", self.net_g)
        training = net.training
        if self._passed is None:
            self._passed = torch.zeros(len(net.quantize.embedding.weight), device=self.device)
        network = Reconstructing(net.eval(), self._passed)
        self.output = restorer(network, self.facts, self.opt.get("val") or {})(self.lq)
        net.train(training)

    def figures_of_set(self) -> dict[str, float]:
        """Return usage and perplexity over the images of all processes since the last call; padding counts too."""
        passed = self._passed if self._passed is not None else torch.zeros(1, device=self.device)
        self._passed = None
        total = torch.stack([each for each in gather(passed.cpu()) if len(each) > 1] or [passed.cpu()]).sum(0)
        return {name: value.item() for name, value in code_figures(total).items()}
