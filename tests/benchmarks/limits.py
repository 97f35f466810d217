"""How near a step comes to what the machine can do: multiply-adds per second by part, against the best measured.

And what a step has the machine do, call by call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch.profiler import ProfilerActivity, profile

from dckd_basicsr.archs.tf32 import tf32

from .budget import step_budget

if TYPE_CHECKING:
    from .step import Job

__all__ = ["calls", "ceilings", "rates", "work"]


def ceilings(device: torch.device, repeats: int = 10) -> dict[str, float]:
    """Return the best G multiply-adds/s of a matrix product and of a 3x3 convolution, and GB/s of a copy."""
    found: dict[str, float] = {}
    side = 8192 if device.type == "cuda" else 1536
    kinds = [(torch.float32, "fp32", False), (torch.bfloat16, "bf16", False)]
    if device.type == "cuda":
        kinds.insert(1, (torch.float32, "tf32", True))
    for dtype, name, rounded in kinds:
        a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        with tf32(rounded):
            found[f"product, {name}"] = side**3 / _best(lambda a=a, b=b: a @ b, device, repeats) / 1e9
        width, pixels = (128, 192) if device.type == "cuda" else (64, 48)
        x = torch.randn(8, width, pixels, pixels, device=device, dtype=dtype).contiguous(
            memory_format=torch.channels_last
        )
        w = torch.randn(width, width, 3, 3, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
        with tf32(rounded):
            seconds = _best(lambda x=x, w=w: F.conv2d(x, w, padding=1), device, repeats)
        found[f"convolution, {name}"] = 9 * width * x.numel() / seconds / 1e9
    source = torch.empty(64 << 20 if device.type == "cpu" else 1 << 30, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    found["copy, GB/s"] = 2 * source.numel() / _best(lambda: target.copy_(source), device, repeats) / 1e9
    return {name: round(value, 1) for name, value in found.items()}


def _best(run: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Return the seconds of the fastest of some calls; on a GPU by its own clock, for launching takes time as well."""
    seconds = []
    with torch.no_grad():
        for _ in range(repeats + 2):
            seconds.append(_on_gpu(run) if device.type == "cuda" else _on_cpu(run))
    return min(seconds[2:])


def _on_gpu(run: Callable[[], object]) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def _on_cpu(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def work(job: Job) -> dict[str, float]:
    """Return G multiply-adds of a step's parts, under the names of its times. ``job``: not compiled."""
    recipe = job.recipe
    side = recipe.gt_size // recipe.scale
    budget = step_budget(job.student, job.sources, job.distiller.needs, recipe.batch, side, recipe.scale)
    student, own = budget["student"], budget["encoder, student"]
    parts = {
        "student": student / 3,
        "teacher": budget["teacher"],
        "history": budget["history model"],
        "encoder": own / 2 + budget["encoder, others"],
        "backward": 2 * student / 3 + own / 2,
    }
    return {name: value / 1e9 for name, value in parts.items()}


def rates(parts: Mapping[str, float], done: Mapping[str, float]) -> dict[str, float]:
    """Return G multiply-adds/s by part from milliseconds and G multiply-adds."""
    return {name: round(1e3 * done[name] / ms, 1) for name, ms in parts.items() if name in done and ms > 0}


def calls(step: Callable[[], object], device: torch.device) -> tuple[int, list[tuple[str, int, float]]]:
    """Count what a step has the device do: kernels on a GPU, calls of operators from Python and C++ on a CPU.

    Returns:
        How many, and of a GPU's the longest by name: how often, and milliseconds together.
    """
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=activities) as record:
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
    events = record.events() or []
    if device.type != "cuda":
        return sum(event.name.startswith("aten::") and event.cpu_parent is None for event in events), []
    kernels = [event for event in events if event.device_type == torch.autograd.DeviceType.CUDA]
    times: dict[str, list[float]] = {}
    for event in kernels:
        times.setdefault(event.name[:120], []).append(event.time_range.elapsed_us() / 1e3)
    rows = [(name, len(found), round(sum(found), 3)) for name, found in times.items()]
    return len(kernels), sorted(rows, key=lambda row: -row[2])[:40]
