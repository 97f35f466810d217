"""One DCKD training step against the published algorithm, in pairs, on the machine at hand.

    python -m tests.benchmarks.step [--size small|paper] [--recipes edsr ...] [--variants auto ...] [--rounds 7]
        [--json FILE]

The reference is the published algorithm as described (``published_step.py``): float32, image after image. Every variant
runs the same networks on the same batch with the same draws, in a process that it shares with the reference alone: what
other variants leave in a CPU's heap changes the times of all. Rounds alternate between the two, and the median of the
ratios within rounds is given. ``plain`` is the same student trained on the ground truth alone. The table gives
milliseconds of both, the ratio, memory (GPU only), calls of operators (of kernels, on a GPU), the first step, and the
largest difference of losses and gradients from the reference; below it, where the time of a step goes.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import dckd_basicsr  # (before anything of basicsr)
from dckd_basicsr.archs import VQGAN, facts_of
from dckd_basicsr.distill import DistillParts, DistillStep, FrozenEncoder, Generators, HistoryModel, Objective
from dckd_basicsr.distill.chunking import widest_layer
from dckd_basicsr.distill.objective import ObjectiveValues
from dckd_basicsr.runtime.acceleration import (
    PrecisionSettings,
    RuntimeSettings,
    arrange,
    arrange_encoder,
    region,
    settled,
)
from dckd_basicsr.runtime.compiling import compile_blocks
from dckd_basicsr.runtime.static_step import StaticStep
from tests.benchmarks.limits import ceilings, rates, work
from tests.benchmarks.published_step import published_losses
from tests.benchmarks.recipes import RECIPES, Recipe

from basicsr.archs import build_network  # isort: skip

WEIGHTS = [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0]
L1 = {"type": "L1Loss"}
TERMS: dict[str, Any] = {
    "pixel_opt": L1,
    "logits_opt": L1,
    "contrastive_opt": {"type": "ContrastiveLoss", "loss_weight": 0.1, "weights": WEIGHTS},
    "distribution_opt": {"type": "DistributionLoss", "loss_weight": 0.001},
    "consistency_opt": L1,
}


@dataclass
class Job:
    """The networks of one variant, and how it computes its losses."""

    recipe: Recipe
    student: nn.Module
    parts: DistillParts
    lq: Tensor
    gt: Tensor
    settings: RuntimeSettings = field(default_factory=RuntimeSettings)
    published: bool = False
    terms: tuple[str, ...] = tuple(TERMS)
    static: StaticStep | None = None

    def __post_init__(self) -> None:
        self.objective = Objective({key: TERMS[key] for key in self.terms})
        self.optimizer = torch.optim.Adam(self.student.parameters(), lr=1e-5)

    def losses(self) -> dict[str, Tensor]:
        """Forward."""
        self._start_streams()
        return self.forward(self.lq, self.gt).losses

    def _start_streams(self) -> None:
        torch.manual_seed(0)  # drop path
        self.parts.generators.load_training_state(Generators(1).training_state(), self.lq.device)

    def forward(self, lq: Tensor, gt: Tensor) -> ObjectiveValues:
        """Compute the terms of a batch."""
        if self.published:
            return ObjectiveValues(published_losses(self.parts, self.student, lq, gt, WEIGHTS, consistency=True), {})
        with region(self.settings.precision.student, lq.device):
            out = self.student(lq)
        return self.objective(DistillStep(self.parts, lq, gt, out.float(), self.objective.needs))

    def compute(self, lq: Tensor, gt: Tensor) -> ObjectiveValues:
        """Forward and backward, as a recorded step takes it."""
        values = self.forward(lq, gt)
        torch.stack(list(values.losses.values())).sum().backward()
        return values

    def step(self) -> dict[str, Tensor]:
        """Forward and backward."""
        self.optimizer.zero_grad(set_to_none=True)
        self._start_streams()
        values = self.static([(self.lq, self.gt)])[0] if self.static else self.compute(self.lq, self.gt)
        return values.losses


def build(recipe: Recipe, device: torch.device) -> Job:
    """Build the reference of a recipe with random weights."""
    torch.manual_seed(0)
    student = build_network(dict(recipe.student)).to(device).train()
    teacher = build_network(dict(recipe.teacher)).to(device).eval().requires_grad_(False)
    encoder = FrozenEncoder(VQGAN(recipe.vqgan, decoder=False)).to(device)
    history = HistoryModel(student).to(device)
    with torch.no_grad():  # else |S - H(LQ)| is 0 and its sign rounding
        for p in history.parameters():
            p.mul_(0.9)
    parts = DistillParts(Generators(1), teacher=teacher, history=history, encoder=encoder)
    side = recipe.gt_size // recipe.scale
    lq = torch.rand(recipe.batch, 3, side, side, device=device)
    gt = torch.rand(recipe.batch, 3, recipe.gt_size, recipe.gt_size, device=device)
    return Job(recipe, student, parts, lq, gt, published=True)


def variant(base: Job, settings: RuntimeSettings, terms: tuple[str, ...] = tuple(TERMS)) -> Job:
    """Copy a job's networks and arrange them as the training does."""
    device, recipe = base.lq.device, base.recipe
    settings = settled(settings, device)
    parts = copy.copy(base.parts)
    job = Job(recipe, copy.deepcopy(base.student), parts, base.lq, base.gt, settings, False, terms)
    parts.generators = Generators(1)
    parts.teacher, parts.history = copy.deepcopy(base.parts.teacher), copy.deepcopy(base.parts.history)
    assert isinstance(parts.history, HistoryModel)
    assert parts.teacher is not None
    assert base.parts.encoder is not None
    side = recipe.gt_size // recipe.scale
    parts.teacher_width, parts.history_width = widest_layer(parts.teacher, side), widest_layer(parts.history.net, side)
    nets = ((parts.teacher, recipe.teacher), (parts.history.net, recipe.student), (job.student, recipe.student))
    for net, options in nets:
        arrange(net, settings, facts_of(net, options, recipe.scale))
    parts.encoder = FrozenEncoder(copy.deepcopy(base.parts.encoder.vqgan))
    arrange_encoder(parts.encoder, settings)
    if settings.compile:
        compile_blocks(job.objective)
    parts.frozen_region = partial(region, settings.precision.frozen, device)
    if settings.cuda_graph:
        job.static = StaticStep(job.compute, job.student, parts.generators, device)
    return job


