"""How the cost of one DCKD step grows: with the batch, the patch, the negatives and the processes.

    python -m tests.benchmarks.scaling [--size small|paper] [--recipe edsr] [--axes batch patch negatives processes]
        [--rounds 5] [--runtime exact|auto] [--processes 1 2 ...] [--json FILE]

One axis at a time, all else as the recipe has it; a step is forward and backward with every term, as ``step.py`` builds
it. Rounds alternate between the values of an axis, and relations are taken within a round. No negatives: no contrast.
Processes are real ones under DistributedDataParallel, each with the recipe's batch: gloo on CPUs, where they share the
cores, so that losing nothing is an efficiency of 1 / processes; nccl with a GPU for each, where it is 1.
On CPUs the machine has to be idle: threads that wait for one another lose far more to a neighbour than one thread does.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from dckd_basicsr.distill import NegativesSettings

from .common import machine, medians, paired_rounds, ratios, write_json
from .recipes import RECIPES, Recipe
from .step import TERMS, Job, RuntimeSettings, build, settle, settled, timed, variant

__all__ = ["AXES", "RUNTIMES", "Case", "alongside", "grow", "job_at", "relations", "table", "values"]

Rows = dict[str, dict[str, Any]]

RUNTIMES = {"exact": RuntimeSettings(), "auto": RuntimeSettings(preset="auto")}
ALONE = {"ms": "ms per step", "relative": "against {}", "ms_per_image": "ms per image", "gib": "peak GiB"}
SHARED = {"ms": "ms per step", "images_per_second": "images/s", "efficiency": "efficiency", "threads": "threads each"}
AXES = {"batch": ALONE, "patch": ALONE, "negatives": ALONE, "processes": {**SHARED, "gib": "peak GiB each"}}
"""Columns of each axis' table."""


@dataclass(frozen=True)
class Case:
    """What is measured, but for the value on the axis."""

    recipe: Recipe
    device: torch.device
    rounds: int
    settings: RuntimeSettings = field(default_factory=RuntimeSettings)


