"""Pictures that a page may show: which image is restored by whom, and where that is found."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...inference.image_names import image_names, picture_path

__all__ = ["GT", "LQ", "Pictures", "gather_pictures"]

GT, LQ = "GT", "LQ"

Source = Path | NDArray[np.uint8]
"""A file, or an image (H, W, 3) uint8 BGR."""


@dataclass(frozen=True)
class Pictures:
    """Pictures of one base of a comparison.

    Attributes:
        images: set -> image -> who -> picture; who is ``GT``, ``LQ``, or the key of a variant. Restorations have the
            size of GT; LQ may be smaller by a whole factor.
    """

    images: Mapping[str, Mapping[str, Mapping[str, Source]]] = field(default_factory=dict)


def gather_pictures(
    results: Path,
    runs: Mapping[str, str],
    test_options: Mapping[str, Any],
    wanted: Mapping[str, Collection[str]] | None = None,
) -> Pictures:
    """Find what ``basicsr test`` wrote with ``val.save_img``, and read its LQ and GT images from the test sets.

    Pictures that are not there are left out.

    Args:
        results: the folder ``results``, with one folder for each test.
        runs: variant -> name of the test whose pictures stand for it, which is its folder's.
        test_options: of these tests, parsed: their ``datasets`` and ``val`` are read.
        wanted: set -> images to gather; None for all, which are then all in memory.
    """
    found: dict[str, dict[str, dict[str, Source]]] = {}
    for block in test_options["datasets"].values():
        name = str(block["name"])
        chosen = None if wanted is None else set(wanted.get(name, ()))
        if chosen is None or chosen:
            found[name] = _of_set(results, runs, test_options, block, chosen)
    return Pictures(found)


def _of_set(
    results: Path, runs: Mapping[str, str], test_options: Mapping[str, Any], block: Mapping[str, Any], chosen: Any
) -> dict[str, dict[str, Source]]:
    from basicsr.data import build_dataset

    dataset = build_dataset({**block, "phase": "test", "scale": test_options.get("scale", 1)})
    name_of, found = image_names(dataset), dict[str, dict[str, Source]]()
    paths = getattr(dataset, "paths", None)
    for i in range(len(dataset)):
        known = paths[i].get("lq_path") if paths and isinstance(paths[i], Mapping) else None
        if known is not None and chosen is not None and name_of(known) not in chosen:
            continue  # not read
        sample = dataset[i]
        image = name_of(sample["lq_path"])
        if chosen is None or image in chosen:
            here: dict[str, Source] = {LQ: _pixels(sample["lq"])}
            if "gt" in sample:
                here[GT] = _pixels(sample["gt"])
            for variant, run in runs.items():
                file = _restored(results, run, str(block["name"]), image, test_options)
                if file.is_file():
                    here[variant] = file
            found[image] = here
    return found


def _restored(results: Path, run: str, dataset: str, image: str, test_options: Mapping[str, Any]) -> Path:
    folder = results / run / "visualization"
    as_tested = {"path": {"visualization": folder}, "is_train": False, "val": test_options["val"], "name": run}
    return picture_path(as_tested, dataset, image, run)


def _pixels(tensor: Any) -> NDArray[np.uint8]:
    """Return (C, H, W) in [0, 1], RGB, as BGR pixels."""
    pixels = (tensor.numpy().transpose(1, 2, 0)[..., ::-1] * 255).round().clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels)
