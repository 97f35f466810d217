"""DCKD as a BasicSR model: teacher, history model and VQGAN encoder around a student."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from basicsr.archs import build_network
from basicsr.utils.registry import MODEL_REGISTRY
from torch import nn

from ..archs import VQGAN, facts_of, vqgan_options_from_state
from ..distill import (
    ConsistencySettings,
    DistillParts,
    EncoderSettings,
    FrozenEncoder,
    HistoryModel,
    HistorySettings,
    Need,
    NegativesSettings,
    settings_from,
)
from ..errors import ConfigError
from ..install import register
from ..kinds import Distilling
from ..training.runtime import region
from ..weight_files import load_into, load_weights
from .restoration_model import RestorationModel

__all__ = ["DCKDModel"]

_LOG = logging.getLogger("basicsr")
_UNUSED_VQGAN_PARTS = ("decoder.", "post_quant_conv.", "loss.")


@register(MODEL_REGISTRY)
class DCKDModel(RestorationModel, Distilling):
    """Dynamic contrastive knowledge distillation, its ablations and its baselines: which terms ``train`` has decides.

    A run without ``contrastive_opt`` has no history model and no negatives; one without contrast and distribution has
    no encoder; one with ``pixel_opt`` alone does not build the teacher.
    """

    history: HistoryModel | None = None

    def build_parts(self) -> DistillParts:
        """Build and load only what the switched-on terms need."""
        needs, train_opt = self.objective.needs, self.opt["train"]
        if Need.TAPS in needs:
            settings = settings_from(HistorySettings, train_opt.get("history"), "train.history")
            self.history = HistoryModel(self.history_source(settings), settings).to(self.device)
        return DistillParts(
            generators=self.generators,
            teacher=self._build_teacher() if Need.TEACHER in needs else None,
            history=self.history,
            encoder=self._build_encoder() if needs & {Need.TAPS, Need.CODES} else None,
            negatives=settings_from(NegativesSettings, train_opt.get("negatives"), "train.negatives"),
            consistency=settings_from(ConsistencySettings, train_opt.get("consistency"), "train.consistency"),
            frozen_region=partial(region, self.runtime.precision.frozen, self.device),
        )

    def history_source(self, settings: HistorySettings) -> nn.Module:
        """The network the history model follows: the student's moving average, or the student itself."""
        if settings.source == "ema" and self.ema_decay > 0:
            return self.net_g_ema
        return self.get_bare_model(self.net_g)

    def optimize_parameters(self, current_iter: int) -> None:
        """One iteration; the history model follows after the moving average, as in the published code."""
        super().optimize_parameters(current_iter)
        if self.history and self.history.update_if_due(current_iter, self.history_source(self.history.settings)):
            _LOG.info("History model updated at iteration %d (update %d)", current_iter, self.history.updates)

    def extra_training_state(self) -> dict[str, Any]:
        state = super().extra_training_state()
        if self.history:
            state["dckd"]["history"] = self.history.training_state()
        return state

    def load_extra_training_state(self, state: Mapping[str, Any]) -> None:
        super().load_extra_training_state(state)
        if self.history and "history" in state:
            self.history.load_training_state(state["history"])
        elif self.history:
            _LOG.warning("the training state holds no history model: it starts as a copy of the resumed student")

    def _build_teacher(self) -> nn.Module:
        options, paths = self.opt["network_teacher"], self.opt["path"]
        teacher = build_network(options)
        path = paths.get("pretrain_network_teacher")
        if path is not None:
            weights = load_weights(path, paths.get("param_key_teacher"))
            load_into(teacher, weights.state, path, strict=paths.get("strict_load_teacher", True))
        scale = int(self.opt.get("scale", 1))
        facts = facts_of(teacher, options, scale)
        if facts.scale != scale:
            raise ConfigError(
                f"network_teacher ({options['type']}) upscales by {facts.scale}, but scale is {scale}; "
                "use a teacher of the same scale"
            )
        self.check_patches("network_teacher", facts)
        return teacher.to(self.device).eval().requires_grad_(False)

    def _build_encoder(self) -> FrozenEncoder:
        path = self.opt["path"]["pretrain_network_vqgan"]
        state = load_weights(path, self.opt["path"].get("param_key_vqgan")).state
        options = {k: v for k, v in self.opt["network_vqgan"].items() if k != "type"}
        if not options:
            options = vqgan_options_from_state(state)
        vqgan = VQGAN(**{**options, "decoder": False})
        used = {k: v for k, v in state.items() if not k.startswith(_UNUSED_VQGAN_PARTS)}
        load_into(vqgan, used, path)
        settings = settings_from(EncoderSettings, self.opt["train"].get("encoder"), "train.encoder")
        self._check_weights_per_tap(vqgan)
        return FrozenEncoder(vqgan, settings).to(self.device)

    def _check_weights_per_tap(self, vqgan: VQGAN) -> None:
        weights = self.objective.tap_weights
        if weights is not None and len(weights) != vqgan.num_taps:
            raise ConfigError(
                f"train.contrastive_opt.weights has {len(weights)} entries, but the VQGAN has {vqgan.num_taps} levels; "
                "give one weight for each, shallow to deep"
            )
