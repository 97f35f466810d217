"""LQ images alone as patches: for training on what a teacher says of photos that have no ground truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from basicsr.utils.registry import DATASET_REGISTRY
from torch.utils.data import Dataset

from ..errors import DatasetError
from ..install import register
from .lmdb.patches import LmdbPatches
from .paired_patch_dataset import placed, to_tensor
from .patches import PatchRequest, Place
from .photos.images import Image, stored_pixels

__all__ = ["SinglePatchDataset"]


@register(DATASET_REGISTRY)
class SinglePatchDataset(Dataset):
    """LQ images from a folder, or from an LMDB of `basicsr prepare`, PNG or raw.

    Indexed with a :class:`PatchRequest` it returns the ``lq`` that :class:`PairedPatchDataset` returns for it, bit for
    bit: a patch, flipped and rotated, that depends on the request alone. An image smaller than the patch is reflected
    to its size first. Indexed with a number it returns the whole image. Pixels are read as they are stored.

    Args:
        opt: ``dataroot_lq``, ``scale``, and optionally ``io_backend``, ``use_hflip``, ``use_rot``. Requests count in
            pixels of an output that is ``scale`` times as large, as everywhere.

    Raises:
        DatasetError: the folder holds no files, or the database is damaged.
    """

    takes_requests = True

    def __init__(self, opt: Mapping[str, Any]) -> None:
        self.opt = opt
        self.scale = int(opt["scale"])
        root = Path(opt["dataroot_lq"])
        backend = (opt.get("io_backend") or {}).get("type") or ("lmdb" if root.suffix == ".lmdb" else "disk")
        self.database = LmdbPatches(root) if backend == "lmdb" else None
        self.paths: list[str] = sorted(self.database.shapes) if self.database else _files(root)
        """Keys of the database, or files, in the order of their numbers."""

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, item: PatchRequest | int) -> dict[str, Any]:
        """Return ``lq`` (3, h, w), RGB float32 in [0, 1], and ``lq_path``."""
        path = self.paths[item.image if isinstance(item, PatchRequest) else item]
        if self.database is None:
            return self._sample(_decoded(path), item, path)
        with self.database.reading() as transaction:
            return self._sample(self.database.view(transaction, path), item, path)

    def _sample(self, image: Image, item: PatchRequest | int, path: str) -> dict[str, Any]:
        if isinstance(item, PatchRequest):
            image = placed(image, Place.of(item, image.shape, self.scale, self.opt))
        return {"lq": to_tensor(image), "lq_path": path}


def _files(folder: Path) -> list[str]:
    found = sorted(str(path) for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if not found:
        raise DatasetError(f"'{folder}' holds no files (sub-folders are not searched); check the path")
    return found


def _decoded(path: str) -> Image:
    image: Image | None = stored_pixels(Path(path).read_bytes())
    if image is None:
        raise DatasetError(f"'{path}' is damaged, cut short or not an image; replace or remove it")
    return image
