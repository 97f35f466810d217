"""Per-image test results as JSON, written by ``basicsr test`` and read by reports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import DatasetError
from ..weight_files import atomic_write

__all__ = ["RESULTS_FILE", "add_results", "mean_values", "read_results"]

RESULTS_FILE = "metrics.json"

PerImage = Mapping[str, Mapping[str, float]]
"""Image name, with its folders -> metric -> value."""


def add_results(folder: Path, dataset: str, images: PerImage) -> None:
    """Add one dataset's values to ``folder/metrics.json``: means first, then every image."""
    path = folder / RESULTS_FILE
    results = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    results[dataset] = {"count": len(images), "mean": mean_values(images), "images": images}
    text = json.dumps(results, indent=1)
    atomic_write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_results(folder: Path) -> dict[str, Any]:
    """Read what :func:`add_results` wrote: dataset -> {count, mean, images}."""
    path = folder / RESULTS_FILE
    if not path.is_file():
        raise DatasetError(f"'{path}' does not exist; `basicsr test` writes it")
    return json.loads(path.read_text(encoding="utf-8"))


def mean_values(images: PerImage) -> dict[str, float]:
    """Return each metric's mean over the images that have a value of it."""
    found: dict[str, list[float]] = {}
    for values in images.values():
        for metric, value in values.items():
            found.setdefault(metric, []).append(value)
    return {metric: sum(values) / len(values) for metric, values in found.items()}
