"""The last step of reading, on the device: flips, transposition, RGB, float."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

__all__ = ["images_on", "turned_rgb"]


def images_on(data: Mapping[str, Any], device: torch.device | str) -> dict[str, Tensor]:
    """Return ``lq`` and, if there, ``gt`` of a batch on the device, N x 3 x H x W, RGB float32 in [0, 1].

    Args:
        data: a batch; images as BasicSR's datasets give them, or stored bytes with ``turn``, as
            ``PairedLMDBDataset`` gives them: a quarter of the memory to move.
        device: where to; the copies do not block from page-locked memory.
    """
    images = {key: data[key].to(device, non_blocking=True) for key in ("lq", "gt") if key in data}
    if "turn" not in data:
        return images
    turn = data["turn"].to(device, non_blocking=True)
    return {key: turned_rgb(image, turn) for key, image in images.items()}


def turned_rgb(image: Tensor, turn: Tensor) -> Tensor:
    """Flip stored patches and make images of them: six launches whatever the batch, and no synchronisation.

    Args:
        image: N x S x S x 3, BGR uint8.
        turn: N, int64 on the same device, see :class:`~dckd_basicsr.data.patches.Place`.

    Returns:
        N x 3 x S x S, RGB float32 in [0, 1], contiguous; bit by bit what a division by 255 on the CPU gives.
    """
    count, size = image.shape[:2]
    planes = image.permute(0, 3, 1, 2).reshape(count, 3, size * size)
    sources = _sources(size, image.device).index_select(0, turn)
    turned = planes.gather(2, sources[:, None].expand(count, 3, size * size))
    rgb = turned.flip(1).float()
    # By a number, GPUs multiply with the reciprocal, which rounds differently.
    return rgb.div_(torch.full((), 255.0, device=rgb.device)).view(count, 3, size, size)


@lru_cache(maxsize=16)  # sizes switch a few times in a run
def _sources(size: int, device: torch.device) -> Tensor:
    """Return, for each of the 8 flips and transpositions, which pixel of a patch comes where: 8 x S S, int64."""
    here = torch.arange(size * size).view(size, size)
    found = []
    for turn in range(8):
        grid = here.flip(1) if turn & 1 else here
        grid = grid.flip(0) if turn & 2 else grid
        found.append((grid.t() if turn & 4 else grid).reshape(-1))
    return torch.stack(found).to(device)
