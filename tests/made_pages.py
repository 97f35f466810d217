"""Made-up comparisons with curves, options and pictures, for tests of pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dckd_basicsr.compare import Comparison, RunRecord
from dckd_basicsr.page import Pictures, telling_images
from tests.made_records import made_records, made_sweep

SHARE = {"scratch": 0.0, "logits": 0.2, "dckd": 0.6, "teacher": 0.9}
"""How much of what LQ lacks each method restores, in made-up pictures."""


def made_comparison(
    bases: Sequence[str] = ("small",), seeds: Sequence[int] = (0, 1, 2), title: str = "A made-up comparison"
) -> Comparison:
    """A comparison in which dckd is better by 0.3 dB, whose methods differ in options and hours."""
    sweep = replace(made_sweep(bases=bases, seeds=seeds), title=title)
    records = made_records(sweep, {"dckd": 0.3})
    return Comparison(sweep, {name: _told(record) for name, record in records.items()}, resamples=200)


def _told(record: RunRecord) -> RunRecord:
    if record.seed is None:
        return replace(record, cost=replace(record.cost, multiply_adds=95e9, parameters=1_500_000))
    hours = {"scratch": 0.1, "logits": 0.2, "dckd": 0.4}[record.variant]
    train = {**record.options["train"], f"{record.variant}_opt": {"loss_weight": 0.1}}
    return replace(
        record, cost=replace(record.cost, hours=hours), options={**record.options, "name": record.name, "train": train}
    )


def made_pictures(comparison: Comparison, base: str = "small", size: tuple[int, int] = (120, 160)) -> Pictures:
    """Noise on gradients, of which each method restores its share; those images that the page shows."""
    draw = np.random.default_rng(0)
    found = {}
    for dataset, images in telling_images(comparison, base).items():
        found[dataset] = {image: _scene(draw, size) for image in images}
    return Pictures(found)


def _scene(draw: np.random.Generator, size: tuple[int, int]) -> dict[str, np.ndarray]:
    rows, columns = np.mgrid[: size[0], : size[1]]
    smooth = np.stack([60 + rows * 0.8, 60 + columns * 0.6, 200 - rows * 0.5], axis=2)
    detail = 25 * draw.standard_normal((*size, 3))
    found = {name: smooth + share * detail for name, share in SHARE.items()}
    found |= {"GT": smooth + detail, "LQ": smooth[::4, ::4]}
    return {name: picture.clip(0, 255).astype(np.uint8) for name, picture in found.items()}
