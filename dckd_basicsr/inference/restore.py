"""How a network restores a validation or test image: padded, ensembled, in tiles, as ``val`` says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..archs.facts import ArchFacts
from ..distill import settings_from
from .ensemble import run_ensembled
from .padding import run_padded
from .tiling import TileSettings, run_tiled

__all__ = ["restorer"]


def restorer(net: nn.Module, facts: ArchFacts, val: Mapping[str, Any]) -> Callable[[Tensor], Tensor]:
    """Return a function of images (B, C, H, W), in [0, 1], to (B, C', scale H, scale W).

    Every turn of the self-ensemble is padded by itself, and every tile is ensembled by itself, so that memory depends
    on the tile. Tiled results are put together in host memory: with them it is the image that is large.

    Args:
        net: in evaluation mode.
        facts: its size rules.
        val: the block ``val``; ``self_ensemble`` and ``tile`` are read.

    Raises:
        ConfigError: bad values in ``val.tile``.
    """

    def padded(x: Tensor) -> Tensor:
        return run_padded(net, x, facts)

    def whole(x: Tensor) -> Tensor:
        return run_ensembled(padded, x) if val.get("self_ensemble") else padded(x)

    if not val.get("tile"):
        return whole
    tile = settings_from(TileSettings, val["tile"], "val.tile")
    return lambda x: run_tiled(whole, x, facts.scale, tile, torch.device("cpu"))
