"""A model with one student: it trains on its own loss terms; :class:`DCKDModel` gives it teachers."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn

from ..archs.facts import ArchFacts
from ..config.rules import loaded_channel_problems
from ..data.loaders import accumulation, patch_stages
from ..distill import STUDENT, TOTAL, Distiller, FeatureMap, Generators, Need, Sources, build_terms
from ..errors import ConfigError
from ..install import register
from ..kinds import TakingTerms
from ..training.processes import gather
from ..training.runtime import backward_region, region
from ..training.state import of_this_process
from ..training.step_runner import StepRunner
from .arranging import arrange_model, drawn_beforehand, recorded_step
from .base import TrainedModel

__all__ = ["RestorationModel"]

_LOG = logging.getLogger("basicsr")


@register(MODEL_REGISTRY)
class RestorationModel(TrainedModel, TakingTerms):
    """Trains and tests one network on its own loss terms (``train.pixel_opt``); :class:`DCKDModel` adds the others.

    Everything that a step computes is in :attr:`distiller`; a subclass gives it networks in :meth:`build_sources`.
    """

    distiller: Distiller
    wrapped: nn.Module
    """What runs the distiller in this process, see :meth:`TrainedModel.data_parallel`."""

    @property
    def sources(self) -> Sources:
        """Frozen networks and settings of the terms."""
        return self.distiller.sources

    def check_patches(self, network: str, facts: ArchFacts, options: Mapping[str, Any] | None = None) -> None:
        """Refuse training patches that a network cannot take, also one whose rules only its weight file tells.

        Args:
            network: what messages call it; its key in the option file, if it has one.
            facts: its size rules.
            options: its block; that under ``network`` by default.

        Raises:
            ConfigError: names the network, the channels or the patch, and what would fit.
        """
        block = self.opt[network] if options is None else options
        for problem in loaded_channel_problems({**self.opt, network: block}, network, facts):
            raise ConfigError(problem)
        train = self.opt["datasets"]["train"]
        if not (train.get("progressive") or train.get("gt_size")):
            return  # a dataset that sizes its patches in a way of its own
        for stage in patch_stages(self.opt):
            if not facts.admits(stage.gt_size // facts.scale):
                raise ConfigError(
                    f"gt_size {stage.gt_size} in datasets.train gives LQ patches of {stage.gt_size // facts.scale} px, "
                    f"but {network} ({block['type']}) takes multiples of {facts.multiple_of}, at least "
                    f"{facts.minimum}; make gt_size a multiple of {facts.scale * facts.multiple_of}"
                )

    # --- what a step needs -----------------------------------------------------------------------------------------

    def init_step(self) -> None:
        """Build terms, frozen networks and what runs them."""
        train_opt = self.opt["train"]
        self.check_patches("network_g", self.facts)
        self.accumulate = accumulation(self.opt)
        terms = build_terms(train_opt)
        # Ranks draw their own degradations; the offset keeps their streams apart for any sensible seed.
        self.generators = Generators(int(self.opt["manual_seed"]) + 1_000_003 * int(self.opt["rank"]))
        needs = frozenset[Any]().union(*(each.term.needs for each in terms))
        sources = self.build_sources(needs)
        self.distiller = Distiller(
            self.net_g,
            terms,
            sources,
            total_iter=int(train_opt["total_iter"]),
            student_region=partial(region, self.runtime.precision.student, self.device),
            example=self._example(),
        ).to(self.device)
        arrange_model(self)
        self.wrapped = self.data_parallel(self.distiller)
        recorded = recorded_step(self) if self.runtime.cuda_graph else None
        alone = self._without_exchange if self.opt["dist"] else contextlib.nullcontext
        self.runner = StepRunner(self._compute, recorded, shared=bool(self.opt["dist"]), alone=alone)
        self._batch_shape: torch.Size | None = None

    def build_sources(self, needs: frozenset[Any]) -> Sources:
        """Return what the loss terms may draw on besides student and data; nothing here.

        Args:
            needs: of all terms that are on.
        """
        own = {need for need in needs if isinstance(need, FeatureMap) and need.network == STUDENT}
        unmet = needs - own - {Need.GT}
        if unmet:
            raise ConfigError(
                f"model_type {self.opt['model_type']} trains without a teacher, but train asks for "
                f"{', '.join(sorted(str(need) for need in unmet))}; use model_type: DCKDModel"
            )
        return Sources(self.generators)

    def lq_side(self) -> int:
        """Return the side of the first LQ patches in px; some 64 where a dataset sizes them in a way of its own."""
        return patch_stages(self.opt)[0].gt_size // self.scale or self.facts.padded(64, 64)[0]

    def _example(self) -> Tensor:
        side = self.lq_side()
        return torch.zeros(1, self.facts.input_channels or 3, side, side, device=self.device)

    def parameters_of(self, label: str) -> Iterable[nn.Parameter]:
        """Return the student's parameters and what trains of the terms' own layers, also of those not active yet."""
        return [*self.net_g.parameters(), *(p for found in self.distiller.trained.values() for p in found)]

    # --- an iteration ----------------------------------------------------------------------------------------------

    def optimize_parameters(self, current_iter: int) -> None:
        """One iteration: forward, terms, backward, optimizer, moving average, history model."""
        if self.lq.shape != self._batch_shape:
            self._batch_shape = self.lq.shape
            batch, _, height, width = self._batch_shape
            _LOG.info("From iteration %d: batches of %d LQ patches of %dx%d px", current_iter, batch, width, height)
        self._begin(current_iter)
        self.check_ground_truth()
        self.optimizer_g.zero_grad(set_to_none=True)
        kept = self.kept_buffers(self.distiller)
        self.values = self._forward_backward()
        losses = {name: self.values[name] for name in self.distiller.active}
        self.take_step("g", current_iter, losses, dict(zip(("lq", "gt"), self.images())), kept)
        self.after_step()
        if self.distiller.follow(current_iter, self.followed()):
            assert self.sources.history is not None
            updates = self.sources.history.updates
            _LOG.info("History model updated at iteration %d (update %d)", current_iter, updates)

    def images(self) -> tuple[Tensor, ...]:
        """Return the batch: LQ and, where there is one, GT."""
        return (self.lq,) if self.gt is None else (self.lq, self.gt)

    def parts(self) -> list[tuple[Tensor, ...]]:
        """Return :meth:`images` cut into the parts that go through one after the other."""
        return list(zip(*(images.chunk(self.accumulate) for images in self.images()), strict=True))

    def check_ground_truth(self) -> None:
        """Raise ConfigError where the batch has no ground truth and terms ask for it; the check knows our own sets."""
        if self.gt is not None or Need.GT not in self.distiller.needs:
            return
        names = [name for name in self.distiller.active if Need.GT in self.distiller.needs_of([name])]
        raise ConfigError(
            f"{', '.join(names)}: {'it needs' if len(names) == 1 else 'they need'} ground truth, and datasets.train "
            f"({self.opt['datasets']['train']['type']}) gave none; leave such terms out of train, or give pairs"
        )

    def shared_modules(self) -> Iterable[nn.Module]:
        """Return the student with the terms' own layers."""
        return [self.distiller]

    def followed(self) -> nn.Module:
        """Return the network that a history model follows."""
        return self.net_g

    def _begin(self, iteration: int) -> None:
        """Set the terms' weights; say when terms end or start."""
        before = self.distiller.active
        self.distiller.begin(iteration)
        now = self.distiller.active
        for verb, names in (("without", set(before) - set(now)), ("with", set(now) - set(before))):
            if names:
                _LOG.info("From iteration %d: %s %s, as the weights say", iteration, verb, ", ".join(sorted(names)))
        if self._leave_out_layers():  # in the first iteration too: some may start later
            self.wrapped = self.data_parallel(self.distiller)

    def _leave_out_layers(self) -> bool:
        """Let only the layers of active terms train; tell whether any were switched."""
        switched = False
        for name, parameters in self.distiller.trained.items():
            wanted = name in self.distiller.active
            for parameter in parameters:
                switched |= parameter.requires_grad != wanted
                parameter.requires_grad_(wanted)
        return switched

    def _forward_backward(self) -> dict[str, Tensor]:
        """Leave the gradient of the mean over the batch in place, part by part; return the mean values."""
        found = self.runner(self.parts(), self.distiller.variant)
        if len(found) == 1:
            return found[0]
        means = {name: torch.stack([each[name].detach() for each in found]).mean() for name in found[0]}
        total = sum(means[name] for name in self.distiller.active)
        return means | {TOTAL: total}  # type: ignore[return-value]

    def _compute(self, *images: Tensor) -> dict[str, Tensor]:
        """Add one part's gradient to the student's, averaged over processes if there are several."""
        lq, gt = images[0], images[1] if len(images) > 1 else None
        return self._backward(self.wrapped(lq, gt, *drawn_beforehand(self, lq)))

    def compute(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Add one part's gradient to the student's, of this process alone.

        Args:
            inputs: a part as :meth:`images` has it, then what was drawn beforehand, see :meth:`Distiller.forward`.
        """
        count = len(self.images())
        images, drawn = inputs[:count], inputs[count:]
        return self._backward(self.distiller(images[0], images[1] if count > 1 else None, *drawn))

    def _backward(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        total = values[TOTAL] / self.accumulate if self.accumulate > 1 else values[TOTAL]
        # 1, or NaN where the loss is infinite with finite derivatives: the guard looks at gradients, which all
        # processes share.
        direction = 1.0 + 0.0 * total.detach()
        with backward_region(self.runtime.precision, encoder=self.sources.encoder is not None):
            (self.scaler.scale(total) if self.scaler else total).backward(direction)
        return values

    def _without_exchange(self) -> contextlib.AbstractContextManager:
        return self.wrapped.no_sync()  # type: ignore[operator]

    # --- state -----------------------------------------------------------------------------------------------------

    def extra_training_state(self) -> dict[str, Any]:
        """Add the terms' random streams, history model and layers."""
        state = super().extra_training_state()
        state["dckd"] |= {
            "generators": gather(self.generators.training_state()),
            **self.distiller.training_state(),
            "total_iter": self.distiller.total_iter,
        }
        return state

    def load_extra_training_state(self, state: Mapping[str, Any]) -> None:
        super().load_extra_training_state(state)
        if generators := of_this_process(state["generators"], self.opt):
            self.generators.load_training_state(generators, self.device)
        before, now = state.get("total_iter"), self.distiller.total_iter
        if self.distiller.has_schedules and before not in (None, now):
            _LOG.warning(
                "train.total_iter was %s when the run was saved and is %s now; weights and terms that follow a "
                "schedule go on as if the run had had this length from the start",
                *(before, now),
            )
        for missing in self.distiller.load_training_state(state):
            _LOG.warning("the training state holds no %s", missing)
