"""One DCKD training step against the published algorithm, in pairs, on the machine at hand.

    python -m tests.benchmarks.step [--size small|paper] [--recipes edsr ...] [--rounds 7] [--compile] [--json FILE]

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

import dckd_basicsr  # (before anything of basicsr)
from dckd_basicsr.archs import VQGAN, facts_of
from dckd_basicsr.distill import DistillParts, DistillStep, FrozenEncoder, Generators, HistoryModel, Objective
from dckd_basicsr.runtime.acceleration import PrecisionSettings, RuntimeSettings, arrange, region
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

    def __post_init__(self) -> None:
        self.objective = Objective({key: TERMS[key] for key in self.terms})
        self.optimizer = torch.optim.Adam(self.student.parameters(), lr=1e-5)

    def losses(self) -> dict[str, Tensor]:
        """Forward."""
        torch.manual_seed(0)  # drop path
        self.parts.generators = Generators(1)
        if self.published:
            return published_losses(self.parts, self.student, self.lq, self.gt, WEIGHTS, consistency=True)
        with region(self.settings.precision.student, self.lq.device):
            out = self.student(self.lq)
        return self.objective(DistillStep(self.parts, self.lq, self.gt, out.float(), self.objective.needs)).losses

    def step(self) -> dict[str, Tensor]:
        """Forward and backward."""
        self.optimizer.zero_grad(set_to_none=True)
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
    job = Job(base.recipe, copy.deepcopy(base.student), copy.copy(base.parts), base.lq, base.gt, settings, False, terms)
    parts, scale = job.parts, base.recipe.scale
    for name, options in (("teacher", base.recipe.teacher), ("history", base.recipe.student)):
        net = copy.deepcopy(getattr(parts, name))
        setattr(parts, name, net)
        inner = net.net if name == "history" else net
        arrange(inner, settings, facts_of(inner, options, scale))
    arrange(job.student, settings, facts_of(job.student, base.recipe.student, scale))
    dtype = torch.bfloat16 if settings.precision.frozen == "bf16" else torch.float32
    assert base.parts.encoder is not None
    parts.encoder = FrozenEncoder(copy.deepcopy(base.parts.encoder.vqgan), dtype=dtype)
    arrange(parts.encoder.vqgan.encoder, settings)
    parts.frozen_region = partial(region, settings.precision.frozen, base.lq.device)
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


def measure(recipe: Recipe, device: torch.device, rounds: int, compiled: bool) -> dict[str, Any]:
    """Time all variants of a recipe in alternating rounds."""
    base = build(recipe, device)
    bf16 = RuntimeSettings(PrecisionSettings("bf16", "bf16"), channels_last="auto", compile=compiled)
    jobs = {
        "reference": base,
        "exact": variant(base, RuntimeSettings()),
        "channels_last": variant(base, RuntimeSettings(channels_last="auto")),
        "bf16": variant(base, bf16),
        "plain": variant(base, RuntimeSettings(), ("pixel_opt",)),
    }
    if compiled:
        jobs["compiled"] = variant(base, RuntimeSettings(channels_last="auto", compile=True))
    found: dict[str, dict[str, Any]] = {}
    for name, job in jobs.items():
        loss, gradient = differences(job, base)  # also the warm-up
        found[name] = {"loss_difference": loss, "gradient_difference": gradient}
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            job.step()
            found[name]["gib"] = torch.cuda.max_memory_allocated() / 2**30
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            times[name].append(timed(job.step, device))
    for name, values in times.items():
        found[name]["ms"] = statistics.median(values)
        found[name]["ratio"] = statistics.median(a / b for a, b in zip(times["reference"], values))
        found[name]["parts"] = where_it_goes(jobs[name], device)
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
    parser.add_argument("--compile", action="store_true", help="compiled variants too; their start takes minutes")
    parser.add_argument("--json", type=Path, help="write all figures here")
    options = parser.parse_args()
    results: dict[str, Any] = {"machine": machine(device), "size": options.size}
    print(results["machine"], flush=True)
    for name in options.recipes or RECIPES[options.size]:
        results[name] = measure(RECIPES[options.size][name], device, options.rounds, options.compile)
        print(f"\n{name}\n| variant | ms | faster | GiB | loss differs by | gradient differs by |")
        print("|---|---|---|---|---|---|")
        for kind, row in results[name].items():
            memory = f"{row['gib']:.1f}" if "gib" in row else "-"
            print(
                f"| {kind} | {row['ms']:.1f} | {row['ratio']:.2f}x | {memory} | {row['loss_difference']:.0e} | "
                f"{row['gradient_difference']:.0e} |"
            )
        for kind in ("reference", "exact"):
            print(kind, results[name][kind]["parts"], flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
