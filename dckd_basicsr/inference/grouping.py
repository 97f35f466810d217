"""Ordered samples of mixed sizes in batches of equal size, with a bounded number of them in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["WINDOW", "equal_sizes", "joined"]

Sample = Mapping[str, Any]

WINDOW = 4
"""How many batches' worth of samples may wait for others of their size."""


def equal_sizes(samples: Iterable[Sample], batch: int) -> Iterator[list[tuple[int, Sample]]]:
    """Yield every sample once, with its place, in groups of up to ``batch`` whose tensors have equal shapes.

    Reads ahead instead of asking files for their sizes, so any dataset will do. When :data:`WINDOW` x ``batch`` samples
    wait, the group of the longest waiting one goes out as it is. Groups follow from the shapes alone.

    Args:
        samples: batches of one, as a data loader of batch size 1 yields them.
        batch: largest group; with 1 samples go through one by one.
    """
    waiting: dict[Any, list[tuple[int, Sample]]] = {}  # the group of the longest waiting sample first
    count = 0
    for place, sample in enumerate(samples):
        shapes = tuple((key, value.shape) for key, value in sample.items() if isinstance(value, Tensor))
        group = waiting.setdefault(shapes, [])
        group.append((place, sample))
        count += 1
        if len(group) < batch:
            if count < WINDOW * batch:
                continue
            shapes = next(iter(waiting))
        count -= len(waiting[shapes])
        yield waiting.pop(shapes)
    yield from waiting.values()


def joined(samples: Iterable[Sample]) -> dict[str, Any]:
    """Return samples of equal shapes as one batch: tensors (1, ...) become (B, ...), lists of one lists of B."""
    found = list(samples)
    if len(found) == 1:
        return dict(found[0])
    batch: dict[str, Any] = {}
    for key, first in found[0].items():
        values = [sample[key] for sample in found]
        batch[key] = torch.cat(values) if isinstance(first, Tensor) else [v for value in values for v in value]
    return batch
