"""One DCKD training step against the published algorithm, in pairs, on the machine at hand.

    python -m tests.benchmarks.step [--size small|paper] [--recipes edsr ...] [--variants auto ...] [--rounds 7]
        [--json FILE]

The reference is the published algorithm as described (``published_step.py``): float32, image after image; on a GPU with
TF32 in convolutions, as PyTorch has it and as it was published (differences are taken without). Every variant runs the
same networks on the same batch with the same draws, in a process that it shares with the reference alone: what other
variants leave in a CPU's heap changes the times of all; one that fails is told, and the next one runs. Rounds alternate
between the two, and the median of the ratios within rounds is given. ``plain`` is the same student trained on the
ground truth alone. The table gives milliseconds of both, the ratio, memory (GPU only: the peak from the first step on,
recording included), calls of operators (of kernels, on a GPU), the first step, and the largest difference of losses and
gradients from the reference; below it, where the time of a step goes. These parts are timed launch by launch, also of a
variant that is recorded. The file has the longest kernels of a GPU too.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import os
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import dckd_basicsr  # (before anything of basicsr)
from dckd_basicsr.archs import VQGAN, facts_of
from dckd_basicsr.archs.swin.arranging import arrange_windows
from dckd_basicsr.archs.swin.blocks import for_any_size
from dckd_basicsr.archs.tf32 import tf32
from dckd_basicsr.distill import Distiller, FrozenEncoder, Generators, HistoryModel, Sources, build_terms
from dckd_basicsr.distill.chunking import widest_layer
from dckd_basicsr.training.compiling import compile_blocks
from dckd_basicsr.training.runtime import (
    PrecisionSettings,
    RuntimeSettings,
    arrange,
    arrange_encoder,
    backward_region,
    region,
    settled,
)
from dckd_basicsr.training.step_runner import RecordedStep
from tests.benchmarks.limits import calls, ceilings, rates, work
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
    sources: Sources
    lq: Tensor
    gt: Tensor
    settings: RuntimeSettings = field(default_factory=RuntimeSettings)
    published: bool = False
    terms: tuple[str, ...] = tuple(TERMS)
    recorded: RecordedStep | None = None
    windows: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        precision = partial(region, self.settings.precision.student, self.lq.device)
        terms = build_terms({key: TERMS[key] for key in self.terms})
        self.distiller = Distiller(self.student, terms, self.sources, student_region=precision)
        self.wrapped: nn.Module = self.distiller
        self.optimizer = torch.optim.Adam(self.student.parameters(), lr=1e-5)

    def losses(self) -> dict[str, Tensor]:
        """Forward."""
        self._start_streams()
        return self.forward(self.lq, self.gt)

    def _start_streams(self) -> None:
        torch.manual_seed(0)  # drop path
        self.sources.generators.load_training_state(Generators(1).training_state(), self.lq.device)

    def forward(self, lq: Tensor, gt: Tensor) -> dict[str, Tensor]:
        """Compute the terms of a batch."""
        if self.published:
            return published_losses(self.sources, self.student, lq, gt, WEIGHTS, consistency=True)
        values = self.wrapped(lq, gt)
        return {name: values[name] for name in self.distiller.active}

    def compute(self, lq: Tensor, gt: Tensor) -> dict[str, Tensor]:
        """Forward and backward, as a recorded step takes it."""
        values = self.forward(lq, gt)
        with backward_region(self.settings.precision, encoder=True):
            torch.stack(list(values.values())).sum().backward()
        return values

    def step(self) -> dict[str, Tensor]:
        """Forward and backward."""
        self.optimizer.zero_grad(set_to_none=True)
        self._start_streams()
        with self.outside():
            return self.recorded([(self.lq, self.gt)])[0] if self.recorded else self.compute(self.lq, self.gt)

    def outside(self) -> AbstractContextManager:
        """What training does once for its process (``set_float32``); this one is shared with the reference."""
        precision = self.settings.precision
        return tf32(False) if "fp32" in (precision.student, precision.frozen) else nullcontext()


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
    sources = Sources(Generators(1), {"teacher": teacher}, history, encoder)
    side = recipe.gt_size // recipe.scale
    lq = torch.rand(recipe.batch, 3, side, side, device=device)
    gt = torch.rand(recipe.batch, 3, recipe.gt_size, recipe.gt_size, device=device)
    return Job(recipe, student, sources, lq, gt, published=True)


def variant(base: Job, settings: RuntimeSettings, terms: tuple[str, ...] = tuple(TERMS)) -> Job:
    """Copy a job's networks and arrange them as the training does."""
    device, recipe = base.lq.device, base.recipe
    settings = settled(settings, device)
    assert base.sources.history is not None
    assert base.sources.encoder is not None
    side = recipe.gt_size // recipe.scale
    teacher, history = copy.deepcopy(base.sources.teachers["teacher"]), copy.deepcopy(base.sources.history)
    sources = replace(
        base.sources,
        generators=Generators(1),
        teachers={"teacher": teacher},
        history=history,
        encoder=FrozenEncoder(copy.deepcopy(base.sources.encoder.vqgan)),
        frozen_region=partial(region, settings.precision.frozen, device),
        widths={"teacher": widest_layer(teacher, side)},
        history_width=widest_layer(history.net, side),
    )
    assert sources.encoder is not None
    job = Job(recipe, copy.deepcopy(base.student), sources, base.lq, base.gt, settings, False, terms)
    for net, options in ((teacher, recipe.teacher), (history.net, recipe.student), (job.student, recipe.student)):
        frozen, compiled = net is not job.student, settings.compile is True
        inside = partial(region, settings.precision.frozen if frozen else settings.precision.student, device)
        done = arrange_windows(
            net, frozen=frozen, compiled=compiled, attention=settings.attention, side=side, region=inside
        )
        if settings.attention and not done and for_any_size(net):
            raise RuntimeError(f"attention: {settings.attention} is not what would be timed, see the warning above")
        job.windows.append(done)
        arrange(net, settings, facts_of(net, options, recipe.scale))
    arrange_encoder(sources.encoder, settings)
    if settings.compile:
        compile_blocks(job.distiller)
    if settings.cuda_graph:
        job.recorded = RecordedStep(job.compute, job.student, sources.generators, device)
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
    ours = job.step()
    with tf32(False):
        theirs = reference.step()
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
        "teacher": job.sources.teachers["teacher"],
        "history": job.sources.history,
        "encoder": job.sources.encoder,
    }
    with watched({k: v for k, v in nets.items() if v is not None}, device, parts):
        forward = timed(lambda: setattr(job, "kept", job.losses()), device)
    parts["losses and draws"] = forward - sum(parts.values())
    kept: dict[str, Tensor] = job.kept  # type: ignore[attr-defined]
    parts["backward"] = timed(lambda: torch.stack(list(kept.values())).sum().backward(), device)
    parts["optimizer"] = timed(job.optimizer.step, device)
    return {name: round(value, 2) for name, value in parts.items()}


