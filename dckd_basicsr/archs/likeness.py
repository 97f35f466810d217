"""What a weight file that nobody knows looks like, in a line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from .layouts import LAYOUTS, to_published
from .outline import network_class, without_parameters

__all__ = ["likeness"]

_SHOWN = 3
_LEAST = 0.2  # of the kinds of names; two networks of any sort share a few
_RGB = {"num_in_ch": 3, "num_out_ch": 3}
_SWIN = {"img_size": 16, "window_size": 4, "embed_dim": 8, "depths": [2], "num_heads": [2], "upscale": 4}
_SMALL: dict[str, dict[str, Any]] = {
    "EDSR": {**_RGB, "num_feat": 8, "num_block": 2},
    "RCAN": {**_RGB, "num_feat": 8, "num_group": 2, "num_block": 2, "squeeze_factor": 4},
    "RRDBNet": {**_RGB, "num_feat": 8, "num_block": 2},
    "MSRResNet": {"num_feat": 8, "num_block": 2},
    "SwinIR": {**_SWIN, "upsampler": "pixelshuffle"},
    "NAFNet": {"width": 4, "middle_blk_num": 1, "enc_blk_nums": [1], "dec_blk_nums": [1]},
    "Restormer": {"dim": 8, "num_blocks": [1, 1, 1, 1], "num_refinement_blocks": 1},
}


def likeness(state: Mapping[str, Tensor], entry: str = "") -> str:
    """Describe weights that no layout fits: how many tensors, where, their first names, and the nearest known layout.

    Args:
        state: tensors by name.
        entry: of the file, in which they were; empty for the file itself.
    """
    count = f"{len(state)} tensor{'' if len(state) == 1 else 's'}"
    where = f"under '{entry}'" if entry else "without a wrapper"
    keys = list(state)
    first = f"first keys: {', '.join(keys[:_SHOWN])}{', ...' if len(keys) > _SHOWN else ''}"
    return f"{count} {where}, {first}; {_nearest(keys)}"


def _nearest(keys: Iterable[str]) -> str:
    found, best, text = _kinds(keys), _LEAST, "no known layout is near"
    for name, names in _known():
        kinds = _kinds(names)
        share = len(found & kinds) / len(found | kinds)
        if share > best:
            best = share
            text = f"the nearest layout is {name} ({len(found & kinds)} of its {len(kinds)} kinds of names, and "
            text += f"{len(found - kinds)} others)"
    return text


def _known() -> Iterator[tuple[str, Iterable[str]]]:
    own = {}
    for name, options in _SMALL.items():
        with without_parameters():
            own[name] = network_class(name)(**options).state_dict()
        yield name, own[name]
    for layout in LAYOUTS:
        names = to_published(layout, own[layout.network], rgb_mean=torch.zeros(3))
        yield f"{layout.network} as {layout.whose} has it", names


def _kinds(keys: Iterable[str]) -> set[str]:
    return {re.sub(r"\d+", "#", key) for key in keys}
