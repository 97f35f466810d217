"""Restormer, a U-shaped transformer whose attention is between channels (Zamir et al., CVPR 2022).

Constructor arguments and state-dict layout are the official ones, so weights in that layout load strictly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from ...errors import ConfigError
from ...install import register
from ..facts import ArchFacts
from .restormer_blocks import TransformerBlock, named

__all__ = ["Restormer"]

_LEVELS = 4


def _conv3(width_in: int, width_out: int, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(width_in, width_out, 3, padding=1, bias=bias)


def _down(width: int) -> nn.Module:
    """Half the height and width, twice the channels."""
    return named(body=nn.Sequential(_conv3(width, width // 2), nn.PixelUnshuffle(2)))


def _up(width: int) -> nn.Module:
    """Twice the height and width, half the channels."""
    return named(body=nn.Sequential(_conv3(width, 2 * width), nn.PixelShuffle(2)))


@register(ARCH_REGISTRY)
class Restormer(nn.Module):
    """Restore images whose height and width are multiples of 8.

    Args:
        inp_channels: channels of input images.
        out_channels: channels of output images.
        dim: channels of the finest level; they double with every level, and stay doubled in its decoder.
        num_blocks: blocks of the four levels, finest first; decoders have as many as encoders.
        num_refinement_blocks: blocks after the finest decoder.
        heads: attention heads of the four levels; each divides the channels of its level.
        ffn_expansion_factor: hidden channels of the feed-forward / channels.
        bias: give the convolutions inside blocks, the reductions and the output a bias.
        LayerNorm_type: ``WithBias``, or ``BiasFree`` (for Gaussian denoising).
        dual_pixel_task: for dual-pixel defocus deblurring: the residual is in features, not from the input image,
            which then holds two views (inp_channels 6).

    Raises:
        ConfigError: a list has not four entries, a head count does not divide its channels, the name of the layer
            norm is unknown, or input and output differ in channels although the residual joins them.
    """

    facts: ClassVar[ArchFacts] = ArchFacts(scale=1, multiple_of=8, minimum=8)

    def __init__(
        self,
        inp_channels: int = 3,
        out_channels: int = 3,
        dim: int = 48,
        num_blocks: Sequence[int] = (4, 6, 6, 8),
        num_refinement_blocks: int = 4,
        heads: Sequence[int] = (1, 2, 4, 8),
        ffn_expansion_factor: float = 2.66,
        bias: bool = False,
        LayerNorm_type: Literal["WithBias", "BiasFree"] = "WithBias",
        dual_pixel_task: bool = False,
    ) -> None:
        super().__init__()
        widths = [dim << level for level in range(_LEVELS)]
        _check(widths, num_blocks, heads)
        if inp_channels != out_channels and not dual_pixel_task:
            raise ConfigError(
                f"Restormer adds its input to its output, but inp_channels is {inp_channels} and out_channels "
                f"{out_channels}; make them equal, or set dual_pixel_task: true"
            )

        def stage(width: int, level: int, blocks: int) -> nn.Sequential:
            options = (heads[level], ffn_expansion_factor, bias, LayerNorm_type)
            return nn.Sequential(*(TransformerBlock(width, *options) for _ in range(blocks)))

        self.patch_embed = named(proj=_conv3(inp_channels, dim))
        self.encoder_level1 = stage(widths[0], 0, num_blocks[0])
        self.down1_2 = _down(widths[0])
        self.encoder_level2 = stage(widths[1], 1, num_blocks[1])
        self.down2_3 = _down(widths[1])
        self.encoder_level3 = stage(widths[2], 2, num_blocks[2])
        self.down3_4 = _down(widths[2])
        self.latent = stage(widths[3], 3, num_blocks[3])
        self.up4_3 = _up(widths[3])
        self.reduce_chan_level3 = nn.Conv2d(widths[3], widths[2], 1, bias=bias)
        self.decoder_level3 = stage(widths[2], 2, num_blocks[2])
        self.up3_2 = _up(widths[2])
        self.reduce_chan_level2 = nn.Conv2d(widths[2], widths[1], 1, bias=bias)
        self.decoder_level2 = stage(widths[1], 1, num_blocks[1])
        self.up2_1 = _up(widths[1])
        # The finest level keeps both halves of the concatenation: its decoder is as wide as level 2.
        self.decoder_level1 = stage(widths[1], 0, num_blocks[0])
        self.refinement = stage(widths[1], 0, num_refinement_blocks)
        if dual_pixel_task:
            self.skip_conv = nn.Conv2d(dim, widths[1], 1, bias=bias)
        self.output = _conv3(widths[1], out_channels, bias)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, inp_channels, H, W) in [0, 1] to (B, out_channels, H, W), not clamped; H, W multiples of 8."""
        embedded = self.patch_embed(x)
        skip1 = self.encoder_level1(embedded)
        skip2 = self.encoder_level2(self.down1_2(skip1))
        skip3 = self.encoder_level3(self.down2_3(skip2))
        h = self.latent(self.down3_4(skip3))
        h = self.decoder_level3(self.reduce_chan_level3(torch.cat((self.up4_3(h), skip3), dim=1)))
        h = self.decoder_level2(self.reduce_chan_level2(torch.cat((self.up3_2(h), skip2), dim=1)))
        h = self.refinement(self.decoder_level1(torch.cat((self.up2_1(h), skip1), dim=1)))
        if hasattr(self, "skip_conv"):
            return self.output(h + self.skip_conv(embedded))
        return x + self.output(h)


def _check(widths: Sequence[int], num_blocks: Sequence[int], heads: Sequence[int]) -> None:
    for name, values in (("num_blocks", num_blocks), ("heads", heads)):
        if len(values) != _LEVELS:
            raise ConfigError(f"Restormer has {_LEVELS} levels, but {name} has {len(values)} entries")
    # The finest decoder, twice as wide as its encoder, has the encoder's heads and so fits too.
    for level, (width, count) in enumerate(zip(widths, heads), start=1):
        if count < 1 or width % count:
            raise ConfigError(f"Restormer's {width} channels at level {level} do not divide into {count} heads")
