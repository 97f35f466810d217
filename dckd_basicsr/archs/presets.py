"""Named students: small networks of which it is known what they cost and which programs load them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, near_miss

__all__ = ["PRESETS", "Preset", "ShortTraining", "preset", "short_training"]


@dataclass(frozen=True)
class ShortTraining:
    """What suits a network in a training of minutes to hours.

    Attributes:
        lr: peak of the learning rate.
        method: by which it is distilled.
    """

    lr: float = 1e-3
    method: str = "logits"


_SHORT = {
    "EDSR": ShortTraining(2e-3, "dckd_shallow"),
    "SPAN": ShortTraining(2e-3, "dckd_shallow"),
    "SwinIR": ShortTraining(5e-4),
    "Restormer": ShortTraining(5e-4),
}
"""What measured best (docs/method/results.md), by the network's class. Compact has the defaults, as have networks of
which nothing is known."""


def short_training(kind: str) -> ShortTraining:
    """Return what suits a network of this ``type`` in a short training; ``spandrel:`` before it says nothing."""
    return _SHORT.get(kind.removeprefix("spandrel:"), ShortTraining())


@dataclass(frozen=True)
class Preset:
    """A student by name.

    Attributes:
        name: for ``--student``.
        options: the network's block, without its scale.
        scale_key: the argument that takes the scale; None of networks that keep the size.
        scales: what it can be built for.
        use: what it is good for, in a few words.
    """

    name: str
    options: Mapping[str, Any]
    scale_key: str | None
    scales: tuple[int, ...]
    use: str

    def block(self, scale: int) -> dict[str, Any]:
        """Return the block ``network_g`` for a scale.

        Raises:
            ConfigError: it cannot be built for this scale; names presets that can.
        """
        if scale not in self.scales:
            others = ", ".join(name for name, other in PRESETS.items() if scale in other.scales) or "none"
            raise ConfigError(
                f"student {self.name} is made for scale {_listed(self.scales)}, and this is scale {scale}; "
                f"for it there are: {others}"
            )
        return {**self.options, **({self.scale_key: scale} if self.scale_key else {})}


def preset(name: str) -> Preset:
    """Return the student called ``name``.

    Raises:
        ConfigError: there is none; names the nearest, or all.
    """
    if name not in PRESETS:
        hint = near_miss(name, PRESETS) or f". There are: {', '.join(PRESETS)}"
        raise ConfigError(f"there is no student '{name}'{hint}")
    return PRESETS[name]


def _listed(scales: tuple[int, ...]) -> str:
    return ", ".join(map(str, scales[:-1])) + " or " + str(scales[-1]) if len(scales) > 1 else str(scales[0])


_RGB = {"num_in_ch": 3, "num_out_ch": 3}
_EDSR = {"type": "EDSR", **_RGB, "res_scale": 1, "img_range": 255.0, "rgb_mean": [0.4488, 0.4371, 0.4040]}
_ANY, _UP = (1, 2, 3, 4), (2, 3, 4)

PRESETS: dict[str, Preset] = {
    each.name: each
    for each in (
        Preset(
            "compact-s",
            {"type": "spandrel:Compact", **_RGB, "num_feat": 48, "num_conv": 8, "act_type": "prelu"},
            "upscale",
            _ANY,
            "video and phones; plain 3 x 3 convolutions",
        ),
        Preset(
            "compact-m",
            {"type": "spandrel:Compact", **_RGB, "num_feat": 64, "num_conv": 16, "act_type": "prelu"},
            "upscale",
            _ANY,
            "the size of realesr-animevideov3",
        ),
        Preset(
            "span-s",
            {"type": "spandrel:SPAN", **_RGB, "feature_channels": 32},
            "upscale",
            _UP,
            "photos; trains as branches that become one convolution",
        ),
        Preset(
            "span-m",
            {"type": "spandrel:SPAN", **_RGB, "feature_channels": 48},
            "upscale",
            _UP,
            "photos, fast; 48 channels",
        ),
        Preset(
            "plksr-tiny",
            {
                "type": "spandrel:PLKSR",
                "dim": 64,
                "n_blocks": 12,
                "ccm_type": "DCCM",
                "kernel_size": 13,
                "split_ratio": 0.25,
                "use_ea": False,
            },
            "upscaling_factor",
            _UP,
            "large kernels; PLKSR-tiny as published",
        ),
        Preset(
            "edsr-s",
            {**_EDSR, "num_feat": 32, "num_block": 4},
            "upscale",
            _UP,
            "the demo's student",
        ),
        Preset("edsr-m", {**_EDSR, "num_feat": 64, "num_block": 16}, "upscale", _UP, "EDSR-baseline"),
        Preset(
            "rcan-s",
            {
                "type": "RCAN",
                **_RGB,
                "num_feat": 64,
                "num_group": 4,
                "num_block": 6,
                "squeeze_factor": 16,
                "res_scale": 1,
                "img_range": 255.0,
                "rgb_mean": [0.4488, 0.4371, 0.4040],
            },
            "upscale",
            _UP,
            "quality before speed, all convolutions",
        ),
        Preset(
            "swinir-light",
            {
                "type": "SwinIR",
                "in_chans": 3,
                "img_size": 64,
                "window_size": 8,
                "img_range": 1.0,
                "depths": [6, 6, 6, 6],
                "embed_dim": 60,
                "num_heads": [6, 6, 6, 6],
                "mlp_ratio": 2,
                "upsampler": "pixelshuffledirect",
                "resi_connection": "1conv",
            },
            "upscale",
            _UP,
            "a transformer: quality before speed, for desktops",
        ),
        Preset(
            "nafnet-16",
            {
                "type": "NAFNet",
                "img_channel": 3,
                "width": 16,
                "middle_blk_num": 1,
                "enc_blk_nums": [1, 1, 1, 4],
                "dec_blk_nums": [1, 1, 1, 1],
            },
            None,
            (1,),
            "deblurring, denoising, deraining",
        ),
        Preset(
            "restormer-24",
            {
                "type": "Restormer",
                "inp_channels": 3,
                "out_channels": 3,
                "dim": 24,
                "num_blocks": [2, 3, 3, 4],
                "num_refinement_blocks": 2,
                "heads": [1, 2, 4, 8],
                "ffn_expansion_factor": 2.66,
                "bias": False,
                "LayerNorm_type": "WithBias",
                "dual_pixel_task": False,
            },
            None,
            (1,),
            "deraining and deblurring, quality before speed",
        ),
    )
}
"""By name, smallest of a family first."""
