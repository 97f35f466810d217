"""The distillations that the step benchmarks time: the paper's sizes for GPUs, small ones for CPUs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["RECIPES", "Recipe"]

_PLAIN = {"num_in_ch": 3, "num_out_ch": 3}
_SWINIR = {
    "type": "SwinIR",
    "upscale": 4,
    "window_size": 8,
    "img_range": 1.0,
    "mlp_ratio": 2,
    "resi_connection": "1conv",
}
_VQGAN: dict[str, Any] = {"z_channels": 256}
_SMALL_VQGAN: dict[str, Any] = {"ch": 32, "ch_mult": [1, 1, 2, 2, 4], "attn_resolutions": [16], "z_channels": 64}


@dataclass(frozen=True)
class Recipe:
    """One distillation.

    Attributes:
        teacher: option block.
        student: option block.
        scale: output size / input size.
        gt_size: patch side in pixels.
        batch: patches.
        vqgan: layout of the encoder, as ``ddconfig``.
        consistency: whether the label-consistency term is on.
    """

    teacher: dict[str, Any]
    student: dict[str, Any]
    scale: int
    gt_size: int
    batch: int
    vqgan: dict[str, Any]
    consistency: bool = True


def _edsr(feat: int, block: int, res_scale: float = 1.0) -> dict[str, Any]:
    return {"type": "EDSR", **_PLAIN, "num_feat": feat, "num_block": block, "upscale": 4, "res_scale": res_scale}


def _rcan(group: int, block: int, feat: int = 64) -> dict[str, Any]:
    sizes = {"num_feat": feat, "num_group": group, "num_block": block, "squeeze_factor": 16 if feat >= 64 else 4}
    return {"type": "RCAN", **_PLAIN, **sizes, "upscale": 4, "res_scale": 1}


def _swinir(dim: int, depths: list[int], heads: int, upsampler: str) -> dict[str, Any]:
    sizes = {"embed_dim": dim, "depths": depths, "num_heads": [heads] * len(depths), "upsampler": upsampler}
    return {**_SWINIR, "img_size": 48, **sizes}


def _nafnet(width: int, deep: int) -> dict[str, Any]:
    blocks = {"enc_blk_nums": [1, 1, 1, deep], "middle_blk_num": 1, "dec_blk_nums": [1, 1, 1, 1]}
    return {"type": "NAFNet", "width": width, **blocks}


def _restormer(dim: int, blocks: list[int], refinement: int) -> dict[str, Any]:
    return {"type": "Restormer", "dim": dim, "num_blocks": blocks, "num_refinement_blocks": refinement}


RECIPES: dict[str, dict[str, Recipe]] = {
    "paper": {
        "swinir": Recipe(
            _swinir(180, [6] * 6, 6, "pixelshuffle"), _swinir(60, [6] * 4, 6, "pixelshuffle"), 4, 192, 16, _VQGAN
        ),
        "edsr": Recipe(_edsr(256, 32, 0.1), _edsr(64, 32), 4, 192, 16, _VQGAN),
        "rcan": Recipe(_rcan(10, 20), _rcan(10, 6), 4, 192, 16, _VQGAN),
        "nafnet": Recipe(_nafnet(32, 28), _nafnet(16, 14), 1, 256, 8, _VQGAN),
        "restormer": Recipe(_restormer(48, [4, 6, 6, 8], 4), _restormer(24, [2, 3, 3, 4], 2), 1, 128, 8, _VQGAN),
    },
    "small": {
        "swinir": Recipe(
            _swinir(60, [2, 2], 6, "pixelshuffledirect"), _swinir(24, [2], 4, "pixelshuffledirect"), 4, 96, 4,
            _SMALL_VQGAN,
        ),
        "edsr": Recipe(_edsr(64, 8), _edsr(24, 4), 4, 96, 4, _SMALL_VQGAN),
        "rcan": Recipe(_rcan(3, 4, 32), _rcan(2, 2, 16), 4, 96, 4, _SMALL_VQGAN),
        "nafnet": Recipe(_nafnet(16, 4), _nafnet(8, 2), 1, 96, 4, _SMALL_VQGAN),
        "restormer": Recipe(_restormer(24, [1, 1, 1, 2], 1), _restormer(16, [1, 1, 1, 1], 1), 1, 64, 4, _SMALL_VQGAN),
    },
}  # fmt: skip
"""By size and name."""
