"""What one batch can offer to the loss terms, each part computed once and only if a term asks for it.

The costs of a DCKD step are the passes through teacher, history model and encoder. Here every image passes each
network once: the teacher's input and its transformed copy together, all negatives together, and everything that needs
no gradient (teacher output and negatives) in one encoder batch that stops at the last tap where no code is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from ..archs.vqgan_arch import Encoding
from .chunking import images_at_once
from .consistency import Transform, draw_transform
from .degradation import Degradation
from .encoder import FrozenEncoder
from .generators import Generators
from .settings import ConsistencySettings, NegativesSettings

__all__ = ["DistillParts", "DistillStep", "Drawn", "Need"]

P = TypeVar("P")


class Need:
    """What a term may ask of a step; the objective collects these so that passes can be shared."""

    TEACHER = "teacher"
    CONSISTENCY = "consistency"
    TAPS = "taps"
    CODES = "codes"


class Drawn(NamedTuple):
    """What a step draws, where that has to be done beforehand.

    Attributes:
        degraded: D_j(LQ) for all j, (num * B, C, h, w).
        switches: of the :class:`Transform` for the teacher, (4, B); None where no term needs it.
    """

    degraded: Tensor
    switches: Tensor | None = None


@dataclass
class DistillParts:
    """The networks and settings of a run. A part that no term needs may be None.

    Attributes:
        generators: randomness of degradations and transforms.
        teacher: frozen, in evaluation mode; LQ to an image in [0, 1].
        history: maps degraded LQ to negatives, without gradients.
        encoder: measures images.
        negatives: how many, and how LQ is degraded.
        consistency: how LQ is transformed for the teacher.
        frozen_region: makes the context in which teacher and history model run, for instance one of mixed precision.
        teacher_width: numbers that the teacher's widest layer gives for each pixel of LQ, see :func:`.widest_layer`; on
            a CPU this decides how many images pass it at once.
        history_width: the same of the history model.
    """

    generators: Generators
    teacher: nn.Module | None = None
    history: nn.Module | None = None
    encoder: FrozenEncoder | None = None
    negatives: NegativesSettings = field(default_factory=NegativesSettings)
    consistency: ConsistencySettings = field(default_factory=ConsistencySettings)
    frozen_region: Callable[[], AbstractContextManager] = nullcontext
    teacher_width: float = 32.0
    history_width: float = 32.0

    def negative_inputs(self, lq: Tensor) -> Tensor:
        """Draw D_j(LQ) for all j, (num * B, C, h, w), one negative after another, the clean LQ last."""
        degrade = Degradation(self.negatives.degradation, self.generators)
        inputs = [degrade(lq) for _ in range(self.negatives.num - int(self.negatives.include_clean))]
        return torch.cat([*inputs, lq] if self.negatives.include_clean else inputs)

    def transform(self, lq: Tensor) -> Transform:
        """Draw g for label consistency."""
        return draw_transform(len(lq), self.consistency, self.generators, lq.device)

    def draw(self, lq: Tensor, needs: Collection[str]) -> Drawn:
        """Draw what a :class:`DistillStep` with contrast would draw by itself, in the same order."""
        switches = self.transform(lq).switches if Need.CONSISTENCY in needs else None  # the teacher runs first
        return Drawn(self.negative_inputs(lq), switches)


class DistillStep:
    """One batch, seen lazily.

    Args:
        parts: networks and settings.
        lq: student input in [0, 1], (B, C, h, w).
        gt: ground truth in [0, 1], (B, C, scale * h, scale * w).
        student: student output for ``lq``, with its graph.
        needs: all that the terms of this run ask for, see :class:`Need`.
        drawn: what ``parts.draw(lq, needs)`` gave, if it was drawn beforehand.
    """

    def __init__(
        self,
        parts: DistillParts,
        lq: Tensor,
        gt: Tensor,
        student: Tensor,
        needs: Collection[str] = (),
        drawn: Drawn | None = None,
    ) -> None:
        self.parts = parts
        self.lq = lq
        self.gt = gt
        self.student = student
        self.needs = frozenset(needs)
        self.drawn = drawn

    @property
    def teacher(self) -> Tensor:
        """T(LQ), no gradient."""
        return self._teacher_outputs[0]

    @property
    def consistent_teacher(self) -> Tensor:
        """g^-1(T(g(LQ))) for a random g per sample, no gradient."""
        outputs = self._teacher_outputs
        if len(outputs) < 2:
            raise RuntimeError("consistency was not announced in the step's needs")
        return outputs[1]

    @cached_property
    @torch.no_grad()
    def negatives(self) -> Tensor:
        """H(D_j(LQ)) for all j, (num * B, C, H, W), the negatives one after another."""
        history = _part(self.parts.history, "history model")
        batch = self.parts.negative_inputs(self.lq) if self.drawn is None else self.drawn.degraded
        with self.parts.frozen_region():
            return self._in_pieces(history, batch, self.parts.history_width, self.parts.negatives.chunk)

    @property
    def student_taps(self) -> tuple[Tensor, ...]:
        """Encoder taps of S, with gradient to S."""
        return self._student_encoding.taps

    @property
    def student_logits(self) -> Tensor:
        """Code logits of S, (B * h * w, M), with gradient to S."""
        return _part(self._student_encoding.logits, "code logits")

    @property
    def teacher_taps(self) -> tuple[Tensor, ...]:
        """Encoder taps of T."""
        return tuple(level[: len(self.lq)] for level in self._reference_encoding.taps)

    @property
    def teacher_logits(self) -> Tensor:
        """Code logits of T, (B * h * w, M)."""
        return _part(self._reference_encoding.logits, "code logits")

    @property
    def negative_taps(self) -> list[tuple[Tensor, ...]]:
        """Encoder taps of every negative."""
        batch = len(self.lq)
        levels = [level[batch:].split(batch) for level in self._reference_encoding.taps]
        return list(zip(*levels))

    @cached_property
    @torch.no_grad()
    def _teacher_outputs(self) -> tuple[Tensor, ...]:
        teacher = _part(self.parts.teacher, "teacher")
        if Need.CONSISTENCY not in self.needs:
            with self.parts.frozen_region():
                return (self._in_pieces(teacher, self.lq, self.parts.teacher_width),)
        switches = None if self.drawn is None else self.drawn.switches
        transform = self.parts.transform(self.lq) if switches is None else Transform(switches)
        both = torch.cat([self.lq, transform(self.lq)])
        with self.parts.frozen_region():
            plain, transformed = self._in_pieces(teacher, both, self.parts.teacher_width).chunk(2)
        return plain, transform.inverse(transformed)

    def _in_pieces(self, net: nn.Module, images: Tensor, width: float, chunk: int | None = None) -> Tensor:
        """Run a frozen network over images; float32, (N, C, H, W)."""
        mixed = torch.is_autocast_enabled(images.device.type)
        dtype = torch.get_autocast_dtype(images.device.type) if mixed else torch.float32
        count = images_at_once(images, chunk, width, dtype)
        outputs = [net(piece) for piece in images.split(count)]
        return (outputs[0] if len(outputs) == 1 else torch.cat(outputs)).float()

    @cached_property
    def _student_encoding(self) -> Encoding:
        return self._encoder(self.student, taps=Need.TAPS in self.needs, logits=Need.CODES in self.needs)

    @cached_property
    def _reference_encoding(self) -> Encoding:
        contrast = Need.TAPS in self.needs
        images = torch.cat([self.teacher, self.negatives]) if contrast else self.teacher
        logits = len(self.lq) if Need.CODES in self.needs else False
        return self._encoder.reference(images, taps=contrast, logits=logits)

    @property
    def _encoder(self) -> FrozenEncoder:
        return _part(self.parts.encoder, "encoder")


def _part(value: P | None, name: str) -> P:
    if value is None:
        raise RuntimeError(f"a loss term needs the {name}, which this step was built without")
    return value
