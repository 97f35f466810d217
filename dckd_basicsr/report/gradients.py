"""How loss terms pull at a student: values, norms of their gradients, and the angles between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..distill import TOTAL, Distiller

__all__ = ["BatchGradients", "Gradients", "batch_gradients"]


@dataclass(frozen=True)
class BatchGradients:
    """Of one batch; on the CPU, float64.

    Attributes:
        names: of the terms that are on, weighted as they are, then :data:`~dckd_basicsr.distill.TOTAL`.
        values: (n,).
        products: (n, n), inner products of the gradients with respect to the student's parameters.
    """

    names: tuple[str, ...]
    values: Tensor
    products: Tensor


def batch_gradients(
    distiller: Distiller,
    images: Sequence[Tensor],
    region: Callable[[], AbstractContextManager] = nullcontext,
    scale: float = 1.0,
) -> BatchGradients:
    """Compute each term of a batch and its gradient; no parameter, and no ``grad`` of one, changes.

    Every term is a pass of its own back through one graph, and leaves a vector of the student's size.

    Args:
        distiller: with its weights set, see :meth:`Distiller.begin`.
        images: LQ (B, C, h, w) and, if there is one, GT (B, C, scale * h, scale * w), in [0, 1].
        region: makes the context of a backward pass.
        scale: by which losses are multiplied for float16, and gradients divided; halved where it is too much.
    """
    values = distiller(*images)
    names = distiller.active
    parameters = [parameter for parameter in distiller.student.parameters() if parameter.requires_grad]
    vectors = []
    for name in names:
        with region():
            vectors.append(_gradient(values[name], parameters, scale))
    vectors.append(torch.stack(vectors).sum(0))
    products = torch.stack([torch.stack([torch.dot(a.double(), b.double()) for b in vectors]) for a in vectors])
    found = torch.stack([values[name].detach().double() for name in (*names, TOTAL)])
    return BatchGradients((*names, TOTAL), found.cpu(), products.cpu())


def _gradient(value: Tensor, parameters: Sequence[nn.Parameter], scale: float) -> Tensor:
    """Return a scalar's gradient as one float32 vector; zeros where it does not depend on a parameter."""
    found: Sequence[Tensor | None] = [None] * len(parameters)
    if value.requires_grad:  # the other terms need the graph, too
        found = torch.autograd.grad(scale * value, parameters, retain_graph=True, allow_unused=True)
    pairs = zip(found, parameters, strict=True)
    vector = torch.cat([(torch.zeros_like(p) if g is None else g).float().flatten() for g, p in pairs]) / scale
    if scale > 1 and not vector.isfinite().all():
        return _gradient(value, parameters, scale / 2)
    return vector


@dataclass(frozen=True)
class Gradients:
    """Of several batches with the same terms; n terms and their total, N batches.

    Attributes:
        names: of the n terms, and the total's.
        values: (N, n + 1).
        norms: (N, n + 1), of the gradients.
        cosines: (N, n + 1, n + 1), between the gradients; NaN where one is zero.
    """

    names: tuple[str, ...]
    values: Tensor
    norms: Tensor
    cosines: Tensor

    @classmethod
    def of(cls, batches: Iterable[BatchGradients]) -> Gradients:
        """Put batches together; at least one."""
        batches = list(batches)
        products = torch.stack([batch.products for batch in batches])
        norms = products.diagonal(dim1=1, dim2=2).sqrt()
        lengths = norms[:, :, None] * norms[:, None, :]
        cosines = (products / lengths).clamp(-1, 1)
        return cls(batches[0].names, torch.stack([batch.values for batch in batches]), norms, cosines)