def settle(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def timed(run: Callable[[], Any], device: torch.device) -> float:
    """Return milliseconds of one call."""
    settle(device)
    start = time.perf_counter()
    run()
    settle(device)
    return 1e3 * (time.perf_counter() - start)


def differences(job: Job, reference: Job) -> tuple[float, float]:
    """Return the largest relative difference of a loss, and of the gradient in norm, from the reference."""
    ours, theirs = job.step(), reference.step()
    loss = max(abs(float(ours[k]) - float(theirs[k])) / abs(float(theirs[k])) for k in ours)
    if job.terms != reference.terms:
        return loss, float("nan")
    grads = [torch.cat([p.grad.flatten() for p in j.student.parameters()]) for j in (job, reference)]
    return loss, float((grads[0] - grads[1]).norm() / grads[1].norm())


@contextmanager
def watched(nets: dict[str, nn.Module], device: torch.device, into: dict[str, float]) -> Any:
    """Add up the milliseconds inside each network's forward pass; waits at its start and end."""
    started: dict[str, float] = {}

    def before(name: str, *_: Any) -> None:
        settle(device)
        started[name] = time.perf_counter()

    def after(name: str, *_: Any) -> None:
        settle(device)
        into[name] = into.get(name, 0.0) + 1e3 * (time.perf_counter() - started[name])

    handles = [net.register_forward_pre_hook(partial(before, name)) for name, net in nets.items()]
    handles += [net.register_forward_hook(partial(after, name)) for name, net in nets.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def where_it_goes(job: Job, device: torch.device) -> dict[str, float]:
    """Return milliseconds of a step by part."""
    parts: dict[str, float] = {}
    nets = {
        "student": job.student,
        "teacher": job.parts.teacher,
        "history": job.parts.history,
        "encoder": job.parts.encoder,
    }
    with watched({k: v for k, v in nets.items() if v is not None}, device, parts):
        forward = timed(lambda: setattr(job, "kept", job.losses()), device)
    parts["losses and draws"] = forward - sum(parts.values())
    kept: dict[str, Tensor] = job.kept  # type: ignore[attr-defined]
    parts["backward"] = timed(lambda: torch.stack(list(kept.values())).sum().backward(), device)
    parts["optimizer"] = timed(job.optimizer.step, device)
    return {name: round(value, 2) for name, value in parts.items()}


def calls(job: Job, device: torch.device) -> int:
    """Count what a step has the device do: kernels on a GPU, calls of operators from Python and C++ on a CPU."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=activities) as record:
        job.step()
        settle(device)
    events = record.events() or []
    if device.type == "cuda":
        return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in events)
    return sum(event.name.startswith("aten::") and event.cpu_parent is None for event in events)


def variants(device: torch.device) -> dict[str, tuple[RuntimeSettings, tuple[str, ...]]]:
    """Settings and terms of what is compared: float32 as it comes, as fast as it goes, and everything on auto."""
    gpu, every = device.type == "cuda", tuple(TERMS)
    found = {
        "exact": RuntimeSettings(),
        "channels_last": RuntimeSettings(channels_last="auto"),
        "exact, compiled": RuntimeSettings(channels_last="auto", compile=True, cuda_graph=gpu),
        "bf16, not compiled": RuntimeSettings(precision=PrecisionSettings("bf16", "bf16"), channels_last="auto"),
        **({"auto without graph": RuntimeSettings(preset="auto", cuda_graph=False)} if gpu else {}),
        "auto": RuntimeSettings(preset="auto"),
    }
    return {**{name: (settings, every) for name, settings in found.items()}, "plain": (found["exact"], ("pixel_opt",))}


def measure(recipe: Recipe, name: str, rounds: int) -> dict[str, Any]:
    """Time a variant of a recipe and the reference in alternating rounds."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    base = build(recipe, device)
    done = work(variant(base, RuntimeSettings()))
    job = variant(base, *variants(device)[name])
    start = time.perf_counter()
    loss, gradient = differences(job, base)  # also the warm-up
    row: dict[str, Any] = {"loss_difference": loss, "gradient_difference": gradient}
    row["start"] = time.perf_counter() - start
    for each, label in ((base, "reference_gib"), (job, "gib")) if device.type == "cuda" else ():
        torch.cuda.reset_peak_memory_stats()
        each.step()
        row[label] = torch.cuda.max_memory_allocated() / 2**30
    row["calls"], row["reference_calls"] = calls(job, device), calls(base, device)
    times: dict[str, list[float]] = {"reference": [], name: []}
    for _ in range(rounds):
        times["reference"].append(timed(base.step, device))
        times[name].append(timed(job.step, device))
    row["rounds"] = times
    row["ms"], row["reference_ms"] = statistics.median(times[name]), statistics.median(times["reference"])
    row["ratio"] = statistics.median(a / b for a, b in zip(times["reference"], times[name]))
    row["parts"], row["reference_parts"] = where_it_goes(job, device), where_it_goes(base, device)
    if name != "plain":  # which does other work
        row["rates"] = rates(row["parts"], done)
    return row


def apart(size: str, recipe: str, name: str, rounds: int) -> dict[str, Any]:
    """Run :func:`measure` in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, RECIPES[size][recipe], name, rounds).result()


def machine(device: torch.device) -> dict[str, Any]:
    """Say where this ran."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "device": name, "cores": os.cpu_count(), "threads": torch.get_num_threads(), "torch": torch.__version__,
        "dckd_basicsr": dckd_basicsr.__version__, "python": platform.python_version(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", choices=list(RECIPES), default="paper" if device.type == "cuda" else "small")
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES["small"]), default=list(RECIPES["small"]))
    parser.add_argument("--variants", nargs="+", choices=list(variants(device)), default=list(variants(device)))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write all figures here")
    options = parser.parse_args()
    results: dict[str, Any] = {"machine": machine(device), "size": options.size, "ceilings": ceilings(device)}
    print(results["machine"], "\nG multiply-adds/s at best:", results["ceilings"], flush=True)
    for recipe in options.recipes:
        print(
            f"\n{recipe}\n| variant | reference, ms | ms | faster | GiB | calls | start, s | loss, gradient differ by |"
        )
        print("|---|---|---|---|---|---|---|---|", flush=True)
        rows = results[recipe] = {}
        for name in options.variants:
            row = rows[name] = apart(options.size, recipe, name, options.rounds)
            memory = f"{row['gib']:.1f} of {row['reference_gib']:.1f}" if "gib" in row else "-"
            print(
                f"| {name} | {row['reference_ms']:.0f} | {row['ms']:.1f} | {row['ratio']:.2f}x | {memory} | "
                f"{row['calls']} of {row['reference_calls']} | {row['start']:.0f} | "
                f"{row['loss_difference']:.0e}, {row['gradient_difference']:.0e} |",
                flush=True,
            )
        for name, row in rows.items():
            print(name, "ms:", row["parts"], "G multiply-adds/s:", row.get("rates"))
        print("reference", "ms:", rows[options.variants[0]]["reference_parts"], flush=True)
        if options.json:
            options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
