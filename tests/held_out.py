"""A validation set in memory and a small network to test on it: ``validate`` without files to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

import dckd_basicsr  # noqa: F401  (before anything of basicsr)
from dckd_basicsr.models import RestorationModel
from tests.tiny import METRICS, STUDENT

__all__ = ["HeldOut", "image_loader", "trained"]


class HeldOut(Dataset):
    """Smooth random pairs, x2, named img00, img01, ...

    Args:
        sizes: height and width of each LQ image.
        gt: for all of them or none, or for each.
        paths: ``lq_path`` of each image, instead of those below the set's root.
    """

    def __init__(
        self, sizes: Sequence[tuple[int, int]], gt: bool | Sequence[bool] = True, paths: Sequence[str] = ()
    ) -> None:
        self.opt = {"name": "held_out", "dataroot_lq": "somewhere"}
        generator = torch.Generator().manual_seed(0)
        self.samples: list[dict[str, Any]] = []
        for i, (height, width) in enumerate(sizes):
            coarse = torch.rand(1, 3, height // 4 + 2, width // 4 + 2, generator=generator)
            image = F.interpolate(coarse, (2 * height, 2 * width), mode="bicubic").clamp(0, 1)
            path = paths[i] if paths else f"somewhere/img{i:02}.png"
            sample = {"lq": F.avg_pool2d(image, 2)[0], "lq_path": path}
            has_gt = gt if isinstance(gt, bool) else gt[i]
            self.samples.append({**sample, "gt": image[0]} if has_gt else sample)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.samples[index]


def image_loader(
    sizes: Sequence[tuple[int, int]], gt: bool | Sequence[bool] = True, paths: Sequence[str] = ()
) -> DataLoader:
    """Return the set's images one by one, in order; see :class:`HeldOut`."""
    return DataLoader(HeldOut(sizes, gt, paths), batch_size=1)


def trained(folder: Path, network: Mapping[str, Any] = STUDENT, **val: Any) -> RestorationModel:
    """Return a model in test mode, the same weights at every call; keyword arguments are keys of ``val``."""
    torch.manual_seed(0)
    return RestorationModel(
        {
            "name": "measured",
            "model_type": "RestorationModel",
            "scale": 2,
            "num_gpu": 0,
            "is_train": False,
            "dist": False,
            "rank": 0,
            "world_size": 1,
            "network_g": dict(network),
            "datasets": {},
            "path": {"results_root": str(folder), "visualization": str(folder / "images")},
            "val": {"metrics": METRICS, "pbar": False, **val},
        }
    )
