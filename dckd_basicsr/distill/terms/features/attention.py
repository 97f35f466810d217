"""Attention transfer: where in the image features are strong."""

from __future__ import annotations

import torch
from torch import Tensor

from ...features import unit_images
from ..base import register_term
from .feature import FeatureTerm

__all__ = ["AttentionTerm", "attention_distance", "attention_map"]

_EPS = 1e-6


def attention_map(features: Tensor) -> Tensor:
    """Return ``A / (||A||_2 + 1e-6)`` of ``A = sum_c F_c^2`` (Zagoruyko and Komodakis, ICLR 2017, arXiv 1612.03928).

    Args:
        features: (B, C, h, w).

    Returns:
        (B, 1, h, w), at least 0, with an L2 norm over each image of nearly 1. The place of eps is that of FAKD's code
        (He et al., ICIP 2020).
    """
    energy = features.square().sum(1, keepdim=True)
    return energy / (torch.linalg.vector_norm(energy, dim=(1, 2, 3), keepdim=True) + _EPS)


def attention_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean absolute difference of two attention maps.

    Mean of absolute differences as FAKD and DUKD have it for SR; the original takes the L2 distance.

    Args:
        student: (B, C, h, w).
        teacher: (B, D, h, w).
    """
    return (attention_map(student) - attention_map(teacher)).abs().mean()


@register_term("attention")
class AttentionTerm(FeatureTerm):
    """Attention transfer: where features of S and T are strong (Zagoruyko and Komodakis, ICLR 2017, arXiv 1612.03928).

    Widths may differ. What ``normalize`` takes off is the magnitude of a whole image's map, since that of a position is
    what is compared here; the term then depends on no magnitude at all, where by itself small ones meet its eps.

    Args:
        student: positions of the student's maps: shares of the depth (``1/3``), ``end``, module paths.
        teacher: positions of the teacher's, one for each of the student's; the student's by default.
        normalize: take the magnitude off the maps; auto does so with those of a network with layer normalization, S and
            T each for itself.
        taught_by: name of the teacher, of several; the first by default.
    """

    def without_magnitude(self, features: Tensor) -> Tensor:
        return unit_images(features)

    def distance(self, index: int, student: Tensor, teacher: Tensor) -> Tensor:
        return attention_distance(student, teacher)