def values(axis: str, recipe: Recipe) -> tuple[int, list[int]]:
    """Return the recipe's own value on an axis, and all that are measured."""
    own = {"batch": recipe.batch, "patch": recipe.gt_size}.get(axis, NegativesSettings().num)
    others = {0, 1, 2, 2 * own}
    if axis == "batch":
        others = {max(1, own // 4), max(1, own // 2), 2 * own}
    elif axis == "patch":  # multiples of 32 suit x4 with windows of 8, and an encoder that halves four times
        others = {32 * max(1, round(factor * own / 32)) for factor in (0.5, 1.5, 2)}
    return own, sorted({own, *others})


def job_at(axis: str, value: int, case: Case) -> Job:
    """Build the step with one axis at a value; several processes each have the recipe's own."""
    change: dict[str, Any] = {"batch": {"batch": value}, "patch": {"gt_size": value}}.get(axis, {})
    base, terms = build(replace(case.recipe, **change), case.device), tuple(TERMS)
    if axis == "negatives" and value:
        base.sources = replace(base.sources, negatives=NegativesSettings(num=value))
    elif axis == "negatives":
        terms = tuple(term for term in TERMS if term != "contrastive_opt")
    job = variant(base, settled(case.settings, case.device, value if axis == "processes" else 1), terms)
    if terms != tuple(TERMS):
        job.sources.history = None  # training does not build it then, and its memory counts
    return job


def warmed(make: Callable[[], Job], device: torch.device) -> tuple[Job, dict[str, Any]]:
    """Build a job and run it; its row begins with the peak of GPU memory, less what other jobs hold."""
    gc.collect()
    gpu = device.type == "cuda"
    before = torch.cuda.memory_allocated(device) if gpu else 0
    job = make()
    if gpu:
        torch.cuda.reset_peak_memory_stats(device)
    for _ in range(2):  # the first may compile and record; a recording's memory shows nowhere later
        job.step()
    return job, {"gib": (torch.cuda.max_memory_allocated(device) - before) / 2**30} if gpu else {}


def relations(times: Mapping[str, list[float]], base: str, images: Mapping[str, int]) -> Rows:
    """Turn milliseconds by round into rows; ``images``: of all processes together, in one step."""
    rates = {name: [1e3 * images[name] / one for one in found] for name, found in times.items()}
    ms, rate, longer, faster = medians(times), medians(rates), ratios(times, base), ratios(rates, base)
    return {
        name: {
            "ms": ms[name],
            "relative": longer[name],
            "ms_per_image": ms[name] / images[name],
            "images_per_second": rate[name],
            "efficiency": faster[name] * images[base] / images[name],
            "rounds": times[name],
        }
        for name in times
    }


def grow(axis: str, case: Case) -> Rows:
    """Measure an axis within this process; all values stay in memory, and what finds none left says so instead."""
    base, asked = values(axis, case.recipe)
    jobs: dict[str, Job] = {}
    rows: Rows = {}
    for value in sorted(asked, key=lambda value: value != base):  # nothing can be said without the base
        try:
            jobs[str(value)], rows[str(value)] = warmed(partial(job_at, axis, value, case), case.device)
        except torch.cuda.OutOfMemoryError:
            if value == base:
                raise
            rows[str(value)] = {"skipped": "no memory left beside the others"}
    times = paired_rounds({name: partial(timed, job.step, case.device) for name, job in jobs.items()}, case.rounds)
    for name, row in relations(times, str(base), {name: len(job.lq) for name, job in jobs.items()}).items():
        rows[name] |= {key: row[key] for key in row if key != "efficiency"}  # which is one of processes
    return {str(value): rows[str(value)] for value in asked}


def alongside(case: Case, counts: Sequence[int], limit: float = 900) -> Rows:
    """Measure numbers of processes, 1 always among them.

    The largest number is started, once; what a smaller one has no use for waits meanwhile. So rounds can alternate.

    Raises:
        TimeoutError: not done within ``limit`` seconds; no process is left then.
    """
    most = torch.cuda.device_count() if case.device.type == "cuda" else max(counts)
    gc.collect()
    torch.cuda.empty_cache()  # the processes need what this one no longer does
    cores = machine()["cores"]
    threads = {n: max(1, cores // n) for n in sorted({1, *counts}) if n <= most}
    deadline = time.monotonic() + limit
    with tempfile.TemporaryDirectory() as name:
        started = mp.spawn(_process, (case, threads, limit, Path(name)), nprocs=max(threads), join=False)
        try:
            while not started.join(max(0.0, deadline - time.monotonic())):
                if time.monotonic() >= deadline:
                    raise TimeoutError(f"{max(threads)} processes not done in {limit:g} s: a hang, or too many rounds")
        finally:
            for process in started.processes:
                process.kill()
                process.join()
        reports = [json.loads(Path(name, f"{rank}.json").read_text()) for rank in range(max(threads))]
    rows = relations(reports[0]["times"], "1", {str(n): n * case.recipe.batch for n in threads})
    for n in threads:
        own = [report["rows"][str(n)] for report in reports[:n]]
        rows[str(n)] |= {"threads": threads[n], **{key: max(one[key] for one in own) for key in own[0]}}
        rows[str(n)]["gradient_norms"] = [one["gradient_norm"] for one in own]
    return rows | {str(n): {"skipped": f"only {most} GPU here"} for n in sorted(counts) if n > most}


def _process(rank: int, case: Case, threads: dict[int, int], limit: float, folder: Path) -> None:
    """Be one of the processes: step in the numbers above this rank, wait at the barriers of the others."""
    cuda, world, patience = case.device.type == "cuda", max(threads), timedelta(seconds=limit)
    case = replace(case, device=torch.device("cuda", rank) if cuda else case.device)
    jobs: dict[int, Job] = {}
    rows: dict[int, dict[str, Any]] = {}

    def make(n: int, group: Any) -> Job:
        job = job_at("processes", n, case)
        torch.manual_seed(rank)
        job.lq, job.gt = torch.rand_like(job.lq), torch.rand_like(job.gt)  # equal gradients then mean an exchange
        if n > 1:  # one process trains bare
            job.wrapped = DistributedDataParallel(job.wrapped, [rank] if cuda else None, process_group=group)
        return job

    def all_ready() -> None:
        settle(case.device)
        dist.barrier()

    def measure(n: int) -> float:
        def all_step() -> None:
            if n in jobs:
                jobs[n].step()
            all_ready()

        torch.set_num_threads(threads[n])
        all_ready()
        return timed(all_step, case.device)

    store = dist.FileStore(str(folder / "store"), world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=patience)  # waits without load
    try:
        if cuda:
            torch.cuda.set_device(case.device)
        for n in threads:
            group = dist.new_group(list(range(n)), timeout=patience, backend="nccl" if cuda else "gloo")
            torch.set_num_threads(threads[n])
            if rank < n:
                jobs[n], rows[n] = warmed(partial(make, n, group), case.device)
        times = paired_rounds({str(n): partial(measure, n) for n in threads}, case.rounds)
        for n, job in jobs.items():
            grads = [p.grad.flatten() for p in job.student.parameters() if p.grad is not None]
            rows[n]["gradient_norm"] = float(torch.cat(grads).norm())
        (folder / f"{rank}.json").write_text(json.dumps({"times": times, "rows": rows}))
        dist.barrier()  # no one leaves while another may need it
    finally:
        dist.destroy_process_group()


def table(axis: str, rows: Rows, base: int) -> str:
    """Render an axis as Markdown; columns that nothing is known for, such as memory on a CPU, are left out."""
    columns = {key: head for key, head in AXES[axis].items() if any(key in row for row in rows.values())}
    lines = [f"| {axis} | {' | '.join(columns.values())} |".format(base), "|---:" * (1 + len(columns)) + "|"]
    for name, row in rows.items():
        cells = [f"{row[key]:{'d' if key == 'threads' else '.2f'}}" if key in row else "-" for key in columns]
        cells[0] = row.get("skipped", cells[0])
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=list(RECIPES), default="paper" if cuda else "small")
    parser.add_argument("--recipe", choices=list(RECIPES["small"]), default="edsr")
    parser.add_argument("--axes", nargs="+", choices=list(AXES), default=list(AXES))
    parser.add_argument("--rounds", type=int, default=5, help="paired rounds (5)")
    parser.add_argument("--runtime", choices=list(RUNTIMES), default="exact")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4, 8] if cuda else [1, 2], metavar="N")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    args = parser.parse_args(argv)
    recipe, device = RECIPES[args.size][args.recipe], torch.device("cuda" if cuda else "cpu")
    case = Case(recipe, device, args.rounds, RUNTIMES[args.runtime])
    gpus = f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}" if cuda else "none"
    said = {"gpus": gpus, "threads": torch.get_num_threads(), "batch": recipe.batch, "gt_size": recipe.gt_size}
    said |= {key: getattr(args, key) for key in ("size", "recipe", "runtime")}
    print(said)
    found: dict[str, Rows] = {}
    for axis in args.axes:
        alone = axis != "processes"
        found[axis] = grow(axis, case) if alone else alongside(case, args.processes)
        print(f"\n{table(axis, found[axis], values(axis, recipe)[0])}", flush=True)
        if not alone and not cuda:
            print("\nProcesses share the cores here: an efficiency of 1 / processes loses nothing.")
    print(f"\n{machine()}")
    write_json(args.json, {**said, "axes": found})


if __name__ == "__main__":
    main()