def variants(device: torch.device) -> dict[str, tuple[RuntimeSettings, tuple[str, ...]]]:
    """Settings and terms of what is compared: float32 as it comes, as fast as it goes, and everything on auto."""
    gpu, every = device.type == "cuda", tuple(TERMS)
    exact, bf16 = PrecisionSettings("fp32", "fp32"), PrecisionSettings("bf16", "bf16")
    found = {
        "exact": RuntimeSettings(precision=exact),
        **({"as it comes": RuntimeSettings()} if gpu else {}),  # with TF32 in convolutions
        **({"exact, recorded": RuntimeSettings(precision=exact, cuda_graph=True)} if gpu else {}),
        "channels_last": RuntimeSettings(precision=exact, channels_last="auto"),
        "exact, compiled": RuntimeSettings(precision=exact, channels_last="auto", compile=True, cuda_graph=gpu),
        "bf16, not compiled": RuntimeSettings(precision=bf16, channels_last="auto"),
        **({"bf16, recorded": RuntimeSettings(precision=bf16, channels_last="auto", cuda_graph=True)} if gpu else {}),
        **({"auto without graph": RuntimeSettings(preset="auto", cuda_graph=False)} if gpu else {}),
        "auto": RuntimeSettings(preset="auto"),
        **({"auto, fused attention": RuntimeSettings(preset="auto", attention="sdpa")} if gpu else {}),
        **({"auto, kernel attention": RuntimeSettings(preset="auto", attention="triton")} if gpu else {}),
    }
    return {**{name: (settings, every) for name, settings in found.items()}, "plain": (found["exact"], ("pixel_opt",))}


