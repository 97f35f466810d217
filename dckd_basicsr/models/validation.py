"""One pass over a validation or test set: restore, measure, save, log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from basicsr.metrics import calculate_metric
from basicsr.utils import imwrite, tensor2img
from torch import Tensor
from tqdm import tqdm

from ..runtime.grouping import equal_sizes, joined
from ..runtime.loaders import share_of
from ..runtime.processes import gather
from ..runtime.results import add_results

__all__ = ["validate"]

PerImage = dict[str, dict[str, float]]
"""Image name -> metric -> value."""

_LOG = logging.getLogger("basicsr")


def validate(model: Any, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
    """Run ``model`` over ``dataloader``; metrics become ``model.metric_results`` and go to the log.

    The processes of a job share the images; the values are gathered, so all of them know the same table that one
    process would have computed. Rank 0 writes: in training to the record of validations, in a test every image's values
    to ``metrics.json`` in the results folder. With ``val.batch`` images of equal size pass the network together; names,
    their order and the mean are those of the one-by-one way.

    Args:
        model: a RestorationModel.
        dataloader: batches of one image, keys ``lq``, ``lq_path`` and, for metrics, ``gt``; the whole set, in order.
        current_iter: iteration, or the run's name in a test.
        tb_logger: TensorBoard writer or None.
        save_img: write every output as PNG.
    """
    opt, name = model.opt, dataloader.dataset.opt["name"]
    metrics: Mapping[str, Any] = opt["val"].get("metrics") or {}
    per_image = _measured(model, dataloader, current_iter, save_img)
    if isinstance(current_iter, int):
        model.guard.settle()
    if not (metrics and per_image):
        return
    model.metric_results = {m: sum(values[m] for values in per_image.values()) / len(per_image) for m in metrics}
    if opt["is_train"]:
        _record(model, name, int(current_iter), tb_logger)
    else:  # a test has no best iteration so far
        values = ", ".join(f"{metric} {value:.4f}" for metric, value in model.metric_results.items())
        _LOG.info("%s, %d images: %s", name, len(per_image), values)
        if opt["rank"] == 0:
            add_results(Path(opt["path"]["results_root"]), name, per_image)


def _measured(model: Any, dataloader: Any, current_iter: int | str, save_img: bool) -> PerImage:
    """Restore and measure this process's share; return the values of all images in the order of the set."""
    opt, name = model.opt, dataloader.dataset.opt["name"]
    rank, world = int(opt["rank"]), int(opt["world_size"])
    loader = share_of(dataloader, rank, world)
    own: dict[int, tuple[str, dict[str, float]]] = {}
    quiet = rank != 0 or not (opt["val"].get("pbar", True) and sys.stderr.isatty())
    bar = tqdm(total=len(loader), desc=name, unit="image", leave=False, disable=quiet)

    def collect(measured: Future[list[tuple[str, dict[str, float]]]], places: list[int]) -> None:
        own.update((rank + place * world, values) for place, values in zip(places, measured.result(), strict=True))
        bar.update(len(places))

    # One thread measures and writes a batch while the next one is read and restored; which values come out does not
    # depend on it, and no more than two batches are in memory.
    with bar, _thread(model.device) as measuring:
        ahead: list[Any] = []
        for group in equal_sizes(loader, int(opt["val"].get("batch", 1))):
            batch = joined(sample for _, sample in group)
            model.feed_data({key: value for key, value in batch.items() if key != "gt"})
            model.test()
            output = model.output.cpu()
            if ahead:
                collect(*ahead)
            places = [place for place, _ in group]
            ahead = [measuring.submit(_measure_batch, opt, name, batch, output, current_iter, save_img), places]
        if ahead:
            collect(*ahead)
    everyone = {place: values for share in gather(own) for place, values in share.items()}
    return dict(everyone[place] for place in sorted(everyone))


def _thread(device: torch.device) -> ThreadPoolExecutor:
    """One thread that uses the GPU of this process, for metrics that run networks; by itself it would take GPU 0."""
    if device.type != "cuda":
        return ThreadPoolExecutor(1)
    return ThreadPoolExecutor(1, initializer=torch.cuda.set_device, initargs=(torch.cuda.current_device(),))


def _measure_batch(
    opt: Mapping[str, Any], dataset: str, batch: Mapping[str, Any], output: Tensor, current_iter: int | str, save: bool
) -> list[tuple[str, dict[str, float]]]:
    """Return name and values of each image of a batch, in its order; write the images if asked."""
    metrics: Mapping[str, Any] = opt["val"].get("metrics") or {}
    found = []
    for i, path in enumerate(batch["lq_path"]):
        restored = tensor2img([output[i]])
        pair = {"img": restored}
        if "gt" in batch:
            pair["img2"] = tensor2img([batch["gt"][i]])
        stem = Path(path).stem
        found.append((stem, {m: float(calculate_metric(pair, options)) for m, options in metrics.items()}))
        if save:
            imwrite(restored, str(_image_path(opt, dataset, stem, current_iter)))
    return found


def _record(model: Any, name: str, iteration: int, tb_logger: Any) -> None:
    """Add a validation to the record, log it, and keep the weights if they are the best so far."""
    opt = model.opt
    model.record.add(iteration, name, model.metric_results)
    model._initialize_best_metric_results(name)
    for metric, options in opt["val"]["metrics"].items():
        higher = options.get("better", "higher") == "higher"
        best = model.record.best(name, metric, higher=higher)
        model.best_metric_results[name][metric] |= {"val": best.metrics[metric], "iter": best.iteration}
        chosen = metric == opt["logger"].get("keep_best") and name == first_validation_set(opt)
        if chosen and best.iteration == iteration:
            model.save_best()
    model.record.write()  # last: a validation that is written down is not made up for
    if opt["rank"] == 0:
        model._log_validation_metric_values(iteration, name, tb_logger)


def first_validation_set(opt: Mapping[str, Any]) -> str | None:
    """Return the name of the set by which ``logger.keep_best`` judges."""
    return next((d["name"] for key, d in opt["datasets"].items() if key.split("_")[0] == "val"), None)


def _image_path(opt: Mapping[str, Any], dataset: str, stem: str, current_iter: int | str) -> Path:
    """Where BasicSR puts images: per image while training, per dataset in a test."""
    folder = Path(opt["path"]["visualization"])
    if opt["is_train"]:
        return folder / stem / f"{stem}_{current_iter}.png"
    return folder / dataset / f"{stem}_{opt['val'].get('suffix') or opt['name']}.png"
