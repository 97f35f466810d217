"""The frozen VQGAN encoder as a measuring instrument: images in [0, 1] in, taps and code logits out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ..archs.frozen_layers import keep_no_inputs
from ..archs.networks.vqgan_arch import VQGAN, Encoder, Encoding
from ..archs.networks.vqgan_blocks import ResnetBlock
from .chunking import images_at_once
from .settings import EncoderSettings

__all__ = ["FrozenEncoder"]


class FrozenEncoder(nn.Module):
    """A VQGAN that never trains; gradients pass through it to the images only.

    Args:
        vqgan: with its weights loaded; its parameters are frozen in place.
        settings: input range and chunk size.
    """

    def __init__(self, vqgan: VQGAN, settings: EncoderSettings | None = None) -> None:
        super().__init__()
        self.dtype = torch.float32
        self.float32_region: Callable[[], AbstractContextManager] = nullcontext
        """Makes the context in which the layers compute where they compute in float32."""
        self.vqgan = vqgan.eval().requires_grad_(False)
        self.settings = settings or EncoderSettings()
        keep_no_inputs(self.vqgan)
        for module in self.vqgan.encoder.modules():
            if isinstance(module, Encoder | ResnetBlock):
                module.fused_norms = self.settings.fused_norms

    def train(self, mode: bool = True) -> FrozenEncoder:
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, images: Tensor, *, taps: int | bool, logits: int | bool) -> Encoding:
        """Encode images in [0, 1], (B, 3, H, W) or (B, 1, H, W), with gradients to them.

        Args:
            images: not clamped, so that an out-of-range student keeps its gradient.
            taps: see :meth:`VQGAN.analyse`.
            logits: see there.
        """
        low, high = self.settings.input_range
        x = images * (high - low) + low
        if x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)
        weight = getattr(self.vqgan.encoder.conv_in, "weight", None)
        if weight is not None and weight.is_contiguous(memory_format=torch.channels_last):
            x = x.contiguous(memory_format=torch.channels_last)  # else the first layers run in the other layout
        with self.float32_region():
            return self.vqgan.analyse(x.to(self.dtype), taps=taps, logits=logits)

    def round_to(self, dtype: torch.dtype) -> None:
        """Let the layers compute in ``dtype``; the codebook and what is compared with it stay float32."""
        self.vqgan.encoder.to(dtype)
        self.vqgan.quant_conv.to(dtype)
        self.dtype = dtype

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile the way to the last tap and the way from there, each as a whole: every level is of another shape."""
        for name in ("to_last_tap", "from_last_tap"):
            setattr(self.vqgan.encoder, name, torch.compile(getattr(self.vqgan.encoder, name), *args, **options))

    @torch.no_grad()
    def reference(self, images: Tensor, *, taps: int | bool, logits: int | bool) -> Encoding:
        """Encode images that need no gradient, as many at once as :func:`.images_at_once` says."""
        wanted = len(images) if logits is True else int(logits)
        images = images if taps else images[:wanted]
        # Unlike in a restoration network, the widest layers follow each other here, with two or three alive at a time.
        count = images_at_once(images, self.settings.chunk, 2.5 * self.vqgan.config.ch, self.dtype)
        pieces = [self(piece, taps=True if wanted else taps, logits=False).taps for piece in images.split(count)]
        levels = pieces[0] if len(pieces) == 1 else tuple(torch.cat(level) for level in zip(*pieces))
        with self.float32_region():
            rows = self.vqgan.logits_from_last_tap(levels[-1][:wanted]) if wanted else None
        return Encoding(levels if taps is True else levels[: int(taps)], rows)