def measure(recipe: Recipe, name: str, rounds: int) -> dict[str, Any]:
    """Time a variant of a recipe and the reference in alternating rounds."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True  # as training has it, and the published code
    base = build(recipe, device)
    done = work(variant(base, RuntimeSettings()))
    gc.collect()
    held = allocated(device)
    job = variant(base, *variants(device)[name])
    row: dict[str, Any] = {"windows": job.windows}
    row["start"] = timed(job.step, device) / 1e3  # the first step may compile and record
    row |= peak("gib", device, held)
    held = allocated(device) - held
    timed(base.step, device)
    row |= peak("reference_gib", device, held)
    row["loss_difference"], row["gradient_difference"] = differences(job, base)
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
    # Last: a profiler that was on once slows what comes after it.
    (row["calls"], row["kernels"]), (row["reference_calls"], _) = calls(job.step, device), calls(base.step, device)
    return row


def allocated(device: torch.device) -> int:
    """Return the bytes of a GPU that tensors hold, and count its peak anew."""
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def peak(label: str, device: torch.device, others: int) -> dict[str, float]:
    """Return GiB of the peak since :func:`allocated`, less what others hold; a recording's is there to see once."""
    return {label: (torch.cuda.max_memory_allocated(device) - others) / 2**30} if device.type == "cuda" else {}


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", choices=list(RECIPES), default="paper" if device.type == "cuda" else "small")
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES["small"]), default=list(RECIPES["small"]))
    parser.add_argument("--variants", nargs="+", choices=list(variants(device)), default=list(variants(device)))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write all figures here")
    options = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    results: dict[str, Any] = {"machine": machine(device), "size": options.size, "ceilings": ceilings(device)}
    print(results["machine"], "\nG multiply-adds/s at best:", results["ceilings"], flush=True)
    for recipe in options.recipes:
        print(
            f"\n{recipe}\n| variant | reference, ms | ms | faster | GiB | calls | start, s | loss, gradient differ by |"
        )
        print("|---|---|---|---|---|---|---|---|", flush=True)
        rows = results[recipe] = {}
        for name in options.variants:
            try:
                row = rows[name] = apart(options.size, recipe, name, options.rounds)
            except Exception as error:  # whatever it is, the others are worth their time
                text = f"{type(error).__name__}: {str(error).strip()}".splitlines()[0]
                results.setdefault("failed", {})[f"{recipe}, {name}"] = text
                traceback.print_exc()
            if options.json:  # what is measured is kept, whatever comes
                options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
            if name not in rows:
                continue
            memory = f"{row['gib']:.1f} of {row['reference_gib']:.1f}" if "gib" in row else "-"
            print(
                f"| {name} | {row['reference_ms']:.0f} | {row['ms']:.1f} | {row['ratio']:.2f}x | {memory} | "
                f"{row['calls']} of {row['reference_calls']} | {row['start']:.0f} | "
                f"{row['loss_difference']:.0e}, {row['gradient_difference']:.0e} |",
                flush=True,
            )
        for name, row in rows.items():
            print(name, "ms:", row["parts"], "G multiply-adds/s:", row.get("rates"))
        for row in list(rows.values())[:1]:
            print("reference", "ms:", row["reference_parts"], flush=True)
    return int("failed" in results)


if __name__ == "__main__":
    sys.exit(main())
