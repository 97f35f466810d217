"""What the packaged sweeps would cost: runs, multiply-adds, and an estimate of GPU hours.

    python -m tests.benchmarks.sweeps [SWEEP ...] [--json FILE]

The multiply-adds of all iterations are counted (``report/step_cost.py``), stage by stage where patches grow. The hours
are an estimate for one NVIDIA H100 with PyTorch's defaults (float32, convolutions in TF32, nothing compiled): an
iteration takes

    max(floor, student / RATE) + (all - student) / RATE

with the multiply-adds of the student's own forward and backward pass (``scratch``), and of the whole step. ``RATE`` is
the 8,002 G of an iteration of the published code for SwinIR x4 with batch 16 (docs/guide/performance.md) in 427.6 ms:
timed on an H100 with torch 2.11 before this package existed, with no command kept, so a base for estimates only.
The floors are what an iteration takes however small the student is, since the host cannot launch its kernels faster:
0.1 s is forward and backward pass of SwinIR's student (99 ms, bf16, no command kept either), 0.023 s an iteration of a
small EDSR (docs/method/results.md).
Restormer's is taken from SwinIR, RCAN's and NAFNet's from EDSR. The measured steps come out at 0.027 s for 0.023
(EDSR, logits), 0.048 for 0.054 (EDSR, DCKD) and 0.52 for 0.43 (the published step).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dckd_basicsr.compare import Base, Sweep, Variant, load_sweep
from dckd_basicsr.compare.sweep import packaged_sweeps
from dckd_basicsr.config import find_options
from dckd_basicsr.config.resolve import resolve_options
from dckd_basicsr.report import StepCost, step_cost
from tests.benchmarks.common import write_json

RATE = 8002e9 / 0.4276
FLOORS = {"SwinIR": 0.1, "Restormer": 0.1}
FLOOR = 0.023
_COUNTED: dict[str, StepCost] = {}


@dataclass(frozen=True)
class Work:
    """Of one run: multiply-adds of all its iterations, and estimated hours."""

    multiply_adds: float
    hours: float


def options_of(sweep: Sweep, base: Base, variant: Variant) -> dict[str, Any]:
    """The training's options of a run, but for its seed."""
    given = {**sweep.options, **base.options, **variant.options}
    overrides = [f"{key}={json.dumps(value)}" for key, value in given.items()]
    return resolve_options(find_options(base.train), overrides, variant.methods)[0]


def stages(opt: Mapping[str, Any]) -> Iterator[tuple[int, int, int]]:
    """Yield iterations, side of GT patches and batch of each stage."""
    data, before = opt["datasets"]["train"], 0
    rows = data.get("progressive") or [[opt["train"]["total_iter"], data["gt_size"], data["batch_size_per_gpu"]]]
    for until, side, batch in rows:
        yield until - before, side, batch
        before = until


def cost_of(opt: Mapping[str, Any], side: int, batch: int) -> StepCost:
    key = json.dumps([opt, side, batch])
    if key not in _COUNTED:
        found = step_cost(opt, batch, side)
        assert found is not None
        _COUNTED[key] = found
    return _COUNTED[key]


def work_of(opt: Mapping[str, Any], alone: Mapping[str, Any]) -> Work:
    """Of a run, with the options of the same student alone."""
    total, seconds, floor = 0.0, 0.0, FLOORS.get(opt["network_g"]["type"], FLOOR)
    for iterations, side, batch in stages(opt):
        whole, student = (batch * cost_of(each, side, batch).multiply_adds for each in (opt, alone))
        total += iterations * whole
        seconds += iterations * (max(floor, student / RATE) + (whole - student) / RATE)
    return Work(total, seconds / 3600)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweeps", nargs="*")
    parser.add_argument("--json", type=Path)
    given, rows = parser.parse_args(), list[dict[str, Any]]()
    print("| sweep | runs | multiply-adds | H100 hours, estimated |\n|---|---:|---:|---:|")
    for name, file in packaged_sweeps().items():
        if given.sweeps and name not in given.sweeps:
            continue
        sweep, first = load_sweep(file), len(rows)
        for base_key, base in sweep.bases.items():
            alone = options_of(sweep, base, Variant(("scratch",)))
            for key, variant in sweep.variants.items():
                if variant.bases is not None and base_key not in variant.bases:
                    continue
                work, count = work_of(options_of(sweep, base, variant), alone), len(sweep.seeds_of(key))
                rows.append({"sweep": name, "base": base_key, "variant": key, "runs": count, **asdict(work)})
                print(f"<!-- {name} {base_key} {key}: {work.multiply_adds / 1e18:.2f}e18, {work.hours:.1f} h -->")
        runs, work_in_all, hours = (
            sum(row["runs"] * row.get(key, 1) for row in rows[first:]) for key in ("", "multiply_adds", "hours")
        )
        print(f"| `{name}` | {runs} | {work_in_all / 1e18:.0f}e18 | {hours:.0f} |", flush=True)
    write_json(given.json, {"rows": rows})


if __name__ == "__main__":
    main()
