"""What the benchmarks share: photos, paired rounds, and what a figure has to say of its machine."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import lmdb
import numpy as np
import torch

import dckd_basicsr  # (before anything of basicsr)
from dckd_basicsr.data.photos.images import Image

__all__ = ["machine", "medians", "paired_rounds", "photo", "ratios", "write_json"]


def photo(seed: int, height: int = 1356, width: int = 2040) -> Image:
    """Return a picture with the spectrum of a photo (power falls with frequency), edges and sensor noise: uint8, BGR.

    PNG stores it in about as many bits per pixel as a DIV2K photo.
    """
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), np.float32)
    cells, weight = 3, 1.0
    while cells <= width:
        coarse = rng.standard_normal((max(2, cells * height // width), cells, 3)).astype(np.float32)
        total += weight * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        cells, weight = 2 * cells, 0.6 * weight
    for _ in range(12):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        radius, change = int(rng.integers(20, 20 + width // 8)), rng.normal(0, 1, 3)
        mask = cv2.circle(np.zeros((height, width), np.uint8), centre, radius, 1, -1)
        total += mask[..., None] * change.astype(np.float32)
    total = 128 + 50 * total / total.std() + 1.5 * rng.standard_normal(total.shape).astype(np.float32)
    return np.clip(total, 0, 255).astype(np.uint8)


def paired_rounds(variants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Measure every variant once per round, so that whatever else the machine does hits all of them alike."""
    found: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, measure in variants.items():
            found[name].append(measure())
    return found


def medians(measured: Mapping[str, list[float]]) -> dict[str, float]:
    """The median of each variant."""
    return {name: statistics.median(values) for name, values in measured.items()}


def ratios(measured: Mapping[str, list[float]], base: str) -> dict[str, float]:
    """The median over rounds of each variant's value / that of ``base`` in the same round."""
    return {
        name: statistics.median(value / one for value, one in zip(values, measured[base], strict=True))
        for name, values in measured.items()
    }


def machine() -> dict[str, Any]:
    """The command, the processor and the versions that figures depend on."""
    import basicsr

    model = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    versions = {"python": platform.python_version(), "torch": torch.__version__, "opencv": cv2.__version__}
    versions |= {"lmdb": lmdb.__version__, "basicsr": basicsr.__version__, "dckd_basicsr": dckd_basicsr.__version__}
    module = getattr(sys.modules["__main__"].__spec__, "name", "")
    command = f"python -m {module}" if module else Path(sys.argv[0]).name
    return {"command": " ".join([command, *sys.argv[1:]]), "cpu": model, "cores": _cores(), "versions": versions}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def write_json(path: Path | None, result: Mapping[str, Any]) -> None:
    """Write figures and machine to a file, if one is asked for."""
    if path:
        path.write_text(json.dumps({"machine": machine(), **result}, indent=2) + "\n", encoding="utf-8")
