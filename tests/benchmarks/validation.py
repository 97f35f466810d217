"""Time of a pass over a test set: one by one, in batches, in tiles, with self-ensemble.

    python -m tests.benchmarks.validation [--images 12] [--rounds 5] [--json FILE]

Passes as ``basicsr test`` makes them, with a small EDSR, PSNR and SSIM, but with synthetic images in memory. Rounds
are interleaved, every way once per round, so that a slow moment of the machine hits all of them; the table has medians,
and each way's ratio to one by one is the median of the ratios within a round. On the CPU, with the threads that
OMP_NUM_THREADS allows.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import torch

from tests.held_out import image_loader, trained

__all__ = ["WAYS", "machine", "measure", "table"]

NETWORK = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 32, "num_block": 4, "upscale": 2}
SIZE = (96, 128)
"""Height and width of the LQ images, in pixels."""
TILE = {"size": 48, "overlap": 24}

WAYS: dict[str, dict[str, Any]] = {
    "one by one": {},
    "batches of 4": {"batch": 4},
    "tiles of 48": {"tile": TILE},
    "tiles of 48, 4 at once": {"tile": {**TILE, "batch": 4}},
    "self-ensemble x8": {"self_ensemble": True},
}
"""What each way sets under ``val``."""


def measure(images: int = 12, rounds: int = 5) -> dict[str, dict[str, float]]:
    """Time passes over ``images`` images.

    Args:
        images: number of images, all of one size.
        rounds: after one more to warm up.

    Returns:
        for each way: ``seconds`` per image, ``ratio`` to one by one, and the ``psnr`` of the pass in dB.
    """
    loader = image_loader([SIZE] * images)
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    psnr = {}
    with tempfile.TemporaryDirectory() as folder:
        models = {way: trained(Path(folder), NETWORK, **val) for way, val in WAYS.items()}
        for i in range(rounds + 1):
            for way, model in models.items():
                start = time.perf_counter()
                model.nondist_validation(loader, "measured", None, False)
                if i:
                    times[way].append((time.perf_counter() - start) / images)
                psnr[way] = model.metric_results["psnr"]
    first = times["one by one"]
    return {
        way: {
            "seconds": median(found),
            "ratio": median(a / b for a, b in zip(found, first, strict=True)),
            "psnr": psnr[way],
        }
        for way, found in times.items()
    }


def machine() -> dict[str, Any]:
    """What the figures depend on besides the code."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
    }


def _processor() -> str:
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.is_file() else []
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.processor())


def table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Render rows as a Markdown table."""
    lines = ["| way | ms per image | ratio | PSNR |", "|---|---:|---:|---:|"]
    for way, row in rows.items():
        lines.append(f"| {way} | {1000 * row['seconds']:.1f} | {row['ratio']:.2f} | {row['psnr']:.4f} |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=12, help="images in the set (12)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds after the one to warm up (5)")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    args = parser.parse_args(argv)
    rows, found = measure(args.images, args.rounds), machine()
    print(table(rows))
    print("\n" + ", ".join(f"{key} {value}" for key, value in found.items()))
    if args.json:
        args.json.write_text(json.dumps({"machine": found, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
