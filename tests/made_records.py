"""Records of runs that never ran, with differences that are known: for tests of statistics, tables and pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dckd_basicsr.compare import Base, Cost, RunRecord, Sweep, Variant, write_record

SETS = {"Set5": 5, "Set14": 14}


def made_sweep(
    variants: Sequence[str] = ("scratch", "logits", "dckd"),
    seeds: Sequence[int] = (0, 1, 2),
    bases: Sequence[str] = ("small",),
    name: str = "made",
) -> Sweep:
    return Sweep(
        name=name,
        title="A made-up comparison",
        bases={base: Base("dckd_x4_edsr.yml", "test_x4_edsr.yml", title=f"EDSR {base}") for base in bases},
        variants={variant: Variant((variant,)) for variant in variants},
        seeds=tuple(seeds),
    )


def made_records(
    sweep: Sweep,
    gains: Mapping[str, float] | None = None,
    *,
    image_spread: float = 3.0,
    seed_spread: float = 0.015,
    noise: float = 0.03,
    sets: Mapping[str, int] = SETS,
    random: int = 0,
) -> dict[str, RunRecord]:
    """Return a record of every run, and of each base's teacher.

    Args:
        sweep: which runs there are.
        gains: mean PSNR of a variant beyond the others', in dB.
        image_spread: standard deviation of images' PSNR, the same in all runs.
        seed_spread: of a whole run's.
        noise: of one image in one run.
        sets: test sets with their numbers of images.
        random: of the draws.
    """
    draw, gains, found = np.random.default_rng(random), gains or {}, {}
    for base in sweep.bases:
        level = {name: 28 + image_spread * draw.standard_normal(count) for name, count in sets.items()}
        runs = [(variant, seed) for variant in sweep.variants for seed in sweep.seeds_of(variant)]
        for variant, seed in [*runs, ("teacher", None)]:
            whole = gains.get(variant, 1.0 if seed is None else 0.0) + seed_spread * draw.standard_normal()
            images = {
                name: {
                    f"{name.lower()}/{i:02d}": {"psnr": float(value), "ssim": float(1 / (1 + np.exp(-value / 20)))}
                    for i, value in enumerate(level[name] + whole + noise * draw.standard_normal(count))
                }
                for name, count in sets.items()
            }
            name = f"{sweep.name}_{base}_{variant}" + ("" if seed is None else f"_s{seed}")
            found[name] = RunRecord(
                name=name,
                base=base,
                variant=variant,
                seed=seed,
                options={
                    "network_g": {"type": "EDSR"},
                    "network_teacher": {"type": "EDSR"},
                    "train": {"total_iter": 1000},
                    "manual_seed": seed,
                },
                images=images,
                cost=Cost(
                    160_000,
                    9.5e9,
                    None if seed is None else 0.1,
                    None if seed is None else 0.03,
                    None if seed is None else 0.7,
                ),
                commands=(f"basicsr train -opt dckd_x4_edsr.yml --with {variant}",),
                validations=[
                    {"iteration": i, "dataset": "Set5", "metrics": {"psnr": 26 + i / 500 + whole, "ssim": 0.8}}
                    for i in (200, 400, 600, 800, 1000)
                ]
                if seed is not None
                else (),
                curve={"iter": [100, 500, 1000], "l_pix": [0.05, 0.03, 0.02], "l_logits": [0.04, None, 0.01]}
                if seed is not None
                else {},
                environment={"dckd_basicsr": "0.2", "torch": "2.14.1", "device": "CPU, 2 cores"},
                finished="2026-01-01T00:00:00",
            )
    return found


def write_all(records: Mapping[str, RunRecord], folder: Path) -> None:
    """Write records as a finished sweep has them."""
    for record in records.values():
        write_record(record, folder / "records" / f"{record.name}.json")
