"""Pairs of LQ and GT as patches of a requested size: for progressive training and images smaller than a patch."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.data.data_util import paired_paths_from_folder, paired_paths_from_lmdb
from basicsr.utils import FileClient, imfrombytes
from basicsr.utils.registry import DATASET_REGISTRY
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ..compat import register
from ..errors import DatasetError
from .patches import PatchRequest

__all__ = ["PairedPatchDataset"]

Image = NDArray[np.uint8]


@register(DATASET_REGISTRY)
class PairedPatchDataset(Dataset):
    """LQ and GT images from two LMDBs or folders, with the keys of BasicSR's ``PairedImageDataset``.

    In training it is indexed with a :class:`PatchRequest` and returns a patch, flipped and rotated, that depends on the
    request alone. An image smaller than the patch is reflected to its size first. Otherwise it is indexed with a number
    and returns the whole pair.

    Args:
        opt: ``dataroot_gt``, ``dataroot_lq``, ``io_backend``, ``scale``, ``phase``, and optionally ``filename_tmpl``,
            ``use_hflip``, ``use_rot``.
    """

    takes_requests = True

    def __init__(self, opt: Mapping[str, Any]) -> None:
        self.opt = opt
        self.scale = int(opt["scale"])
        self.backend = dict(opt["io_backend"])
        roots = [opt["dataroot_lq"], opt["dataroot_gt"]]
        if self.backend["type"] == "lmdb":
            self.backend |= {"db_paths": roots, "client_keys": ["lq", "gt"]}
            self.paths = paired_paths_from_lmdb(roots, ["lq", "gt"])
        else:
            self.paths = paired_paths_from_folder(roots, ["lq", "gt"], opt.get("filename_tmpl", "{}"))
        self.client: FileClient | None = None  # opened by the process that reads

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, item: PatchRequest | int) -> dict[str, Any]:
        """Return ``lq`` (3, h, w) and ``gt`` (3, scale h, scale w), RGB float32 in [0, 1], and their paths."""
        request = item if isinstance(item, PatchRequest) else None
        paths = self.paths[request.image if request else item]
        gt, lq = self._read(paths["gt_path"], "gt"), self._read(paths["lq_path"], "lq")
        if request:
            lq, gt = self._patch(lq, gt, request)
        else:
            gt = gt[: lq.shape[0] * self.scale, : lq.shape[1] * self.scale]
        return {"lq": _tensor(lq), "gt": _tensor(gt), **paths}

    def _read(self, path: str, which: str) -> Image:
        if self.client is None:
            backend = dict(self.backend)
            self.client = FileClient(backend.pop("type"), **backend)
        try:
            image = imfrombytes(self.client.get(path, which))
        except cv2.error:  # an empty file, or one that claims more pixels than OpenCV allows
            image = None
        if image is None:
            raise DatasetError(f"'{path}' in {self.opt[f'dataroot_{which}']} does not decode; pack it again")
        return image

    def _patch(self, lq: Image, gt: Image, request: PatchRequest) -> tuple[Image, Image]:
        height, width = lq.shape[:2]
        if gt.shape[:2] != (height * self.scale, width * self.scale):
            raise DatasetError(
                f"'{self.paths[request.image]['gt_path']}' is {gt.shape[1]}x{gt.shape[0]}, which is not {self.scale} "
                f"times its LQ of {width}x{height}"
            )
        draw = random.Random(request.seed)
        size = request.gt_size // self.scale
        lq, gt = _at_least(lq, size), _at_least(gt, size * self.scale)
        top, left = draw.randint(0, lq.shape[0] - size), draw.randint(0, lq.shape[1] - size)
        lq = lq[top : top + size, left : left + size]
        top, left, size = top * self.scale, left * self.scale, size * self.scale
        gt = gt[top : top + size, left : left + size]
        hflip, vflip, transpose = (draw.random() < 0.5 for _ in range(3))
        hflip = hflip and self.opt.get("use_hflip", True)
        vflip, transpose = vflip and self.opt.get("use_rot", True), transpose and self.opt.get("use_rot", True)
        return _turn(lq, hflip, vflip, transpose), _turn(gt, hflip, vflip, transpose)


def _at_least(image: Image, size: int) -> Image:
    """Reflect at the right and bottom up to ``size``; reflections repeat where one is not enough."""
    while image.shape[0] < size or image.shape[1] < size:
        down = min(max(0, size - image.shape[0]), max(1, image.shape[0] - 1))
        right = min(max(0, size - image.shape[1]), max(1, image.shape[1] - 1))
        image = cv2.copyMakeBorder(image, 0, down, 0, right, cv2.BORDER_REFLECT).astype(np.uint8, copy=False)
    return image


def _turn(image: Image, hflip: bool, vflip: bool, transpose: bool) -> Image:
    """Flip and transpose views; the arrays that were read stay as they are."""
    image = image[:, ::-1] if hflip else image
    image = image[::-1] if vflip else image
    return image.transpose(1, 0, 2) if transpose else image


def _tensor(image: Image) -> Tensor:
    rgb = np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1))
    return torch.from_numpy(rgb).float().div_(255.0)
