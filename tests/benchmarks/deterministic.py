"""What ``deterministic: true`` costs on a GPU: steps with it and without, each in a process of its own.

    python -m tests.benchmarks.deterministic [--size paper|small] [--recipe edsr] [--steps 10] [--rounds 3]
        [--json FILE]

The step is forward and backward with every term in float32, launched operation by operation; the switches are those of
``training/loop.py``. Rounds alternate between the two; medians of milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

from dckd_basicsr.commands.train import set_determinism
from tests.benchmarks.recipes import RECIPES
from tests.benchmarks.step import RuntimeSettings, build, machine, timed, variant


def milliseconds(size: str, recipe: str, deterministic: bool, steps: int) -> float:
    """Return the median of a few steps in this process, which keeps its switches."""
    set_determinism(deterministic)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    job = variant(build(RECIPES[size][recipe], device), RuntimeSettings())
    times = [timed(job.step, device) for _ in range(steps + 2)]
    return statistics.median(times[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--size", choices=list(RECIPES), default="paper" if torch.cuda.is_available() else "small")
    parser.add_argument("--recipe", choices=list(RECIPES["small"]), default="edsr")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write all figures here")
    options = parser.parse_args()
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)  # else both have what determinism asks for
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    figures = {"machine": machine(device), "recipe": options.recipe, "size": options.size}
    rounds: list[dict[str, float]] = []
    for i in range(options.rounds):
        row = {}
        for name, deterministic in (("as fast as it goes", False), ("deterministic", True)):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                arguments = (options.size, options.recipe, deterministic, options.steps)
                row[name] = pool.submit(milliseconds, *arguments).result()
        rounds.append(row)
        print(f"round {i + 1}:", ", ".join(f"{name} {ms:.1f} ms" for name, ms in row.items()), flush=True)
        ratio = statistics.median(each["deterministic"] / each["as fast as it goes"] for each in rounds)
        if options.json:  # after each round: what is measured is kept, whatever comes
            text = json.dumps({**figures, "rounds": rounds, "ratio": ratio}, indent=1)
            options.json.write_text(text, encoding="utf-8")
    print(f"{options.recipe}, {options.size}: deterministic takes {ratio:.2f} times as long", flush=True)


if __name__ == "__main__":
    main()
