"""What a codebook is trained and judged by: commitment, and how many of its codes are in use."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["code_figures", "commitment_loss"]


def commitment_loss(latent: Tensor, codes: Tensor) -> Tensor:
    r"""Pull an encoder's outputs towards their codes (van den Oord et al., NeurIPS 2017, third term of eq. 3).

    .. math:: L = \operatorname{mean} (z - \operatorname{sg}[e])^2

    Args:
        latent: the encoder's outputs z, any shape.
        codes: the nearest codes e, as ``latent``; no gradient reaches them.

    Returns:
        float32 scalar.

    Raises:
        ValueError: shapes differ.

    >>> commitment_loss(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 0.0])).item()
    2.5
    """
    if latent.shape != codes.shape:
        raise ValueError(f"latents and codes must have one shape, got {tuple(latent.shape)} and {tuple(codes.shape)}")
    return (latent.float() - codes.detach().float()).pow(2).mean()


def code_figures(hits: Tensor) -> dict[str, Tensor]:
    r"""Return how well a codebook is used, from how often each code was the nearest one.

    ``usage`` is the share of the codes that were hit at all. ``perplexity`` is how many codes would give the same
    entropy if all were hit equally often: :math:`\exp(-\sum_k p_k \ln p_k)`, at most the number of codes.

    Args:
        hits: how often, or in which share, each code was hit, shape (codes,).

    Returns:
        float32 scalars on the device of ``hits``; zeros if nothing was hit.

    >>> {name: round(value.item(), 3) for name, value in code_figures(torch.tensor([2, 2, 0])).items()}
    {'usage': 0.667, 'perplexity': 2.0}
    """
    hits = hits.float()
    total = hits.sum()
    shares = hits / total.clamp_min(torch.finfo(hits.dtype).tiny)
    return {
        "usage": (hits > 0).float().mean(),
        "perplexity": torch.special.entr(shares).sum().exp() * (total > 0),
    }
