"""Which network a weight file belongs to, and with what options, read off its keys and shapes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from ..errors import CheckpointError
from .layouts import from_published, spellings
from .networks.vqgan_layout import vqgan_options_from_state

__all__ = ["Recognized", "recognize", "usual_options"]

State = Mapping[str, Tensor]


class Recognized(NamedTuple):
    """A network's registered name, and its main options under their names in an option file."""

    type: str
    options: dict[str, Any]

    def __str__(self) -> str:
        """In words: ``EDSR with num_feat 64, num_block 16, upscale 4``."""
        sizes = ", ".join(f"{key} {value}" for key, value in self.options.items())
        return f"{self.type} with {sizes}" if sizes else self.type


def recognize(state: State) -> Recognized | None:
    """Return the network that ``state`` looks like, or None where no known layout fits.

    Names may be the network's own or published ones (``layouts.py``), also behind a prefix. Options that leave no
    trace (res_scale, drop rates) are not among those returned; img_range and rgb_mean are, where the file tells others
    than the usual.
    """
    published = from_published(state)
    if published is not None:
        found = _own(published.state)
        if found is not None and found.type == published.layout.network:
            # Mean layers would be in the file if the network had any.
            none = {"rgb_mean": [0.0] * published.state["conv_first.weight"].shape[1]}
            values = published.unusual if published.told else none
            return Recognized(found.type, {**found.options, **values})
    return next((found for spelling in spellings(state) if (found := _own(spelling)) is not None), None)


def usual_options(found: Recognized) -> dict[str, Any]:
    """Return what published weights of this size were trained with, and no weight file tells; mostly nothing."""
    if found.type == "EDSR" and (found.options["num_feat"], found.options["num_block"]) == (256, 32):
        return {"res_scale": 0.1}
    if found.type != "SwinIR":
        return {}
    window = found.options["window_size"]
    sizes = {"img_size": 18 * window} if 64 % window else {}  # the default of 64 has to be whole windows
    return sizes | ({"img_range": 255.0} if window == 7 else {})  # of this window are those for JPEG artefacts alone


def _own(state: State) -> Recognized | None:
    for name, (marks, read) in _LAYOUTS.items():
        if all(mark in state for mark in marks):
            try:
                return Recognized(name, read(state))
            except (KeyError, IndexError, ValueError, ZeroDivisionError, CheckpointError):
                continue  # the marks of this layout, but not its body
    return None


def _count(state: State, pattern: str) -> int:
    """One more than the largest number at the place of ``#`` in the keys; 0 if there is none."""
    found = re.compile(re.escape(pattern).replace(r"\#", r"(\d+)"))
    return 1 + max((int(m.group(1)) for key in state if (m := found.match(key))), default=-1)


def _channels(state: State, first: str, last: str, names: tuple[str, str] = ("num_in_ch", "num_out_ch")) -> dict:
    """Channels of the images, where they are not 3."""
    counts = state[f"{first}.weight"].shape[1], state[f"{last}.weight"].shape[0]
    return {name: count for name, count in zip(names, counts) if count != 3}


