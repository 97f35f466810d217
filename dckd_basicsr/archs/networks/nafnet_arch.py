"""NAFNet, a U-shaped restoration network without activation functions (Chen et al., ECCV 2022).

Constructor arguments and state-dict layout are the official ones, so published weights load strictly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from ...errors import ConfigError
from ...install import register
from ..facts import ArchFacts
from .nafnet_blocks import NAFBlock

__all__ = ["NAFNet"]


@register(ARCH_REGISTRY)
class NAFNet(nn.Module):
    """Restore images of any size: the network pads to a multiple of 2^levels inside and crops back.

    Args:
        img_channel: channels of input and output images.
        width: channels of the finest level; they double with every level.
        middle_blk_num: blocks at the coarsest level.
        enc_blk_nums: blocks per level on the way down, finest first; its length is the number of levels.
        dec_blk_nums: blocks per level on the way up, coarsest first; as many levels.
        tlc: training patch size in pixels, for test-time local conversion (Chu et al., ECCV 2022): in eval mode the
            channel attention takes means over windows of 1.5 times the patch instead of the whole image, because that
            is what it saw in training. Weights are the same with and without. None for means over the whole image.

    Raises:
        ConfigError: ``enc_blk_nums`` and ``dec_blk_nums`` differ in length, or ``tlc`` is not positive.
    """

    facts: ClassVar[ArchFacts] = ArchFacts(scale=1)

    def __init__(
        self,
        img_channel: int = 3,
        width: int = 16,
        middle_blk_num: int = 1,
        enc_blk_nums: Sequence[int] = (),
        dec_blk_nums: Sequence[int] = (),
        tlc: int | None = None,
    ) -> None:
        super().__init__()
        levels = len(enc_blk_nums)
        if len(dec_blk_nums) != levels:
            raise ConfigError(
                f"NAFNet has {levels} levels in enc_blk_nums and {len(dec_blk_nums)} in dec_blk_nums; "
                "give one number per level in both"
            )
        if tlc is not None and tlc < 1:
            raise ConfigError(f"NAFNet's tlc is the training patch size in pixels (e.g. 256) or null, got {tlc}")

        def stage(level: int, blocks: int) -> nn.Sequential:
            # A pixel of a level stands for 2^level pixels of the image, so the window shrinks with it.
            window = None if tlc is None else max(1, (tlc * 3 // 2) >> level)
            return nn.Sequential(*(NAFBlock(width << level, window) for _ in range(blocks)))

        coarser = range(1, levels + 1)
        self.multiple = 2**levels
        self.intro = nn.Conv2d(img_channel, width, 3, padding=1)
        self.encoders = nn.ModuleList(stage(level, blocks) for level, blocks in enumerate(enc_blk_nums))
        self.downs = nn.ModuleList(nn.Conv2d(width << i - 1, width << i, 2, stride=2) for i in coarser)
        self.middle_blks = stage(levels, middle_blk_num)
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width << i, width << i + 1, 1, bias=False), nn.PixelShuffle(2))
            for i in reversed(coarser)
        )
        self.decoders = nn.ModuleList(stage(levels - 1 - i, blocks) for i, blocks in enumerate(dec_blk_nums))
        self.ending = nn.Conv2d(width, img_channel, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, img_channel, H, W) in [0, 1] to restored images of the same shape, not clamped."""
        height, width = x.shape[-2:]
        h = self.intro(F.pad(x, (0, -width % self.multiple, 0, -height % self.multiple)))
        skips: list[Tensor] = []
        for encoder, down in zip(self.encoders, self.downs):
            skips.append(encoder(h))
            h = down(skips[-1])
        h = self.middle_blks(h)
        for up, decoder, skip in zip(self.ups, self.decoders, reversed(skips)):
            h = decoder(up(h) + skip)
        return x + self.ending(h)[..., :height, :width]
