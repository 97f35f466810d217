"""Several frozen teachers and a small network that makes one image of theirs (MTKD, Jiang et al., ECCV 2024)."""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from basicsr.archs.swinir_arch import SwinIR
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from ...install import register
from ..build import Built, WeightSource, build
from ..facts import ArchFacts
from ..frozen import FrozenNetworks

__all__ = ["TeacherAggregation"]

_LOG = logging.getLogger("basicsr")
_WITHOUT_FILE = ("PretrainedNet", "Bicubic")
"""Networks that load a file of their own, or have no weights."""


@register(ARCH_REGISTRY)
class TeacherAggregation(nn.Module):
    r"""What several teachers make of LQ, refined to one image: stage 1 of MTKD (arXiv 2404.09571, section 3.1).

    .. math:: A(x) = \frac 1 n \sum_i T_i(x) + \frac 1 n \sum_i r_i(T_1(x), \dots, T_n(x))

    All n outputs, side by side in the channels, pass BasicSR's SwinIR without upsampling, which adds a residual
    :math:`r_i` to each; the image is their mean. Its last layer starts with zeros, so that training starts from the
    mean of the teachers. The authors' DCTSwin has cosine transforms around its attention, and gives an image instead of
    residuals.

    The teachers are frozen: they are neither in the ``state_dict`` nor among the parameters, and copies share them. The
    weights of this network are worth nothing with other teachers than those it was trained with; loading them then
    gives a warning, by a check sum of each teacher.

    Args:
        teachers: a block for each, with ``type``, its arguments, and where its weights are: ``path`` (null for a
            network that needs none) and, where the file has several entries, ``param_key``.
        upscale: output size / input size, which all teachers must have.
        num_out_ch: channels of the images.
        embed_dim: channels of the Swin blocks.
        depths: layers of each group of Swin blocks.
        num_heads: attention heads of each group.
        window_size: side of the windows.
        mlp_ratio: hidden channels of the MLPs / ``embed_dim``.
        drop_path_rate: share of layers left out in training, in the last one; earlier ones less.
        unshuffle: pixels of a side that become channels before the Swin blocks, so that they work on smaller images;
            by default ``upscale``, as in the authors' code: the blocks work at the size of LQ. With 1 they work at the
            size of the output.
        img_size: side of the images that the Swin blocks mostly see: GT patches / ``unshuffle``. Attention masks of
            this size are kept, and made anew in each pass for others. No weight depends on it.

    Attributes:
        facts: scale, and the size rules that hold for all teachers.

    Raises:
        ValueError: no teachers; a block that names no weights.
        ConfigError: a teacher upscales by something else.
        CheckpointError: weights of a teacher are missing, damaged, or do not fit.
    """

    fingerprint: Tensor

    def __init__(
        self,
        teachers: Sequence[Mapping[str, Any]],
        upscale: int = 4,
        num_out_ch: int = 3,
        embed_dim: int = 96,
        depths: Sequence[int] = (4, 4),
        num_heads: Sequence[int] = (6, 6),
        window_size: int = 8,
        mlp_ratio: float = 2.0,
        drop_path_rate: float = 0.1,
        unshuffle: int | None = None,
        img_size: int = 64,
    ) -> None:
        super().__init__()
        if not teachers:
            raise ValueError("teachers is empty; give a block with type and path for each teacher")
        built = [_teacher(f"teachers[{i}]", block, upscale) for i, block in enumerate(teachers)]
        self.teachers = FrozenNetworks(each.net for each in built)
        self.unshuffle = upscale if unshuffle is None else unshuffle
        self.sizes = ArchFacts(scale=1, multiple_of=window_size * self.unshuffle)
        facts = [each.facts for each in built]
        self.facts = ArchFacts(
            scale=upscale,
            multiple_of=math.lcm(*(max(1, each.multiple_of) for each in facts)),
            minimum=max(each.minimum for each in facts),
            square=any(each.square for each in facts),
        )
        self.body = SwinIR(
            img_size=-(-img_size // window_size) * window_size,
            in_chans=len(built) * num_out_ch * self.unshuffle**2,
            embed_dim=embed_dim,
            depths=tuple(depths),
            num_heads=tuple(num_heads),
            window_size=window_size,
            mlp_ratio=mlp_ratio,
            drop_path_rate=drop_path_rate,
            upscale=1,
            upsampler="",
        )
        for parameter in self.body.conv_last.parameters():
            nn.init.zeros_(parameter)
        for module in self.body.modules():  # of this size only, so not a part of the weights
            if isinstance(getattr(module, "attn_mask", None), Tensor):
                module.register_buffer("attn_mask", module.attn_mask, persistent=False)
        self.register_buffer("fingerprint", torch.tensor([_check_sum(net) for net in self.teachers]))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) in [0, 1] to (B, C, upscale * h, upscale * w); no gradient to ``x``."""
        with torch.no_grad():
            images = torch.cat([teacher(x) for teacher in self.teachers], 1)
        height, width = images.shape[-2:]
        cells = F.pixel_unshuffle(self._padded(images), self.unshuffle)
        refined = F.pixel_shuffle(self.body(cells), self.unshuffle)[..., :height, :width]
        return refined.unflatten(1, (len(self.teachers), -1)).mean(1)

    def _padded(self, images: Tensor) -> Tensor:
        """Reflect right and bottom to whole windows; repeat the border where an image is too small for that."""
        height, width = images.shape[-2:]
        down, right = (a - b for a, b in zip(self.sizes.padded(height, width), (height, width)))
        if not (down or right):
            return images
        return F.pad(images, (0, right, 0, down), mode="reflect" if right < width and down < height else "replicate")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> TeacherAggregation:
        """Move or convert the teachers too."""
        self.teachers.move(fn, recurse)
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Say if these weights were trained with other teachers, and keep what tells the present ones."""
        key, own = f"{prefix}fingerprint", self.fingerprint.tolist()
        theirs = state_dict.get(key)
        if theirs is not None and theirs.shape == self.fingerprint.shape:
            other = [f"teachers[{i}]" for i, pair in enumerate(zip(own, theirs.tolist())) if pair[0] != pair[1]]
            if other and any(own):  # an outline has none
                _LOG.warning(
                    "TeacherAggregation: %s: not the weights that were there when it was trained. Its refinement "
                    "holds for those alone; give their files, or train it again",
                    ", ".join(other),
                )
            state_dict[key] = self.fingerprint.clone()
        super()._load_from_state_dict(state_dict, prefix, *args)


def _teacher(where: str, block: Mapping[str, Any], scale: int) -> Built:
    """Build a teacher with its weights, where parameters are made at present: in an outline nowhere."""
    if not isinstance(block, Mapping) or "type" not in block:
        raise ValueError(f"{where} must be a block with a type, got {block!r}")
    options, weights = dict(block), None
    if block["type"] not in _WITHOUT_FILE:
        if "path" not in block:
            raise ValueError(
                f"{where} ({block['type']}) names no weights; give its file as path (null where none is needed)"
            )
        path, key = options.pop("path"), options.pop("param_key", None)
        weights = None if path is None else WeightSource(Path(path).expanduser(), key)
    return build(options, weights=weights, scale=scale, device=torch.empty(0).device, frozen=True, where=where)


def _check_sum(net: nn.Module) -> int:
    """Return a number that other weights of a network would hardly have; 0 for one without values."""
    found = 0
    for key, value in sorted(net.state_dict().items()):
        if value.is_meta:
            return 0
        found = zlib.crc32(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy(), found)
        found = zlib.crc32(key.encode(), found)
    return found