def _shuffles(state: State, width: int) -> int:
    """Scale of BasicSR's ``Upsample``: one convolution per factor of 2, or one for 3."""
    convs = [state[key] for key in state if re.fullmatch(r"upsample\.\d+\.weight", key)]
    return math.prod(math.isqrt(conv.shape[0] // width) for conv in convs)


def _edsr(state: State) -> dict[str, Any]:
    width = state["conv_first.weight"].shape[0]
    options = {"num_feat": width, "num_block": _count(state, "body.#."), "upscale": _shuffles(state, width)}
    return options | _channels(state, "conv_first", "conv_last")


def _msrresnet(state: State) -> dict[str, Any]:
    width = state["conv_first.weight"].shape[0]
    scale = 4 if "upconv2.weight" in state else math.isqrt(state["upconv1.weight"].shape[0] // width)
    options = {"num_feat": width, "num_block": _count(state, "body.#."), "upscale": scale}
    return options | _channels(state, "conv_first", "conv_last")


def _rrdbnet(state: State) -> dict[str, Any]:
    width, inputs = state["conv_first.weight"].shape[:2]
    # Below x4 the input is folded: 2 x 2 or 4 x 4 of its pixels are the channels of one.
    fold = math.isqrt(inputs // state["conv_last.weight"].shape[0])
    return {
        "num_feat": width,
        "num_block": _count(state, "body.#."),
        "num_grow_ch": state["body.0.rdb1.conv1.weight"].shape[0],
        "scale": 4 // fold,
    }


def _rcan(state: State) -> dict[str, Any]:
    width = state["conv_first.weight"].shape[0]
    options = {
        "num_feat": width,
        "num_group": _count(state, "body.#."),
        "num_block": _count(state, "body.0.residual_group.#."),
        "squeeze_factor": width // state["body.0.residual_group.0.rcab.3.attention.1.weight"].shape[0],
        "upscale": _shuffles(state, width),
    }
    return options | _channels(state, "conv_first", "conv_last")


def _swinir(state: State) -> dict[str, Any]:
    width, channels = state["conv_first.weight"].shape[:2]
    layers = range(_count(state, "layers.#."))
    tables = [state[f"layers.{i}.residual_group.blocks.0.attn.relative_position_bias_table"] for i in layers]
    hidden = state["layers.0.residual_group.blocks.0.mlp.fc1.weight"].shape[0]
    if "conv_up1.weight" in state:
        upsampler, scale = "nearest+conv", 4 if "conv_up2.weight" in state else 2
    elif "conv_before_upsample.0.weight" in state:
        upsampler, scale = "pixelshuffle", _shuffles(state, state["conv_last.weight"].shape[1])
    elif "upsample.0.weight" in state:
        upsampler, scale = "pixelshuffledirect", math.isqrt(state["upsample.0.weight"].shape[0] // channels)
    else:
        upsampler, scale = "", 1
    options = {
        "embed_dim": width,
        "depths": [_count(state, f"layers.{i}.residual_group.blocks.#.") for i in layers],
        "num_heads": [table.shape[1] for table in tables],
        "window_size": (math.isqrt(tables[0].shape[0]) + 1) // 2,
        "mlp_ratio": hidden / width,
        "upscale": scale,
        "upsampler": upsampler,
    }
    window, blocks = options["window_size"], [key for key in state if ".attn.relative_position_index" in key]
    unshifted = len(blocks) > len(layers) and not any(key.endswith("attn_mask") for key in state)
    marks: dict[str, tuple[bool, Any]] = {
        "img_size": (unshifted, window),  # of one window: none is shifted, and none has a mask
        "in_chans": (channels != 3, channels),
        "resi_connection": ("conv_after_body.0.weight" in state, "3conv"),
        "ape": ("absolute_pos_embed" in state, True),
        "patch_norm": ("patch_embed.norm.weight" not in state, False),
        "qkv_bias": ("layers.0.residual_group.blocks.0.attn.qkv.bias" not in state, False),
    }
    return options | {key: value for key, (differs, value) in marks.items() if differs}


def _nafnet(state: State) -> dict[str, Any]:
    levels = range(_count(state, "downs.#."))
    channels = state["intro.weight"].shape[1]
    return ({"img_channel": channels} if channels != 3 else {}) | {
        "width": state["intro.weight"].shape[0],
        "enc_blk_nums": [_count(state, f"encoders.{i}.#.") for i in levels],
        "middle_blk_num": _count(state, "middle_blks.#."),
        "dec_blk_nums": [_count(state, f"decoders.{i}.#.") for i in levels],
    }


def _restormer(state: State) -> dict[str, Any]:
    dim = state["patch_embed.proj.weight"].shape[0]
    stages = ["encoder_level1", "encoder_level2", "encoder_level3", "latent"]
    options = {
        "dim": dim,
        "num_blocks": [_count(state, f"{stage}.#.") for stage in stages],
        "num_refinement_blocks": _count(state, "refinement.#."),
        "heads": [state[f"{stage}.0.attn.temperature"].shape[0] for stage in stages],
        "LayerNorm_type": "WithBias" if "latent.0.norm1.body.bias" in state else "BiasFree",
    }
    width, hidden = 8 * dim, state["latent.0.ffn.project_in.weight"].shape[0] / 2
    marks: dict[str, tuple[bool, Any]] = {
        "ffn_expansion_factor": (hidden != int(width * 2.66), hidden / width),
        "bias": ("encoder_level1.0.attn.qkv.bias" in state, True),
        "dual_pixel_task": ("skip_conv.weight" in state, True),
    }
    options |= {key: value for key, (differs, value) in marks.items() if differs}
    return options | _channels(state, "patch_embed.proj", "output", ("inp_channels", "out_channels"))


def _vqgan(state: State) -> dict[str, Any]:
    found = vqgan_options_from_state(state)
    layout = {key: found["ddconfig"][key] for key in ("ch", "ch_mult", "num_res_blocks", "z_channels")}
    return {**layout, "n_embed": found["n_embed"], "embed_dim": found["embed_dim"]}


# Per network: keys that no other network here has together, and what reads its sizes.
_LAYOUTS: dict[str, tuple[tuple[str, ...], Callable[[State], dict[str, Any]]]] = {
    "RCAN": (("body.0.residual_group.0.rcab.0.weight", "conv_after_body.weight"), _rcan),
    "RRDBNet": (("body.0.rdb1.conv1.weight", "conv_body.weight", "conv_last.weight"), _rrdbnet),
    "MSRResNet": (("body.0.conv1.weight", "upconv1.weight", "conv_hr.weight"), _msrresnet),
    "EDSR": (("body.0.conv1.weight", "conv_after_body.weight", "conv_last.weight"), _edsr),
    "SwinIR": (("layers.0.residual_group.blocks.0.attn.relative_position_bias_table",), _swinir),
    "NAFNet": (("intro.weight", "ending.weight", "middle_blks.0.beta"), _nafnet),
    "Restormer": (("patch_embed.proj.weight", "encoder_level1.0.attn.temperature"), _restormer),
    "VQGAN": (("encoder.conv_in.weight", "quantize.embedding.weight", "encoder.mid.attn_1.norm.weight"), _vqgan),
}
