"""One DCKD training step against the published algorithm, in pairs, on the machine at hand.

    python -m tests.benchmarks.step [--size small|paper] [--recipes edsr ...] [--rounds 7] [--no-compile] [--json FILE]

The reference is the published algorithm as described (``published_step.py``): float32, image after image. All variants
run the same networks on the same batch with the same draws; rounds alternate between them, and the median of each is
compared. ``plain`` is the same student trained on the ground truth alone. The first table gives milliseconds, the ratio
to the reference, memory (GPU only) and the largest difference of losses and gradients from the reference; the second
says where the time of a step goes.
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
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
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
        torch.manual_seed(0)  # drop path
        self.parts.generators.load_training_state(Generators(1).training_state(), self.lq.device)
        return self.forward(self.lq, self.gt).losses

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
        if self.static is not None:
            torch.manual_seed(0)
            self.parts.generators.load_training_state(Generators(1).training_state(), self.lq.device)
            return self.static([(self.lq, self.gt)])[0].losses
        losses = self.losses()
        torch.stack(list(losses.values())).sum().backward()
        return losses


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


def variants(device: torch.device, compiled: bool) -> dict[str, RuntimeSettings]:
    """The settings that are compared: float32 as it comes, float32 as fast as it goes, and everything on auto."""
    gpu = device.type == "cuda"
    found = {
        "exact": RuntimeSettings(),
        "channels_last": RuntimeSettings(channels_last="auto"),
        "bf16": RuntimeSettings(precision=PrecisionSettings("bf16", "bf16"), channels_last="auto"),
    }
    if compiled:
        found["exact, compiled"] = RuntimeSettings(channels_last="auto", compile=True, cuda_graph=gpu)
        if gpu:
            found["auto without graph"] = RuntimeSettings(preset="auto", cuda_graph=False)
        found["auto"] = RuntimeSettings(preset="auto")
    return found


def measure(recipe: Recipe, device: torch.device, rounds: int, compiled: bool) -> dict[str, Any]:
    """Time all variants of a recipe in alternating rounds."""
    base = build(recipe, device)
    jobs = {"reference": base, **{name: variant(base, s) for name, s in variants(device, compiled).items()}}
    jobs["plain"] = variant(base, RuntimeSettings(), ("pixel_opt",))
    done = work(jobs["exact"])
    found: dict[str, dict[str, Any]] = {}
    for name, job in jobs.items():
        start = time.perf_counter()
        loss, gradient = differences(job, base)  # also the warm-up
        found[name] = {"loss_difference": loss, "gradient_difference": gradient}
        found[name]["start"] = time.perf_counter() - start
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            job.step()
            found[name]["gib"] = torch.cuda.max_memory_allocated() / 2**30
        found[name]["calls"] = calls(job, device)
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            times[name].append(timed(job.step, device))
    for name, values in times.items():
        found[name]["ms"] = statistics.median(values)
        found[name]["ratio"] = statistics.median(a / b for a, b in zip(times["reference"], values))
        found[name]["parts"] = where_it_goes(jobs[name], device)
        if name not in ("reference", "plain"):  # these two do other work
            found[name]["rates"] = rates(found[name]["parts"], done)
    return found


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
    parser.add_argument("--recipes", nargs="+", help="some of them (default: all)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-compile", action="store_true", help="leave out what is compiled, which takes minutes")
    parser.add_argument("--json", type=Path, help="write all figures here")
    options = parser.parse_args()
    results: dict[str, Any] = {"machine": machine(device), "size": options.size, "ceilings": ceilings(device)}
    print(results["machine"], "\nG multiply-adds/s at best:", results["ceilings"], flush=True)
    for name in options.recipes or RECIPES[options.size]:
        results[name] = measure(RECIPES[options.size][name], device, options.rounds, not options.no_compile)
        print(f"\n{name}\n| variant | ms | faster | GiB | calls | start, s | loss differs by | gradient differs by |")
        print("|---|---|---|---|---|---|---|---|")
        for kind, row in results[name].items():
            memory = f"{row['gib']:.1f}" if "gib" in row else "-"
            print(
                f"| {kind} | {row['ms']:.1f} | {row['ratio']:.2f}x | {memory} | {row['calls']} | {row['start']:.0f} | "
                f"{row['loss_difference']:.0e} | {row['gradient_difference']:.0e} |"
            )
        for kind, row in results[name].items():
            print(kind, "ms:", row["parts"], "G multiply-adds/s:", row.get("rates"), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
