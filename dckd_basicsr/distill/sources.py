"""What a step draws on beside student and data: frozen networks, settings of the negatives, random numbers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .consistency import Transform, draw_transform
from .degradation import Degradation
from .encoder import FrozenEncoder
from .features import FeatureMaps
from .generators import Generators
from .history import HistoryModel
from .needs import Need
from .settings import ConsistencySettings, NegativesSettings

__all__ = ["Drawn", "Sources"]


class Drawn(NamedTuple):
    """What a step draws, where that has to be done beforehand.

    Attributes:
        degraded: D_j(LQ) for all j, (num * B, C, h, w).
        switches: of the :class:`Transform` for the teacher, (4, B); None where no term needs it.
    """

    degraded: Tensor
    switches: Tensor | None = None


@dataclass
class Sources:
    """The frozen networks and settings of a run. What no term needs may be left out.

    Attributes:
        generators: randomness of degradations and transforms.
        teachers: by name, frozen, in evaluation mode; LQ to an image in [0, 1].
        history: maps degraded LQ to negatives, without gradients.
        encoder: measures images.
        negatives: how many, and how LQ is degraded.
        consistency: how LQ is transformed for the teacher.
        frozen_region: makes the context in which teachers and history model run, for instance of mixed precision.
        maps: hooks on the teachers, by name.
        widths: numbers that the widest layer of a teacher (by name), or of the history model, gives for each pixel of
            LQ, see :func:`.widest_layer`; on a CPU this decides how many images pass it at once.
        history_width: the same of the history model.
    """

    generators: Generators = field(default_factory=lambda: Generators(0))
    teachers: dict[str, nn.Module] = field(default_factory=dict)
    history: HistoryModel | None = None
    encoder: FrozenEncoder | None = None
    negatives: NegativesSettings = field(default_factory=NegativesSettings)
    consistency: ConsistencySettings = field(default_factory=ConsistencySettings)
    frozen_region: Callable[[], AbstractContextManager] = nullcontext
    maps: dict[str, FeatureMaps] = field(default_factory=dict)
    widths: dict[str, float] = field(default_factory=dict)
    history_width: float = 32.0

    @property
    def first_teacher(self) -> str:
        """The name of the teacher that is meant where none is named; "teacher" where there is none."""
        return next(iter(self.teachers), "teacher")

    def meant(self, name: str | None) -> str:
        """Return the name of the teacher that an option means: None, or "teacher" of several, is the first."""
        return self.first_teacher if name is None or (name == "teacher" and name not in self.teachers) else name

    def networks(self) -> list[nn.Module]:
        """Return all networks, none of which trains."""
        others: list[nn.Module | None] = [self.history, self.encoder]
        return [*self.teachers.values(), *(net for net in others if net is not None)]

    def negative_inputs(self, lq: Tensor) -> Tensor:
        """Draw D_j(LQ) for all j, (num * B, C, h, w), one negative after another, the clean LQ last."""
        degrade = Degradation(self.negatives.degradation, self.generators)
        inputs = [degrade(lq) for _ in range(self.negatives.num - int(self.negatives.include_clean))]
        return torch.cat([*inputs, lq] if self.negatives.include_clean else inputs)

    def transform(self, lq: Tensor) -> Transform:
        """Draw g for label consistency."""
        return draw_transform(len(lq), self.consistency, self.generators, lq.device)

    def draw(self, lq: Tensor, needs: Collection[Hashable]) -> Drawn:
        """Draw what a step with negatives would draw by itself, in the same order."""
        switches = self.transform(lq).switches if Need.CONSISTENCY in needs else None  # the teacher runs first
        return Drawn(self.negative_inputs(lq), switches)

    def decides_shapes(self) -> bool:
        """Whether negatives need random numbers that decide about shapes, which a recording cannot draw."""
        degradation = self.negatives.degradation
        return degradation.blur.prob > 0 or degradation.resize.prob > 0 or 0 < degradation.noise.prob < 1
