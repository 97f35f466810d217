"""The magnitude of feature maps: taken off where a network leaves it free.

A network that normalises every position by layer (Ba et al., 2016) in front of each branch sees directions only, and
nothing holds the magnitude of what it adds up: in trained restoration transformers it grows "to a million scale" (Lee
et al., "Analyzing the training dynamics of image restoration transformers", arXiv 2504.06629, who trace it to just that
normalization). The rule goes by the layer and not by attention, so that it holds for NAFNet too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...archs.networks.channel_norm import BiasFreeNorm2d

__all__ = ["has_layer_norm", "unit_columns", "unit_images", "unit_positions"]


def has_layer_norm(net: nn.Module) -> bool:
    """Tell whether a network holds layer normalization: PyTorch's, this package's, or by its class's name."""
    return any(
        isinstance(module, nn.LayerNorm | BiasFreeNorm2d) or "LayerNorm" in type(module).__name__
        for module in net.modules()
    )


def unit_columns(features: Tensor, eps: float = 1e-8) -> Tensor:
    """Divide every position by (its L2 norm over channels + eps).

    A position where all channels are 0 stays 0 and gets the gradient 0, where the formula's has none.

    Args:
        features: (B, C, ...), floating point.
        eps: FAKD's (He et al., ICIP 2020).
    """
    return _divided(features, (1,), eps)


def unit_positions(features: Tensor) -> Tensor:
    """Scale every position of (B, C, h, w) to a root mean square of 1 over its channels; all-zero ones stay 0."""
    return unit_columns(features) * features.shape[1] ** 0.5


def unit_images(features: Tensor) -> Tensor:
    """Scale every image's map, (C, h, w) of (B, C, h, w), to a root mean square of 1; all-zero ones stay 0."""
    return _divided(features, (1, 2, 3), 1e-8) * features[0].numel() ** 0.5


def _divided(features: Tensor, dim: tuple[int, ...], eps: float) -> Tensor:
    # Not vector_norm, which on CPUs adds up millions of float32 one after another, and is 1e-5 off.
    squares = features.square().sum(dim, keepdim=True)
    something = squares > 0
    norm = torch.where(something, squares, 1).sqrt()  # the root's slope at 0 would be infinite, and 0 times it NaN
    return features * torch.where(something, 1 / (norm + eps), 0)
