"""What tests of projects have in common: tiny teachers, a wish, and photos that were divided."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dckd_basicsr.archs import build
from dckd_basicsr.portable import Opened, open_network
from dckd_basicsr.project import Photos, Wish, find_photos, hold_out
from dckd_basicsr.project.plan import Kind

__all__ = ["EDSR", "NAFNET", "WISH", "divided", "teacher_file"]

EDSR = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1, "upscale": 2}
NAFNET = {"type": "NAFNet", "width": 4, "middle_blk_num": 1, "enc_blk_nums": [1], "dec_blk_nums": [1]}
WISH = Wish("t", "p", "gt", "compact-s", None, 10, None, None, None, None, 0)


def teacher_file(folder: Path, options: dict[str, Any]) -> Opened:
    torch.save({"params": build(options).net.state_dict()}, folder / "teacher.pth")
    return open_network(folder / "teacher.pth")


def divided(folder: Path, kind: Kind, scale: int, lq: Path | None = None) -> Photos:
    return hold_out(find_photos(folder, lq, kind, scale), kind, scale)
