"""The frozen VQGAN encoder as a measuring instrument: images in [0, 1] in, taps and code logits out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..archs.vqgan_arch import VQGAN, Encoding
from .chunking import images_at_once
from .settings import EncoderSettings

__all__ = ["FrozenEncoder"]


class FrozenEncoder(nn.Module):
    """A VQGAN that never trains; gradients pass through it to the images only.

    Args:
        vqgan: with its weights loaded; its parameters are frozen in place.
        settings: input range and chunk size.
        dtype: of the encoder's layers; the codebook and what is compared with it stay float32.
    """

    def __init__(
        self, vqgan: VQGAN, settings: EncoderSettings | None = None, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        vqgan.encoder.to(dtype)
        vqgan.quant_conv.to(dtype)
        self.dtype = dtype
        self.vqgan = vqgan.eval().requires_grad_(False)
        self.settings = settings or EncoderSettings()

    def train(self, mode: bool = True) -> FrozenEncoder:
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, images: Tensor, *, taps: bool, logits: int | bool) -> Encoding:
        """Encode images in [0, 1], (B, 3, H, W) or (B, 1, H, W), with gradients to them.

        Args:
            images: not clamped, so that an out-of-range student keeps its gradient.
            taps: return the taps.
            logits: see :meth:`VQGAN.analyse`.
        """
        low, high = self.settings.input_range
        x = images * (high - low) + low
        if x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)
        weight = getattr(self.vqgan.encoder.conv_in, "weight", None)
        if weight is not None and weight.is_contiguous(memory_format=torch.channels_last):
            x = x.contiguous(memory_format=torch.channels_last)  # else the first layers run in the other layout
        return self.vqgan.analyse(x.to(self.dtype), taps=taps, logits=logits)

    @torch.no_grad()
    def reference(self, images: Tensor, *, taps: bool, logits: int | bool) -> Encoding:
        """Encode images that need no gradient, as many at once as :func:`.images_at_once` says."""
        chunk = images_at_once(images, self.settings.chunk, self.vqgan.config.ch)
        wanted = len(images) if logits is True else int(logits)
        parts = [
            self(images[start : start + chunk], taps=taps, logits=max(0, min(chunk, wanted - start)))
            for start in range(0, len(images) if taps else wanted, chunk)
        ]
        if len(parts) == 1:
            return parts[0]
        levels = tuple(torch.cat(level) for level in zip(*(part.taps for part in parts))) if taps else ()
        rows = [part.logits for part in parts if part.logits is not None]
        return Encoding(levels, torch.cat(rows) if rows else None)
