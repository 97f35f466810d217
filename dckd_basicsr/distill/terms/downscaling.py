"""Bicubic downscaling of a batch where it is, without gradient: PyTorch's antialiased filter, or MATLAB's."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ...bicubic import bicubic_matrix

__all__ = ["Downscaling", "Filter"]

Filter = Literal["antialiased", "matlab"]


class Downscaling:
    """Makes images smaller with Keys' cubic (a = -0.5), widened by the scale. The two differ at borders alone.

    Args:
        filter: ``antialiased``: PyTorch's, which leaves taps outside the image out; ``matlab``: ``imresize``, which
            mirrors them, without its rounding to 8 bits.

    Raises:
        ValueError: another filter.
    """

    def __init__(self, filter: Filter = "antialiased") -> None:
        if filter not in get_args(Filter):
            raise ValueError(f"filter must be one of {', '.join(get_args(Filter))}, got {filter!r}")
        self.filter = filter
        # For each size and device, made when it is first met: a recorded step then reads the same memory.
        self._weights: dict[tuple[int, int, torch.device], Tensor] = {}

    @torch.no_grad()
    def __call__(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        """Return images (B, C, H, W), float32, as (B, C, *size); values may leave the range a little."""
        if self.filter == "antialiased":
            return F.interpolate(images, size=size, mode="bicubic", align_corners=False, antialias=True)
        rows, columns = (self._matrix(images.shape[2 + i], size[i], images.device) for i in (0, 1))
        # float64: matrix products of float32 may be allowed to keep 10 bits of their factors
        return (rows @ images.double() @ columns.T).float()

    def _matrix(self, before: int, after: int, device: torch.device) -> Tensor:
        key = (before, after, device)
        if key not in self._weights:
            self._weights[key] = torch.from_numpy(bicubic_matrix(before, after)).to(device)
        return self._weights[key]
