"""Small networks to export, with values that make their answers look like pictures."""

from __future__ import annotations

from pathlib import Path

import torch

from dckd_basicsr.archs import build
from dckd_basicsr.portable import Opened

RGB = {"num_in_ch": 3, "num_out_ch": 3}
NETS = {
    "SPAN": {"type": "spandrel:SPAN", **RGB, "feature_channels": 8, "upscale": 2},
    "Compact": {"type": "spandrel:Compact", **RGB, "num_feat": 8, "num_conv": 2, "upscale": 2, "act_type": "prelu"},
    "EDSR": {"type": "EDSR", **RGB, "num_feat": 8, "num_block": 1, "upscale": 2, "res_scale": 1, "img_range": 255.0},
    "RCAN": {
        **{"type": "RCAN", **RGB, "num_feat": 8, "num_group": 2, "num_block": 2, "squeeze_factor": 4},
        **{"upscale": 2, "res_scale": 1, "img_range": 255.0},
    },
    "SwinIR": {
        **{"type": "SwinIR", "img_size": 16, "window_size": 4, "embed_dim": 8, "depths": [2], "num_heads": [2]},
        **{"mlp_ratio": 2, "upscale": 2, "upsampler": "pixelshuffledirect"},
    },
    "NAFNet": {"type": "NAFNet", "width": 4, "middle_blk_num": 1, "enc_blk_nums": [1], "dec_blk_nums": [1]},
    "RRDBNet": {"type": "RRDBNet", **RGB, "scale": 2, "num_feat": 8, "num_block": 1},
    "PLKSR": {
        **{"type": "spandrel:PLKSR", "dim": 8, "n_blocks": 1, "ccm_type": "DCCM", "kernel_size": 5},
        **{"split_ratio": 0.5, "use_ea": False, "upscaling_factor": 2},
    },
    "Restormer": {
        **{"type": "Restormer", "dim": 4, "num_blocks": [1, 1, 1, 1], "num_refinement_blocks": 1},
        "heads": [1, 1, 1, 2],
    },
}


def opened(name: str, **more: object) -> Opened:
    """One of ``NETS``, as :func:`.open_network` gives it."""
    options = {**NETS[name], **more}
    torch.manual_seed(1)
    net, facts = build(options, frozen=True)
    for key, value in net.named_parameters():
        if key.endswith(("beta", "gamma")):  # of a fresh NAFNet they switch its blocks off
            value.data.normal_(0, 0.3)
        elif name == "SPAN" and key.endswith("weight"):
            value.data.mul_(0.6)  # or everything is out of range
    return Opened(net, facts, type(net).__name__, options, Path(f"{name}.pth"))
