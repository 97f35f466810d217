"""DCKD as a BasicSR model: teachers, history model and VQGAN encoder around a student."""

from __future__ import annotations

from functools import partial
from typing import Any

from basicsr.utils.registry import MODEL_REGISTRY
from torch import nn

from ..archs import VQGAN
from ..archs.build import WeightSource, build, build_encoder
from ..distill import (
    OF_ENCODER,
    ConsistencySettings,
    EncoderSettings,
    FrozenEncoder,
    HistoryModel,
    HistorySettings,
    Need,
    NegativesSettings,
    Sources,
    needed_teachers,
    settings_from,
)
from ..distill.terms import ContrastTerm
from ..errors import ConfigError
from ..install import register
from ..kinds import Distilling
from ..training.runtime import region
from .restoration_model import RestorationModel

__all__ = ["DCKDModel"]


@register(MODEL_REGISTRY)
class DCKDModel(RestorationModel, Distilling):
    """Dynamic contrastive knowledge distillation, its ablations and its baselines: which terms ``train`` has decides.

    A run without ``contrastive_opt`` has no history model and no negatives; one without contrast and distribution has
    no encoder; one with ``pixel_opt`` alone does not build the teacher.
    """

    def build_sources(self, needs: frozenset[Any]) -> Sources:
        """Build and load only what the switched-on terms need."""
        train_opt = self.opt["train"]
        history = None
        if Need.TAPS in needs:
            settings = settings_from(HistorySettings, train_opt.get("history"), "train.history")
            self.follows_average = settings.source == "ema" and self.ema_decay > 0
            history = HistoryModel(self.followed(), settings).to(self.device)
        return Sources(
            self.generators,
            teachers=self._build_teachers(needs),
            history=history,
            encoder=self._build_encoder() if needs & OF_ENCODER else None,
            negatives=settings_from(NegativesSettings, train_opt.get("negatives"), "train.negatives"),
            consistency=settings_from(ConsistencySettings, train_opt.get("consistency"), "train.consistency"),
            frozen_region=partial(region, self.runtime.precision.frozen, self.device),
        )

    follows_average = False

    def init_step(self) -> None:
        super().init_step()
        for term in self.distiller.terms.values():
            if isinstance(term, ContrastTerm) and self.sources.encoder is not None:
                self._check_weights_per_tap(term, self.sources.encoder.vqgan)

    def followed(self) -> nn.Module:
        """Return what the history model follows: the student's moving average, or the student itself."""
        return self.net_g_ema if self.follows_average else self.net_g

    @property
    def history(self) -> HistoryModel | None:
        """The student's past, if a term needs it."""
        return self.sources.history

    def _build_teachers(self, needs: frozenset[Any]) -> dict[str, nn.Module]:
        blocks = needed_teachers(self.opt, needs)
        return {name: self._build_teacher(name, dict(block)) for name, block in blocks.items()}

    def _build_teacher(self, name: str, options: dict[str, Any]) -> nn.Module:
        where = "network_teacher" if name == "teacher" else f"network_teachers ({name})"
        weights = WeightSource.named(self.opt["path"], name)
        teacher, facts = build(options, weights=weights, scale=self.scale, device=self.device, frozen=True, where=where)
        self.check_patches(where, facts, options)
        return teacher

    def _build_encoder(self) -> FrozenEncoder:
        weights = WeightSource.named(self.opt["path"], "vqgan")
        assert weights is not None  # the check of option files asks for it
        settings = settings_from(EncoderSettings, self.opt["train"].get("encoder"), "train.encoder")
        return FrozenEncoder(build_encoder(self.opt["network_vqgan"], weights, device=self.device), settings)

    def _check_weights_per_tap(self, term: ContrastTerm, vqgan: VQGAN) -> None:
        weights = term.tap_weights
        if weights is not None and len(weights) != vqgan.num_taps:
            raise ConfigError(
                f"the contrast {term.label} has weights with {len(weights)} entries, but the VQGAN has "
                f"{vqgan.num_taps} levels; give one weight for each, shallow to deep"
            )
