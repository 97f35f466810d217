"""A model with a discriminator, as somebody who needs one would write it in a module of their own."""

from __future__ import annotations

import os
import signal

import torch
from basicsr.utils.registry import MODEL_REGISTRY
from torch.nn import functional as F

from dckd_basicsr.models.base import TrainedModel


@MODEL_REGISTRY.register()
class AdversarialModel(TrainedModel):
    labels = ("g", "d")
    extra_keys = {  # noqa: RUF012
        "top": {"network_d": dict},
        "path": {"pretrain_network_d": str | None, "strict_load_d": bool, "param_key_d": str | None},
        "train": {"optim_d": dict, "adversarial_weight": float},
    }

    def init_step(self) -> None:
        self.runs_g, self.runs_d = self.data_parallel(self.net_g), self.data_parallel(self.net_d)

    def optimize_parameters(self, current_iter: int) -> None:
        if os.environ.get("DIES_AT") == str(current_iter):
            os.kill(os.getpid(), signal.SIGKILL)
        kept_g, kept_d = self.kept_buffers(self.net_g), self.kept_buffers(self.net_d)
        batch = {"lq": self.lq, "gt": self.gt}
        self.optimizer_g.zero_grad(set_to_none=True)
        self.net_d.requires_grad_(False)
        output = self.runs_g(self.lq)
        fooled = F.softplus(-self.net_d(output)).mean()
        losses = {"l_pix": F.l1_loss(output, self.gt), "l_adv": self.opt["train"]["adversarial_weight"] * fooled}
        sum(losses.values()).backward()
        self.take_step("g", current_iter, losses, batch, kept_g)

        self.net_d.requires_grad_(True)
        self.optimizer_d.zero_grad(set_to_none=True)
        both = self.runs_d(torch.cat([self.gt, output.detach()]))
        real, fake = both.chunk(2)
        judged = {"l_d": F.softplus(-real).mean() + F.softplus(fake).mean()}
        judged["l_d"].backward()
        self.take_step("d", current_iter, judged, batch, kept_d)
        self.values = losses | judged
        self.after_step()
