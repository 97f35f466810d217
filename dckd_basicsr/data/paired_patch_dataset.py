"""Pairs of LQ and GT as patches of a requested size: for progressive training and images smaller than a patch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.data.data_util import paired_paths_from_folder, paired_paths_from_lmdb
from basicsr.utils import FileClient
from basicsr.utils.registry import DATASET_REGISTRY
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import DatasetError
from ..install import register
from .lmdb.pack_id import refuse_two_packs
from .patches import PatchRequest, Place
from .photos.images import Image, stored_pixels
from .reflect import at_least

__all__ = ["PairedPatchDataset", "placed", "to_tensor"]


@register(DATASET_REGISTRY)
class PairedPatchDataset(Dataset):
    """LQ and GT images from two LMDBs or folders, with the keys of BasicSR's ``PairedImageDataset``.

    In training it is indexed with a :class:`PatchRequest` and returns a patch, flipped and rotated, that depends on the
    request alone. An image smaller than the patch is reflected to its size first. Otherwise it is indexed with a number
    and returns the whole pair. Pixels are read as they are stored, orientation tags are applied to no image: so folders
    give what databases packed from them give.

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
            refuse_two_packs(Path(opt["dataroot_gt"]), Path(opt["dataroot_lq"]))
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
        return {"lq": to_tensor(lq), "gt": to_tensor(gt), **paths}

    def _read(self, path: str, which: str) -> Image:
        if self.client is None:
            backend = dict(self.backend)
            self.client = FileClient(backend.pop("type"), **backend)
        image: Image | None = stored_pixels(self.client.get(path, which))
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
        place = Place.of(request, lq.shape, self.scale, self.opt)
        return placed(lq, place), placed(gt, place, self.scale)


def placed(image: Image, place: Place, scale: int = 1) -> Image:
    """Return what an image, H x W x 3, has at a place, flipped and transposed: a view of it where it is large enough.

    Args:
        image: LQ, or GT.
        place: in LQ pixels.
        scale: pixels of the image per LQ pixel.
    """
    top, left, size, turn = place.top * scale, place.left * scale, place.size * scale, place.turn
    image = at_least(image, size)[top : top + size, left : left + size]
    image = image[:, ::-1] if turn & 1 else image
    image = image[::-1] if turn & 2 else image
    return image.transpose(1, 0, 2) if turn & 4 else image


def to_tensor(image: Image) -> Tensor:
    """Return an image, H x W x 3, BGR uint8, as 3 x H x W, RGB float32 in [0, 1]."""
    rgb = np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1))
    return torch.from_numpy(rgb).float().div_(255.0)
