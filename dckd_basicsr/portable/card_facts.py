"""What a card says of a network besides its files: where it comes from, what was measured, under which licences."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..config import builtin_weights, load_yaml
from ..config.problems import block_of
from ..errors import DCKDError
from .opening import Opened
from .trained import NO_TEACHER, loss_terms, teachers

__all__ = ["CardFacts", "Measured", "facts_of_run"]


@dataclass(frozen=True)
class Measured:
    """A value with what is needed to measure it again.

    Attributes:
        dataset: name of the test set.
        metric: its name in the options.
        protocol: how it is taken: channel, border.
        value: mean over the set.
        command: that measured it.
    """

    dataset: str
    metric: str
    protocol: str
    value: float
    command: str


@dataclass(frozen=True)
class CardFacts:
    """Facts for a card; None or nothing is said as "not known".

    Attributes:
        title: a heading; None takes the name.
        author: who made it.
        description: a sentence or two.
        licence: SPDX identifier of the weights.
        teacher: name or file of the teacher; :data:`.NO_TEACHER` of a network that is known to have had none.
        teacher_licence: of the teacher's weights.
        data: name of the training set.
        data_licence: of the training data.
        method: by which terms or name it was trained.
        metrics: what was measured.
        psnr_to_teacher: dB, student to teacher.
        milliseconds: per megapixel of output, with ``machine``.
        machine: on which that was measured.
        strips: pictures to show, relative to the card's folder.
        iterations: of training.
        batch: images of an iteration.
        gt_size: side of a training patch of GT.
        limits: further known limits, a sentence each.
        tags: for OpenModelDB.
    """

    title: str | None = None
    author: str | None = None
    description: str | None = None
    licence: str | None = None
    teacher: str | None = None
    teacher_licence: str | None = None
    data: str | None = None
    data_licence: str | None = None
    method: str | None = None
    metrics: tuple[Measured, ...] = ()
    psnr_to_teacher: float | None = None
    milliseconds: float | None = None
    machine: str | None = None
    strips: tuple[str, ...] = ()
    iterations: int | None = None
    batch: int | None = None
    gt_size: int | None = None
    limits: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


_SHIPPED = {
    "edsr_x4_f64b16": CardFacts(
        licence="Apache-2.0",
        teacher=NO_TEACHER,
        data="376 photographs: BSDS500 (train and test), Debian wallpapers, Sun-Hays 80",
        metrics=tuple(
            Measured(dataset, metric, "Y channel, 4 px cropped at the border", value, "basicsr test")
            for dataset, psnr, ssim in (("Set5", 31.62, 0.8875), ("Set14", 28.19, 0.7726))
            for metric, value in (("PSNR (dB)", psnr), ("SSIM", ssim))
        ),
        iterations=18_800,
        batch=32,
    )
}
"""Of networks among the weights that ship with the package, by name: what their README says."""


def facts_of_run(opened: Opened) -> CardFacts:
    """Return what the folder of a run tells, or what is known of shipped weights; else an empty card."""
    if opened.run is None:
        shipped = builtin_weights().get(opened.file.stem)
        return _SHIPPED.get(opened.file.stem, CardFacts()) if shipped == opened.file else CardFacts()
    options = load_yaml(opened.run / "options.yml")
    sets = block_of(options, "datasets", "train")
    return CardFacts(
        title=str(options.get("name") or opened.run.name),
        teacher=teachers(options),
        data=str(sets["name"]) if sets.get("name") else None,
        method=loss_terms(options),
        metrics=tuple(_measured(opened, options)),
        iterations=opened.iteration,
        batch=_whole(sets.get("batch_size_per_gpu")),
        gt_size=_whole(sets.get("gt_size")),
    )


def _measured(opened: Opened, options: Mapping[str, Any]) -> list[Measured]:
    """Return the validations at the iteration that is exported."""
    assert opened.run is not None
    told = block_of(options, "val", "metrics")
    try:
        entries = json.loads((opened.run / "validations.json").read_text(encoding="utf-8"))
        return [
            Measured(
                str(entry["dataset"]),
                name,
                _protocol(block_of(told, name)),
                float(value),
                f"basicsr train -opt {opened.run.name}/options.yml (validation of iteration {opened.iteration})",
            )
            for entry in entries
            if entry["iteration"] == opened.iteration
            for name, value in entry["metrics"].items()
        ]
    except (OSError, ValueError, LookupError, TypeError, DCKDError):  # a run need not have validated
        return []


def _protocol(block: Mapping[str, Any]) -> str:
    kind = str(block.get("type", "metric"))
    rounded = kind.endswith("_y_rounded")
    channel = "Y channel, rounded" if rounded else "Y channel" if block.get("test_y_channel") else "RGB"
    return f"{kind}, {channel}, {block.get('crop_border', 0)} px cropped at the border"


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
