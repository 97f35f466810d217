"""VQGAN autoencoder whose frozen encoder and codebook measure images (Esser et al., CVPR 2021).

Constructor arguments and state-dict layout are those of the official first-stage model, so its weights load strictly.
The forward passes are arranged for distillation: one pass gives the contrast's taps and the code logits together, and
stops where nothing further is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from ...install import register
from ..facts import ArchFacts
from ..tf32 import tf32
from .vqgan_blocks import AttnBlock, Downsample, ResnetBlock, Upsample, activated, group_norm
from .vqgan_layout import DDConfig

__all__ = ["VQGAN", "Encoder", "Encoding"]


class Encoding(NamedTuple):
    """What one pass through the encoder gives.

    Attributes:
        taps: per resolution level the output of its first ResBlock, shapes (B, C_i, H / 2^i, W / 2^i), before any
            attention. Empty if they were not asked for.
        logits: minus the squared distances to the codes, shape (B' * h * w, n_embed), rows ordered (batch, y, x), of
            the first B' images; None if they were not asked for.
    """

    taps: tuple[Tensor, ...]
    logits: Tensor | None


def _level(blocks: list[nn.Module], attentions: list[nn.Module]) -> nn.Module:
    level = nn.Module()
    level.block = nn.ModuleList(blocks)
    level.attn = nn.ModuleList(attentions)
    return level


def _middle(channels: int, dropout: float) -> nn.Module:
    middle = nn.Module()
    middle.block_1 = ResnetBlock(channels, channels, dropout)
    middle.attn_1 = AttnBlock(channels)
    middle.block_2 = ResnetBlock(channels, channels, dropout)
    return middle


def _run_middle(middle: Any, h: Tensor) -> Tensor:
    return middle.block_2(middle.attn_1(middle.block_1(h)))


class Encoder(nn.Module):
    """Image (B, in_channels, H, W) to latent features (B, z_channels, H / 2^(L-1), W / 2^(L-1)) over L levels."""

    fused_norms = False
    """Of the last layer, see :func:`.activated`; its blocks have their own."""

    def __init__(self, config: DDConfig) -> None:
        super().__init__()
        widths = config.widths
        self.conv_in = nn.Conv2d(config.in_channels, config.ch, 3, padding=1)
        self.down = nn.ModuleList()
        width_in = config.ch
        for i, width in enumerate(widths):
            blocks: list[nn.Module] = []
            for _ in range(config.num_res_blocks):
                blocks.append(ResnetBlock(width_in, width, config.dropout))
                width_in = width
            attentions: list[nn.Module] = [AttnBlock(width) for _ in blocks] if config.has_attention(i) else []
            level = _level(blocks, attentions)
            if i < len(widths) - 1:
                level.downsample = Downsample(width)
            self.down.append(level)
        self.mid = _middle(width_in, config.dropout)
        self.norm_out = group_norm(width_in)
        out = 2 * config.z_channels if config.double_z else config.z_channels
        self.conv_out = nn.Conv2d(width_in, out, 3, padding=1)

    def to_last_tap(self, x: Tensor, count: int | None = None) -> list[Tensor]:
        """Run up to the first ResBlock of the last level and return the taps; the last one is where to go on.

        Args:
            x: images.
            count: stop at the tap of the level with this number, counted from 1.
        """
        h = self.conv_in(x)
        taps: list[Tensor] = []
        last = (len(self.down) if count is None else count) - 1
        for i, module in enumerate(self.down[: last + 1]):
            level: Any = module
            h = level.block[0](h)
            taps.append(h)
            if i < last:
                h = level.downsample(self._rest_of_level(level, h))
        return taps

    def from_last_tap(self, tap: Tensor) -> Tensor:
        """Run what follows the last tap and return the latent features."""
        h = self._rest_of_level(self.down[-1], tap)
        h = _run_middle(self.mid, h)
        return self.conv_out(activated(h, self.norm_out, self.fused_norms))

    def forward(self, x: Tensor) -> Tensor:
        return self.from_last_tap(self.to_last_tap(x)[-1])

    @staticmethod
    def _rest_of_level(level: Any, h: Tensor) -> Tensor:
        for i, block in enumerate(level.block):
            if i > 0:
                h = block(h)
            if len(level.attn) > 0:
                h = level.attn[i](h)
        return h


class Decoder(nn.Module):
    """Latent features (B, z_channels, h, w) to image (B, out_ch, h * 2^(L-1), w * 2^(L-1))."""

    def __init__(self, config: DDConfig) -> None:
        super().__init__()
        widths = config.widths
        width_in = widths[-1]
        self.conv_in = nn.Conv2d(config.z_channels, width_in, 3, padding=1)
        self.mid = _middle(width_in, config.dropout)
        levels: list[nn.Module] = []
        for i in reversed(range(len(widths))):
            blocks: list[nn.Module] = []
            for _ in range(config.num_res_blocks + 1):
                blocks.append(ResnetBlock(width_in, widths[i], config.dropout))
                width_in = widths[i]
            attentions: list[nn.Module] = [AttnBlock(widths[i]) for _ in blocks] if config.has_attention(i) else []
            level = _level(blocks, attentions)
            if i > 0:
                level.upsample = Upsample(width_in)
            levels.insert(0, level)  # the state dict counts levels from the finest, although the coarsest runs first
        self.up = nn.ModuleList(levels)
        self.norm_out = group_norm(width_in)
        self.conv_out = nn.Conv2d(width_in, config.out_ch, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = _run_middle(self.mid, self.conv_in(z))
        for i in reversed(range(len(self.up))):
            level: Any = self.up[i]
            for j, block in enumerate(level.block):
                h = block(h)
                if len(level.attn) > 0:
                    h = level.attn[j](h)
            if i > 0:
                h = level.upsample(h)
        return self.conv_out(activated(h, self.norm_out))


class _ExactProduct(torch.autograd.Function):
    """``rows @ codes.T`` in full float32, forward and backward, also where the networks around it may use TF32."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, codes: Tensor) -> Tensor:
        ctx.save_for_backward(rows if ctx.needs_input_grad[1] else None, codes)
        ctx.transposed = rows.stride() == (1, len(rows))  # PyTorch multiplies the other way round then: to the same bit
        with tf32(False):
            return rows @ codes.t()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (gradient,), (rows, codes) = gradients, ctx.saved_tensors
        with tf32(False):
            return (
                (codes.t() @ gradient.t()).t() if ctx.transposed else gradient @ codes,
                gradient.t() @ rows if ctx.needs_input_grad[1] else None,
            )


class Codebook(nn.Module):
    """The code vectors; ``embedding.weight`` has shape (n_embed, embed_dim)."""

    def __init__(self, n_embed: int, embed_dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_embed, embed_dim)
        self.embedding.weight.data.uniform_(-1.0 / n_embed, 1.0 / n_embed)

    def logits(self, z: Tensor) -> Tensor:
        """Minus the squared distance of every latent pixel to every code, (B, D, h, w) to (B * h * w, n_embed).

        Always in full float32: the distances are differences of large numbers, and their softmax has no temperature.
        """
        codes = self.embedding.weight.float()
        rows = z.float().permute(0, 2, 3, 1).reshape(-1, codes.shape[1])
        with torch.autocast(z.device.type, enabled=False):
            product: Tensor = _ExactProduct.apply(rows, codes)
        return 2.0 * product - rows.pow(2).sum(1, keepdim=True) - codes.pow(2).sum(1)

    def quantize(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Replace every latent pixel by its nearest code: (quantized (B, D, h, w), indices (B, h, w))."""
        batch, _, height, width = z.shape
        indices = self.logits(z).argmax(1).view(batch, height, width)
        return self.embedding(indices).permute(0, 3, 1, 2), indices


@register(ARCH_REGISTRY)
class VQGAN(nn.Module):
    """Vector-quantized autoencoder; the defaults are the f16, 1024-code ImageNet model of taming-transformers.

    Args:
        ddconfig: encoder and decoder layout under the official names (``ch``, ``ch_mult``, ``num_res_blocks``,
            ``attn_resolutions``, ``resolution``, ``z_channels``, ...); missing ones take the defaults.
        n_embed: number of codes M.
        embed_dim: length of a code.
        decoder: build the decoder and ``post_quant_conv`` too. Distillation needs neither.
    """

    def __init__(
        self,
        ddconfig: Mapping[str, Any] | None = None,
        n_embed: int = 1024,
        embed_dim: int = 256,
        decoder: bool = True,
    ) -> None:
        super().__init__()
        config = DDConfig.from_mapping(ddconfig or {})
        self.config = config
        self.encoder = Encoder(config)
        self.quantize = Codebook(n_embed, embed_dim)
        self.quant_conv = nn.Conv2d(config.z_channels, embed_dim, 1)
        if decoder:
            self.decoder = Decoder(config)
            self.post_quant_conv = nn.Conv2d(embed_dim, config.z_channels, 1)

    @property
    def num_taps(self) -> int:
        """Number of resolution levels, one tap each."""
        return len(self.config.ch_mult)

    @property
    def facts(self) -> ArchFacts:
        """As a network from image to image: each level but the last halves the sides."""
        return ArchFacts(
            scale=1,
            multiple_of=2 ** (self.num_taps - 1),
            input_channels=self.config.in_channels,
            output_channels=self.config.out_ch,
        )

    def analyse(self, x: Tensor, *, taps: int | bool = True, logits: int | bool = False) -> Encoding:
        """Encode once and return what was asked for.

        Args:
            x: images (B, in_channels, H, W) in the range the weights were trained on.
            taps: return the taps; True for those of all levels, a number n for those of the first n, after which the
                encoder stops, unless logits are asked for.
            logits: True for the code logits of all images, a number n for those of the first n; the encoder stops at
                the last tap for the others.
        """
        rows = len(x) if logits is True else int(logits)
        count = self.num_taps if taps is True else int(taps)
        levels = self.encoder.to_last_tap(x, None if rows or count == self.num_taps else count)
        code_logits = self.logits_from_last_tap(levels[-1][:rows]) if rows else None
        return Encoding(tuple(levels[:count]), code_logits)

    def logits_from_last_tap(self, tap: Tensor) -> Tensor:
        """Go on from the last tap, (B, C, h, w), to the code logits, (B * h * w, n_embed)."""
        return self.quantize.logits(self.quant_conv(self.encoder.from_last_tap(tap)))

    def encode(self, x: Tensor) -> Tensor:
        """Latent z before quantization, (B, embed_dim, h, w)."""
        return self.quant_conv(self.encoder(x))

    def decode(self, z: Tensor) -> Tensor:
        """Image from latent z (B, embed_dim, h, w); needs ``decoder=True``."""
        return self.decoder(self.post_quant_conv(z))

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct ``x`` through the nearest codes, with the straight-through gradient."""
        z = self.encode(x)
        quantized, _ = self.quantize.quantize(z)
        return self.decode(z + (quantized - z).detach())

    def code_distribution(self, x: Tensor) -> Tensor:
        """Softmax over the codes per latent pixel, (B * h * w, n_embed)."""
        encoding = self.analyse(x, taps=False, logits=True)
        assert encoding.logits is not None
        return F.softmax(encoding.logits, dim=1)
