"""Photos that tests make, and what databases hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dckd_basicsr.data.lmdb.reader import LmdbImages
from dckd_basicsr.data.photos.images import Image

__all__ = ["contents", "photo", "save", "three_photos"]


def photo(seed: int, height: int, width: int) -> Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 6 + 2, width // 6 + 2, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def save(path: Path, image: Any) -> Any:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return image


def contents(path: Path) -> dict[str, Image]:
    with LmdbImages(path) as images:
        return {key: images.image(key) for key in images.keys}


def three_photos(folder: Path) -> dict[str, Image]:
    """Three photos in ``folder``; the second is smaller than 48 pixels."""
    sizes = {"a": (101, 74), "sub/b": (47, 90), "c": (48, 48)}
    return {name: save(folder / f"{name}.png", photo(i, *size)) for i, (name, size) in enumerate(sizes.items())}
