"""Label consistency of DCKD*: the teacher sees a transformed LQ, its output is transformed back.

From DUKD (arXiv 2309.14162, Eq. 5), with the inverse in reverse order: the published inverse repeats the forward order
and is wrong where a transpose meets exactly one flip.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .generators import Generators
from .settings import ConsistencySettings

__all__ = ["Transform", "draw_transform"]


@dataclass(frozen=True)
class Transform:
    """Per sample a composition of invert (1 - x), vertical flip, horizontal flip and transpose, in that order.

    Attributes:
        switches: bool (4, B): which sample gets which operation, on the device of the images.
    """

    switches: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Transform images (B, C, H, W); square where any sample may be transposed."""
        self._check(x)
        invert, vflip, hflip, transpose = self._masks()
        x = torch.where(invert, 1.0 - x, x)
        x = torch.where(vflip, x.flip(2), x)
        x = torch.where(hflip, x.flip(3), x)
        return torch.where(transpose, x.transpose(2, 3), x)

    def inverse(self, y: Tensor) -> Tensor:
        """Undo the transform on images of any scale: the inverse operations in reverse order.

        Exact for the geometry; ``1 - (1 - x)`` is exact to one rounding.
        """
        self._check(y)
        invert, vflip, hflip, transpose = self._masks()
        y = torch.where(transpose, y.transpose(2, 3), y)
        y = torch.where(hflip, y.flip(3), y)
        y = torch.where(vflip, y.flip(2), y)
        return torch.where(invert, 1.0 - y, y)

    def _masks(self) -> tuple[Tensor, ...]:
        return tuple(row.view(-1, 1, 1, 1) for row in self.switches)

    @staticmethod
    def _check(x: Tensor) -> None:
        if x.shape[2] != x.shape[3]:
            raise ValueError(
                f"label consistency transposes samples and needs square patches, got {x.shape[2]}x{x.shape[3]}"
            )


def draw_transform(
    batch: int, settings: ConsistencySettings, generators: Generators, device: torch.device
) -> Transform:
    """Draw which of ``batch`` samples get which operation, each with ``settings.prob``."""
    draws = torch.rand(4, batch, generator=generators.on(device), device=device)
    return Transform(draws < settings.prob)
