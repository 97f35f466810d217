"""AugKD: student and teacher compared on more images than the data set has (Zhang et al., ICLR 2025).

Its first version is DUKD (Zhang et al., arXiv 2309.14162). The teacher needs no ground truth, so any image may be its
input: a piece of GT as large as LQ (zoom-in), or a smaller LQ (zoom-out). The student sees the zoomed-in image
transformed and has to give what the teacher gives for the plain one, transformed (label consistency).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...archs.facts import ArchFacts, facts_of
from ...errors import ConfigError
from ..consistency import draw_transform
from ..needs import Need
from ..settings import ConsistencySettings
from .base import Term, register_term
from .downscaling import Downscaling
from .output import L1, built_loss

if TYPE_CHECKING:
    from ..sources import Sources
    from ..step import DistillStep

__all__ = ["AugKDTerm", "cells_of", "draw_cells"]


def draw_cells(scale: int, count: int, generator: torch.Generator) -> Tensor:
    """Draw ``count`` distinct cells of a scale x scale grid, row by row from 0; on the generator's device, (count,)."""
    return torch.rand(scale * scale, generator=generator, device=generator.device).argsort()[:count]


def cells_of(images: Tensor, scale: int, cells: Tensor) -> Tensor:
    """Cut cells out of the scale x scale grid of images.

    Args:
        images: (B, C, scale * h, scale * w).
        scale: cells along each side.
        cells: which, (n,), from 0 row by row; the same of all images.

    Returns:
        (n * B, C, h, w), all images' first cell first.
    """
    rows, columns = images.shape[2] // scale, images.shape[3] // scale
    grid = images.unflatten(3, (scale, columns)).unflatten(2, (scale, rows)).permute(2, 4, 0, 1, 3, 5)
    return grid.flatten(0, 1).index_select(0, cells).flatten(0, 1)


@register_term("augkd")
class AugKDTerm(Term):
    """``mean |f^-1(S(f(x))) - T(x)|`` on x cut out of GT, f random per sample, and optionally S on a smaller LQ.

    Zoom-in (AugKD, ICLR 2025; DUKD, arXiv 2309.14162): GT is a grid of scale x scale cells as large as LQ; x are
    random cells, the same in the whole batch. At scale 1 nothing is zoomed and x is LQ, which leaves the label
    consistency. Zoom-out: x is LQ made smaller by the scale with MATLAB's bicubic filter, and
    ``zoom_out_gt_weight * L1(S(x), LQ) + L1(S(x), T(x))`` is added.

    The published code takes two optimizer steps, one with the losses on LQ and one with these, and adds the first one's
    gradients to the second's again; here all are one sum, and each gradient counts once. Its inverse repeats the order
    of the transform, which is wrong for 4 of the 16 compositions; here it is the right one.

    Args:
        loss: a loss block (``type`` and constructor arguments) of an image loss, or such a loss.
        cells: how many of the cells are looked at in each step, distinct.
        prob: probability, per sample, of each of invert, vflip, hflip, transpose. Above 0 patches must be square.
        zoom_out: look at a smaller LQ too.
        zoom_out_gt_weight: of LQ as the target there, beside the teacher's output, whose weight is 1.
    """

    def __init__(
        self,
        loss: Mapping[str, Any] | nn.Module = L1,
        cells: int = 1,
        prob: float = 0.3,
        zoom_out: bool = False,
        zoom_out_gt_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if cells < 1:
            raise ValueError(f"cells must be at least 1, got {cells}")
        if zoom_out_gt_weight < 0:
            raise ValueError(f"zoom_out_gt_weight must be at least 0, got {zoom_out_gt_weight}")
        self.loss = built_loss(loss)
        self.cells = cells
        self.settings = ConsistencySettings(prob=prob)
        self.zoom_out = zoom_out
        self.zoom_out_gt_weight = zoom_out_gt_weight
        self._rules: dict[str, ArchFacts] = {}
        self._smaller = Downscaling("matlab")

    @property
    def needs(self) -> frozenset[Hashable]:
        return frozenset({Need.GT, Need.TEACHER})

    def size_faults(self, scale: int, height: int, width: int, rules: Mapping[str, ArchFacts]) -> Iterator[str]:
        if self.cells > scale * scale:
            yield (
                f"cells is {self.cells}, but at scale {scale} GT has {scale * scale} of LQ's size; "
                f"give at most {scale * scale}"
            )
        if not self.zoom_out:
            return
        if scale == 1:
            yield "zoom_out makes LQ smaller by the scale, which is 1; set it to false"
            return
        if height % scale or width % scale:
            yield (
                f"zoom_out needs LQ patches whose sides are multiples of {scale}, got {height}x{width}; "
                f"make gt_size a multiple of {scale * scale}, or set zoom_out to false"
            )
            return
        size = (height // scale, width // scale)
        for name, known in rules.items():
            if known.padded(*size) != size:
                yield (
                    f"zoom_out gives the {name} patches of {size[0]}x{size[1]}, but it takes multiples "
                    f"of {known.multiple_of}, at least {known.minimum}; change gt_size, or set zoom_out to false"
                )

    def join(self, student: nn.Module, sources: Sources) -> None:
        teacher = sources.teachers[sources.first_teacher]
        self._rules = {"student": _size_rules(student), "teacher": _size_rules(teacher)}

    def forward(self, step: DistillStep) -> Tensor:
        scale = step.gt.shape[-1] // step.lq.shape[-1]
        height, width = step.lq.shape[2:]
        for fault in self.size_faults(scale, height, width, self._rules):
            raise ConfigError(f"{self.label}: {fault}")
        found = self._zoomed_in(step, scale)
        return found + self._zoomed_out(step, scale) if self.zoom_out else found

    def _zoomed_in(self, step: DistillStep, scale: int) -> Tensor:
        if scale == 1:
            images, target = step.lq, step.teacher  # which other terms ask for, too
        else:
            cells = draw_cells(scale, self.cells, step.sources.generators.on(step.gt.device))
            images = cells_of(step.gt, scale, cells)
            target = step.teach(images)
        if not self.settings.prob:
            return self.loss(step.restore(images), target)
        transform = draw_transform(len(images), self.settings, step.sources.generators, images.device)
        return self.loss(transform.inverse(step.restore(transform(images))), target)

    def _zoomed_out(self, step: DistillStep, scale: int) -> Tensor:
        height, width = step.lq.shape[2:]
        images = self._smaller(step.lq, (height // scale, width // scale))
        output = step.restore(images)
        found = self.loss(output, step.teach(images))
        return found + self.zoom_out_gt_weight * self.loss(output, step.lq) if self.zoom_out_gt_weight else found


def _size_rules(net: nn.Module) -> ArchFacts:
    """Return a built network's facts without its options; BasicSR's SwinIR keeps its window in its blocks only."""
    windows = [each for each in (getattr(m, "window_size", None) for m in net.modules()) if isinstance(each, int)]
    return facts_of(net, {"type": type(net).__name__, "window_size": max(windows, default=1)}, 1)
