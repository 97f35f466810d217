"""What happens to a restored batch: its images are named, measured, written. Runs in a thread beside the network."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from inspect import Parameter, signature
from typing import Any, NamedTuple

import numpy as np
from basicsr.metrics import calculate_metric
from basicsr.utils import imwrite, tensor2img
from basicsr.utils.registry import METRIC_REGISTRY
from torch import Tensor

from ..errors import DatasetError
from ..metrics.sizes import least_side, wants_larger
from .image_names import image_names, picture_path

__all__ = ["Measured", "Measuring", "needs_gt"]


class Measured(NamedTuple):
    """An image of a set: its name, its values by metric, and whether there was a ground truth."""

    name: str
    values: dict[str, float]
    has_gt: bool


class Measuring:
    """Measures the images of one set and writes their pictures.

    An image without ground truth gets the values of metrics that need none, and is always written: its picture is all
    that comes of it.

    Args:
        opt: parsed options; ``val.metrics`` are measured.
        dataset: with ``opt``.
        current_iter: iteration, or the run's name in a test.
        save: write the pictures of the other images too.
        strips: write the ground truth to the left of each restored image.
    """

    def __init__(
        self, opt: Mapping[str, Any], dataset: Any, current_iter: int | str, save: bool, *, strips: bool = False
    ) -> None:
        self.opt = opt
        self.set = dataset.opt["name"]
        self.name_of = image_names(dataset)
        self.metrics: Mapping[str, Any] = opt["val"].get("metrics") or {}
        self.current_iter = current_iter
        self.save = save
        self.strips = strips

    def __call__(self, batch: Mapping[str, Any], output: Tensor) -> list[Measured]:
        """Return what was found for each image of a batch, in its order.

        Args:
            batch: ``lq_path`` of each image and, for metrics that need it, ``gt`` (B, C, H, W) in [0, 1].
            output: (B, C, H, W) in [0, 1], in host memory.

        Raises:
            DatasetError: an image cannot be measured or written; names set and image, and says what to do.
        """
        has_gt = "gt" in batch
        found = []
        for i, path in enumerate(batch["lq_path"]):
            name, images = self.name_of(path), {"img": tensor2img([output[i]])}
            if has_gt:
                images["img2"] = tensor2img([batch["gt"][i]])
            found.append(Measured(name, self._values(name, images), has_gt))
            if self.save or not has_gt:
                shown = [images["img2"], images["img"]] if self.strips and has_gt else [images["img"]]
                self._write(name, np.hstack(shown))
        return found

    def _write(self, name: str, picture: Any) -> None:
        path = picture_path(self.opt, self.set, name, self.current_iter)
        try:
            imwrite(picture, str(path))
        except OSError as error:
            raise DatasetError(
                f"dataset '{self.set}': image '{name}': its picture cannot be written to '{path}' "
                f"({error.strerror or error}); make room, check the folder's permissions, or shorten the name, "
                f"which has {len(os.fsencode(path.name))} bytes"
            ) from error

    def _values(self, name: str, images: Mapping[str, Any]) -> dict[str, float]:
        where = f"dataset '{self.set}': image '{name}'"
        height, width = images["img"].shape[:2]
        if "img2" in images and images["img2"].shape != images["img"].shape:
            raise DatasetError(
                f"{where} is restored to {height}x{width} px, but its ground truth has "
                f"{images['img2'].shape[0]}x{images['img2'].shape[1]}; check that the two belong together, and scale"
            )
        values = {}
        for metric, options in self.metrics.items():
            if "img2" not in images and needs_gt(options):
                continue
            if min(height, width) < least_side(options):
                raise DatasetError(f"{where} has {height}x{width} px, and {wants_larger(metric, options)}")
            try:
                values[metric] = float(calculate_metric(images, options))
            except DatasetError as error:
                raise DatasetError(f"{where}: val.metrics.{metric}: {error}") from error
            if math.isnan(values[metric]):
                raise DatasetError(
                    f"{where} ({height}x{width} px): val.metrics.{metric} ({options['type']}) is not a number; look at "
                    "that image and take it out of the set, or change the metric"
                )
        return values


def needs_gt(options: Mapping[str, Any]) -> bool:
    """Tell whether the metric of an option block compares with a ground truth (NIQE, for instance, does not)."""
    reference = signature(METRIC_REGISTRY.get(options["type"])).parameters.get("img2")
    return reference is not None and reference.default is Parameter.empty
