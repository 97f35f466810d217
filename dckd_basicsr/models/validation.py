"""One pass over a validation or test set: restore, measure, save, log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from basicsr.metrics import calculate_metric
from basicsr.utils import imwrite, tensor2img
from tqdm import tqdm

from ..runtime import add_results

__all__ = ["validate"]

_LOG = logging.getLogger("basicsr")


def validate(model: Any, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
    """Run ``model`` over ``dataloader``; metrics become ``model.metric_results`` and go to the log.

    A test also writes every image's values to ``metrics.json`` in the results folder.

    Args:
        model: a RestorationModel.
        dataloader: batches of one image, keys ``lq``, ``lq_path`` and, for metrics, ``gt``.
        current_iter: iteration, or the run's name in a test.
        tb_logger: TensorBoard writer or None.
        save_img: write every output as PNG.
    """
    opt, name = model.opt, dataloader.dataset.opt["name"]
    metrics: Mapping[str, Any] = opt["val"].get("metrics") or {}
    per_image: dict[str, dict[str, float]] = {}
    quiet = not (opt["val"].get("pbar", True) and sys.stderr.isatty())
    for data in tqdm(dataloader, desc=name, unit="image", leave=False, disable=quiet):
        model.feed_data(data)
        model.test()
        restored = tensor2img([model.output])
        images = {"img": restored}
        if "gt" in data:
            images["img2"] = tensor2img([data["gt"]])
        stem = Path(data["lq_path"][0]).stem
        per_image[stem] = {m: float(calculate_metric(images, options)) for m, options in metrics.items()}
        if save_img:
            imwrite(restored, str(_image_path(opt, name, stem, current_iter)))
    if isinstance(current_iter, int):  # BasicSR counts on past the end before its last validation
        current_iter = min(current_iter, int(opt["train"]["total_iter"]))
    if metrics and per_image:
        model._initialize_best_metric_results(name)
        model.metric_results = {m: sum(values[m] for values in per_image.values()) / len(per_image) for m in metrics}
        for metric, value in model.metric_results.items():
            model._update_best_metric_result(name, metric, value, current_iter)
        if opt["is_train"]:
            model._log_validation_metric_values(current_iter, name, tb_logger)
        else:  # a test has no best iteration so far
            values = ", ".join(f"{metric} {value:.4f}" for metric, value in model.metric_results.items())
            _LOG.info("%s, %d images: %s", name, len(per_image), values)
            add_results(Path(opt["path"]["results_root"]), name, per_image)


def _image_path(opt: Mapping[str, Any], dataset: str, stem: str, current_iter: int | str) -> Path:
    """Where BasicSR puts images: per image while training, per dataset in a test."""
    folder = Path(opt["path"]["visualization"])
    if opt["is_train"]:
        return folder / stem / f"{stem}_{current_iter}.png"
    return folder / dataset / f"{stem}_{opt['val'].get('suffix') or opt['name']}.png"
