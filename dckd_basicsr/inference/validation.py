"""One pass over a validation or test set: restore, measure, save, log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ..data.loaders import share_of
from ..errors import DatasetError
from ..training.processes import gather
from .grouping import equal_sizes, joined
from .measuring import Measured, Measuring, needs_gt
from .results import add_results, mean_values

__all__ = ["validate"]

_LOG = logging.getLogger("basicsr")


def validate(model: Any, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
    """Run ``model`` over ``dataloader``; metrics become ``model.metric_results`` and go to the log.

    The processes of a job share the images; the values are gathered, so all of them know the same table that one
    process would have computed. Rank 0 writes: in training to the record of validations, in a test every image's values
    to ``metrics.json`` in the results folder. With ``val.batch`` images of equal size pass the network together; names,
    their order and the mean are those of the one-by-one way. Images without ground truth are written instead of
    measured, and the log says so once.

    Args:
        model: a RestorationModel.
        dataloader: batches of one image, keys ``lq``, ``lq_path`` and, for metrics, ``gt``; the whole set, in order.
        current_iter: iteration, or the run's name in a test.
        tb_logger: TensorBoard writer or None.
        save_img: write every output as PNG.

    Raises:
        DatasetError: an image cannot be measured, or two have one name.
    """
    opt, name = model.opt, dataloader.dataset.opt["name"]
    found = _measured(model, dataloader, current_iter, save_img)
    if isinstance(current_iter, int):
        model.guard.settle()
    per_image = {image.name: image.values for image in found if image.values}
    model.metric_results = mean_values(per_image) | model.figures_of_set()
    _say_what_has_no_gt(model, name, found)
    if opt["is_train"]:
        _record(model, name, int(current_iter), tb_logger)
    elif model.metric_results:  # a test has no best iteration so far
        values = ", ".join(f"{metric} {value:.4f}" for metric, value in model.metric_results.items())
        _LOG.info("%s, %d images: %s", name, len(per_image) or len(found), values)
        if per_image and opt["rank"] == 0:
            add_results(Path(opt["path"]["results_root"]), name, per_image)


def _measured(model: Any, dataloader: Any, current_iter: int | str, save_img: bool) -> list[Measured]:
    """Restore and measure this process's share; return what was found for all images, in the order of the set."""
    opt, name = model.opt, dataloader.dataset.opt["name"]
    rank, world = int(opt["rank"]), int(opt["world_size"])
    measure = Measuring(opt, dataloader.dataset, current_iter, save_img, strips=model.strips)
    loader = share_of(dataloader, rank, world)
    own: dict[int, Measured] = {}
    quiet = rank != 0 or not (opt["val"].get("pbar", True) and sys.stderr.isatty())
    bar = tqdm(total=len(loader), desc=name, unit="image", leave=False, disable=quiet)

    def collect(measured: Future[list[Measured]], places: list[int]) -> None:
        own.update((rank + place * world, image) for place, image in zip(places, measured.result(), strict=True))
        bar.update(len(places))

    # One thread measures and writes a batch while the next one is read and restored; which values come out does not
    # depend on it, and no more than two batches are in memory.
    with bar, _thread(model.device) as measuring:
        ahead: list[Any] = []
        for group in equal_sizes(loader, int(opt["val"].get("batch", 1))):
            batch = model.validation_batch(joined(sample for _, sample in group))
            model.feed_data({key: value for key, value in batch.items() if key != "gt"})
            model.test()
            output = model.output.cpu()
            if ahead:
                collect(*ahead)
            places = [place for place, _ in group]
            ahead = [measuring.submit(measure, batch, output), places]
        if ahead:
            collect(*ahead)
    everyone = {place: image for share in gather(own) for place, image in share.items()}
    return _with_names_of_their_own(name, [everyone[place] for place in sorted(everyone)])


def _with_names_of_their_own(dataset: str, images: list[Measured]) -> list[Measured]:
    """Return the images; raise DatasetError where two have one name, for one's result would take the other's place."""
    places: dict[str, int] = {}
    for place, image in enumerate(images, start=1):
        if image.name in places:
            raise DatasetError(
                f"dataset '{dataset}': images {places[image.name]} and {place} are both called '{image.name}'; give "
                "each a file name, or an lq_path, of its own"
            )
        places[image.name] = place
    return images


def _thread(device: torch.device) -> ThreadPoolExecutor:
    """One thread that uses the GPU of this process, for metrics that run networks; by itself it would take GPU 0."""
    if device.type != "cuda":
        return ThreadPoolExecutor(1)
    return ThreadPoolExecutor(1, initializer=torch.cuda.set_device, initargs=(torch.cuda.current_device(),))


def _say_what_has_no_gt(model: Any, dataset: str, images: Sequence[Measured]) -> None:
    """Tell once for each set, not at every validation, that images are written and not measured."""
    count = sum(not image.has_gt for image in images)
    if not count or dataset in model.said_without_gt:
        return
    model.said_without_gt.add(dataset)
    left_out = [metric for metric, options in (model.opt["val"].get("metrics") or {}).items() if needs_gt(options)]
    _LOG.info(
        "%s: %d of %d images have no ground truth; %srestored images are written to '%s'",
        *(dataset, count, len(images), f"{', '.join(left_out)} cannot be measured of them, their " if left_out else ""),
        Path(model.opt["path"]["visualization"], dataset),
    )


def _record(model: Any, name: str, iteration: int, tb_logger: Any) -> None:
    """Add a validation to the record, log it, and keep the weights if they are the best so far."""
    opt, lines = model.opt, [f"Validation {name}"]
    metrics: Mapping[str, Any] = opt["val"].get("metrics") or {}
    model.record.add(iteration, name, model.metric_results)
    for metric, value in model.metric_results.items():
        higher = metrics.get(metric, {}).get("better", "higher") == "higher"
        best = model.record.best(name, metric, higher=higher)
        lines.append(f"\t # {metric}: {value:.4f}\tBest: {best.metrics[metric]:.4f} @ {best.iteration} iter")
        chosen = metric == opt["logger"].get("keep_best") and name == first_validation_set(opt)
        if chosen and best.iteration == iteration:
            model.save_best()
    model.record.write()  # last: a validation that is written down is not made up for
    if not model.metric_results or opt["rank"] != 0:
        return
    _LOG.info("%s", "\n".join([*lines, ""]))
    for metric, value in model.metric_results.items() if tb_logger else ():
        tb_logger.add_scalar(f"metrics/{name}/{metric}", value, iteration)


def first_validation_set(opt: Mapping[str, Any]) -> str | None:
    """Return the name of the set by which ``logger.keep_best`` judges."""
    return next((d["name"] for key, d in opt["datasets"].items() if key.split("_")[0] == "val"), None)
