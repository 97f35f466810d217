"""Feature maps in space: what transformers keep as rows of tokens, as maps of height and width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from ...errors import ConfigError

__all__ = ["as_map", "positions_of"]

_LARGEST_WINDOW = 64


def as_map(features: Tensor, lq: Tensor) -> Tensor:
    """Return features as (B, C, h, w).

    Args:
        features: (B, C, h, w), which is returned as it is, or the tokens (B, L, C) of a transformer, row by row.
        lq: the batch they were made of, (B, C, H, W). Tokens are its pixels, possibly padded to whole windows; or those
            of its patches.

    Raises:
        ConfigError: features of another shape or of single windows, or tokens that are no map of LQ.
    """
    whole = len(features) == len(lq)
    if whole and features.dim() == 4:
        return features
    if whole and features.dim() == 3:
        count = features.shape[1]
        size = next(((h, w) for h, w in _sizes(*lq.shape[-2:]) if h * w == count), None)
        if size is not None:
            return features.transpose(1, 2).unflatten(2, size)
    raise ConfigError(
        f"features of shape {tuple(features.shape)} are no map of an LQ batch of shape {tuple(lq.shape)}: expected "
        "(B, C, h, w), or (B, L, C) with L = h * w; name another position"
    )


def positions_of(shape: Sequence[int]) -> int:
    """Return how many positions features of this shape have, (B, C, h, w) or (B, L, C)."""
    return shape[2] * shape[3] if len(shape) == 4 else shape[1]


def _sizes(height: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield what LQ's tokens may be: its pixels, padded to windows the smallest first, then its patches."""
    yield height, width
    for side in range(2, _LARGEST_WINDOW + 1):
        yield -(-height // side) * side, -(-width // side) * side
    for side in range(2, _LARGEST_WINDOW + 1):
        yield height // side, width // side
        yield -(-height // side), -(-width // side)
