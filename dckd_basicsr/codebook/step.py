"""What an iteration computes: an image through encoder, codebook and decoder, and how far that is from the image."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..archs.networks.vqgan_arch import VQGAN
from ..losses.quantization import commitment_loss

__all__ = ["Reconstructing", "ReconstructionStep", "Step", "code_rows"]


class Step(NamedTuple):
    """What :class:`ReconstructionStep` found.

    Attributes:
        losses: scalars by name; their sum is what the reconstruction minimises.
        image: the images in [-1, 1], (B, C, H, W).
        made: their reconstructions, with gradient.
        outputs: of the encoder, one row for each latent pixel, (N, length), without gradient.
        indices: of the nearest codes, (N,).
    """

    losses: dict[str, Tensor]
    image: Tensor
    made: Tensor
    outputs: Tensor
    indices: Tensor


def code_rows(latent: Tensor) -> Tensor:
    """Return latents (B, length, h, w) as rows (B * h * w, length), in float32 and without gradient."""
    return latent.detach().float().permute(0, 2, 3, 1).flatten(0, 2)


class ReconstructionStep(nn.Module):
    """A VQGAN with its losses (van den Oord et al., NeurIPS 2017; Esser et al., CVPR 2021).

    The decoder gets the nearest codes; its gradient goes past them to the encoder as it is (straight through).

    Args:
        vqgan: with a decoder.
        losses: by name, of images in [0, 1], each with its weight inside; one that gives several values, as BasicSR's
            perceptual loss does, gives those that are not None.
        commitment: weight of the commitment loss.
        region: makes the context of mixed precision; codes and losses are float32 always.
    """

    def __init__(
        self,
        vqgan: VQGAN,
        losses: dict[str, nn.Module],
        commitment: float,
        region: Callable[[], AbstractContextManager] = nullcontext,
    ) -> None:
        super().__init__()
        self.vqgan, self.commitment, self.region = vqgan, commitment, region
        self.terms = nn.ModuleDict(losses)

    def forward(self, images: Tensor) -> Step:
        """Reconstruct images (B, C, H, W) in [0, 1], of sides that halve as often as the network has levels."""
        image = 2.0 * images - 1.0
        with self.region():
            latent = self.vqgan.encode(image)
        latent = latent.float()
        codes, indices = self.vqgan.quantize.quantize(latent.detach())
        with self.region():
            made = self.vqgan.decode(latent + (codes - latent).detach())
        made = made.float()
        losses = {name: _total(term(0.5 * (made + 1.0), images)) for name, term in self.terms.items()}
        if self.commitment > 0:
            losses["l_commit"] = self.commitment * commitment_loss(latent, codes)
        return Step(losses, image, made, code_rows(latent), indices.flatten())


def _total(found: Any) -> Tensor:
    values = [each for each in (found if isinstance(found, tuple) else (found,)) if each is not None]
    return sum(values[1:], values[0])


class Reconstructing(nn.Module):
    """A VQGAN as a restoration network: images in [0, 1] in and out; it counts the codes they pass through.

    Args:
        vqgan: with a decoder.
        hits: how often each code was the nearest, (codes,), counted on; None for no count.
    """

    def __init__(self, vqgan: VQGAN, hits: Tensor | None = None) -> None:
        super().__init__()
        self.vqgan, self.hits = vqgan, hits

    def forward(self, images: Tensor) -> Tensor:
        """Return the reconstructions of images (B, C, H, W)."""
        codes, indices = self.vqgan.quantize.quantize(self.vqgan.encode(2.0 * images - 1.0))
        if self.hits is not None:
            self.hits += torch.bincount(indices.flatten(), minlength=len(self.hits))
        return 0.5 * (self.vqgan.decode(codes) + 1.0)
