"""What one batch can offer to the loss terms, each part computed once and only if a term asks for it.

The costs of a DCKD step are the passes through teacher, history model and encoder. Here every image passes each
network once: the teacher's input and its transformed copy together, all negatives together, and everything that needs
no gradient (teacher output and negatives) in one encoder batch that stops at the last tap where no code is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from functools import cached_property
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from ..archs.frozen_layers import under_autocast
from ..archs.networks.vqgan_arch import Encoding
from .chunking import images_at_once
from .consistency import Transform
from .encoder import FrozenEncoder
from .features import FeatureMaps
from .needs import STUDENT, FeatureMap, Need
from .sources import Drawn, Sources

__all__ = ["DistillStep"]

P = TypeVar("P")


class _Taught(NamedTuple):
    """What a teacher gave for a batch."""

    plain: Tensor
    consistent: Tensor | None
    maps: Mapping[str, Tensor]


class DistillStep:
    """One batch, seen lazily.

    Args:
        sources: frozen networks and settings.
        lq: student input in [0, 1], (B, C, h, w).
        gt: ground truth in [0, 1], (B, C, scale * h, scale * w); None where there is none.
        restore: runs the student on images in [0, 1]; float32, with its graph.
        needs: all that the terms of this step ask for, see ``needs.py``.
        drawn: what ``sources.draw(lq, needs)`` gave, if it was drawn beforehand.
        maps: hooks on the student.
        tap_levels: of the encoder's levels only the first so many count; None for all.
    """

    def __init__(
        self,
        sources: Sources,
        lq: Tensor,
        gt: Tensor | None,
        restore: Callable[[Tensor], Tensor],
        needs: Collection[Hashable] = (),
        drawn: Drawn | None = None,
        maps: FeatureMaps | None = None,
        tap_levels: int | None = None,
    ) -> None:
        self.sources = sources
        self.lq = lq
        self._gt = gt
        self.restore = restore
        self.needs = frozenset(needs)
        self.drawn = drawn
        self.measures: dict[str, Tensor] = {}
        """Detached quantities for the log, see :meth:`measure`."""
        self._maps = maps
        self._taps: int | bool = True if tap_levels is None else tap_levels
        self._taught: dict[str, _Taught] = {}

    def measure(self, name: str, value: Tensor) -> None:
        """Put a scalar into the log beside the terms."""
        self.measures[name] = value.detach()

    @property
    def gt(self) -> Tensor:
        """The ground truth. Raises RuntimeError where there is none: a term asks for it in its needs, ``Need.GT``."""
        return _part(self._gt, "ground truth")

    @property
    def student(self) -> Tensor:
        """S(LQ), with its graph."""
        return self._run_student[0]

    @property
    def teacher(self) -> Tensor:
        """T(LQ) of the first teacher, no gradient."""
        return self.taught_by(None)

    def taught_by(self, name: str | None) -> Tensor:
        """Return T(LQ) of the teacher ``name``; None, or "teacher" of several, is the first; no gradient."""
        return self._run_teacher(self.sources.meant(name)).plain

    @torch.no_grad()
    def teach(self, images: Tensor, name: str | None = None) -> Tensor:
        """Return what a teacher makes of other images than LQ, named as in :meth:`taught_by`; no gradient, float32."""
        name = self.sources.meant(name)
        teacher = _part(self.sources.teachers.get(name), "teacher")
        with self.sources.frozen_region():
            return self._in_pieces(teacher, images, self.sources.widths.get(name, 32.0))

    def feature(self, need: FeatureMap) -> Tensor:
        """Return what a module gave for LQ, float32: the student's with its graph, a teacher's without gradient.

        The shape is the module's: (B, C, h, w) of convolutions, (B, h * w, C) of many transformers.
        """
        if need not in self.needs:
            raise RuntimeError(f"the feature map {need.path} of {need.network} was not announced in the step's needs")
        own = need.network == STUDENT
        maps = self._run_student[1] if own else self._run_teacher(self.sources.meant(need.network)).maps
        return maps[need.path]

    @property
    def consistent_teacher(self) -> Tensor:
        """g^-1(T(g(LQ))) for a random g per sample, no gradient."""
        found = self._run_teacher(self.sources.first_teacher).consistent
        if found is None:
            raise RuntimeError("consistency was not announced in the step's needs")
        return found

    @cached_property
    @torch.no_grad()
    def negatives(self) -> Tensor:
        """H(D_j(LQ)) for all j, (num * B, C, H, W), the negatives one after another."""
        history = _part(self.sources.history, "history model")
        batch = self.sources.negative_inputs(self.lq) if self.drawn is None else self.drawn.degraded
        with self.sources.frozen_region():
            return self._in_pieces(history, batch, self.sources.history_width, self.sources.negatives.chunk)

    def reference_taps(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the encoder's taps of images in [0, 1] that need no gradient."""
        return self._encoder.reference(images, taps=self._taps, logits=False).taps

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
    def _run_student(self) -> tuple[Tensor, Mapping[str, Tensor]]:
        asked = any(isinstance(need, FeatureMap) and need.network == STUDENT for need in self.needs)
        if self._maps is None or not asked:
            return self.restore(self.lq), {}
        with self._maps.taking() as taken:
            output = self.restore(self.lq)
        return output, taken

    def _run_teacher(self, name: str) -> _Taught:
        if name not in self._taught:
            self._taught[name] = self._teach(name)
        return self._taught[name]

    @torch.no_grad()
    def _teach(self, name: str) -> _Taught:
        teacher = _part(self.sources.teachers.get(name), "teacher")
        width = self.sources.widths.get(name, 32.0)
        asked = any(isinstance(need, FeatureMap) and self.sources.meant(need.network) == name for need in self.needs)
        maps = self.sources.maps.get(name) if asked else None
        consistent = name == self.sources.first_teacher and Need.CONSISTENCY in self.needs
        taken: dict[str, Tensor] = {}
        if not consistent:
            with self.sources.frozen_region():
                return _Taught(self._in_pieces(teacher, self.lq, width, maps=maps, taken=taken), None, taken)
        switches = None if self.drawn is None else self.drawn.switches
        transform = self.sources.transform(self.lq) if switches is None else Transform(switches)
        both = torch.cat([self.lq, transform(self.lq)])
        with self.sources.frozen_region():
            plain, transformed = self._in_pieces(teacher, both, width, maps=maps, taken=taken).chunk(2)
        # the first half: a module may have put windows of its images into the batch
        own = {path: output.chunk(2)[0] for path, output in taken.items()}
        return _Taught(plain, transform.inverse(transformed), own)

    def _in_pieces(
        self,
        net: nn.Module,
        images: Tensor,
        width: float,
        chunk: int | None = None,
        maps: FeatureMaps | None = None,
        taken: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """Run a frozen network over images; float32, (N, C, H, W). Its feature maps are left in ``taken``."""
        dtype = torch.get_autocast_dtype(images.device.type) if under_autocast(images) else torch.float32
        count = images_at_once(images, chunk, width, dtype)
        outputs, levels = [], []
        for piece in images.split(count):
            if maps is None:
                outputs.append(net(piece))
                continue
            with maps.taking() as found:
                outputs.append(net(piece))
            levels.append(found)
        if taken is not None and levels:
            taken |= {path: torch.cat([found[path] for found in levels]) for path in levels[0]}
        return (outputs[0] if len(outputs) == 1 else torch.cat(outputs)).float()

    @cached_property
    def _student_encoding(self) -> Encoding:
        taps = bool(self.needs & {Need.TAPS, Need.STUDENT_TAPS})
        return self._encoder(self.student, taps=taps and self._taps, logits=Need.CODES in self.needs)

    @cached_property
    def _reference_encoding(self) -> Encoding:
        contrast = Need.TAPS in self.needs
        images = torch.cat([self.teacher, self.negatives]) if contrast else self.teacher
        logits = len(self.lq) if Need.CODES in self.needs else False
        taps = contrast or Need.TEACHER_TAPS in self.needs
        return self._encoder.reference(images, taps=taps and self._taps, logits=logits)

    @property
    def _encoder(self) -> FrozenEncoder:
        return _part(self.sources.encoder, "encoder")


def _part(value: P | None, name: str) -> P:
    if value is None:
        raise RuntimeError(f"a loss term needs the {name}, which this step was built without")
    return value
