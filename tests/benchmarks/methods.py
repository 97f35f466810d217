"""What a step of each method costs beside plain training of the same student, all in one run.

    python -m tests.benchmarks.methods [--count] [--rounds 7] [--methods csd mclir ...] [--json FILE]

Every method of ``options/methods/`` is put on an option file with ``--with``'s own code and built from it, with weights
of chance. Without ``--count``: the demo's networks on this machine; rounds alternate between a method and ``scratch``,
and the median of the ratios within rounds is given. ``--count`` computes nothing: the multiply-adds, their share
of teachers and of all frozen networks, and the MiB kept for the backward pass, of one sample of ``dckd_x4_swinir.yml``
(LQ patches of 48 px), on tensors without values (``report/step_cost.py``).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile

import dckd_basicsr.install
from dckd_basicsr.archs import VQGAN
from dckd_basicsr.config import find_options
from dckd_basicsr.config.resolve import resolve_options
from dckd_basicsr.distill import (
    Distiller,
    FrozenEncoder,
    Generators,
    HistoryModel,
    Sources,
    build_terms,
    teacher_blocks,
)
from dckd_basicsr.methods import packaged_methods
from dckd_basicsr.report import StepCost, ValuelessStep, counted, valueless_step
from tests.benchmarks.common import machine, medians, paired_rounds, ratios, write_json

dckd_basicsr.install.everything()
from basicsr.archs import build_network  # noqa: E402 (needs what was installed)

PLAIN = "scratch"
TOTAL = 100
SMALL_VQGAN = {"ch": 32, "ch_mult": [1, 1, 2, 2, 4], "attn_resolutions": [16], "z_channels": 64}


@dataclass
class Step:
    """A method's step on one batch."""

    distiller: Distiller
    lq: Tensor
    gt: Tensor

    def __call__(self) -> None:
        self.distiller.zero_grad(set_to_none=True)
        self.distiller(self.lq, self.gt)["l_total"].backward()

    def seconds(self) -> float:
        start = time.perf_counter()
        self()
        return time.perf_counter() - start


def options_of(base: str, method: str) -> dict[str, Any]:
    """The option file with the method on it; VGG weights are a file of chance."""
    options, _ = resolve_options(find_options(base), (), [method])
    for block in (options["train"].get("losses") or {}).values():
        if isinstance(block, dict) and str(block.get("weights", "")).endswith(".pth"):
            block["weights"] = str(_vgg_of_chance(block["weights"]))
    return options


def _vgg_of_chance(name: str) -> Path:
    import torchvision

    path = Path(tempfile.gettempdir()) / f"of_chance_{Path(name).name}"
    if not path.exists():
        net = torchvision.models.vgg16() if "16" in path.name else torchvision.models.vgg19()
        torch.save({k: v for k, v in net.state_dict().items() if k.startswith("features.")}, path)
    return path


def step_of(base: str, method: str, batch: int) -> Step:
    """Build a method's step."""
    options, names = options_of(base, method), dict[str, nn.Module]()
    scale, side = int(options["scale"]), int(options["datasets"]["train"]["gt_size"])
    torch.manual_seed(0)
    student = build_network(dict(options["network_g"]))
    for name, block in teacher_blocks(options).items():
        names[name] = build_network(dict(block))
    sources = Sources(Generators(0), names, HistoryModel(student), FrozenEncoder(VQGAN(SMALL_VQGAN, decoder=False)))
    terms, example = build_terms(options["train"]), torch.zeros(1, 3, side // scale, side // scale)
    found = Distiller(student, terms, sources, total_iter=TOTAL, example=example)
    return Step(found, *(torch.rand(batch, 3, x, x) for x in (side // scale, side)))


def work_of(step: ValuelessStep) -> tuple[StepCost, float]:
    """Count, per sample, multiply-adds and bytes kept between forward and backward pass."""
    kept: dict[int, Any] = {}

    def keep(x: Tensor) -> Tensor:
        kept[x.untyped_storage()._cdata] = x.untyped_storage()
        return x

    with saved_tensors_hooks(keep, lambda x: x):
        cost = counted(step)
    weights = {p.untyped_storage()._cdata for p in step.distiller.parameters()}
    weights |= {p.untyped_storage()._cdata for net in step.distiller.sources.networks() for p in net.parameters()}
    return cost, sum(storage.nbytes() for key, storage in kept.items() if key not in weights) / len(step.lq)


def peak_bytes(step: Step) -> int:
    """The most that a step has allocated at once, beside what is there before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        step()
    held = most = 0
    for event in found.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def count(methods: Sequence[str], base: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for method in methods:
        with valueless_step(resolve_options(find_options(base), (), [method])[0], batch=4) as step:
            cost, kept = work_of(step)
        rows.append({"method": method, **asdict(cost), "kept": kept})
        first = rows[0]
        print(
            f"| `{method}` | {cost.multiply_adds / 1e9:.1f} G | {cost.multiply_adds / first['multiply_adds']:.1f}x "
            f"| {cost.teacher_share:.0%} | {cost.frozen_share:.0%} "
            f"| {kept / 2**20:.0f} MiB | {kept / first['kept']:.1f}x |",
            flush=True,
        )
    return rows


def measure(methods: Sequence[str], base: str, rounds: int, batch: int) -> list[dict[str, Any]]:
    plain = step_of(base, PLAIN, batch)
    plain_peak, rows = peak_bytes(plain), list[dict[str, Any]]()
    for method in methods:
        step = step_of(base, method, batch)
        peak = peak_bytes(step)
        step()
        timed = paired_rounds({PLAIN: plain.seconds, "method": step.seconds}, rounds)
        ratio, ms = ratios(timed, PLAIN)["method"], 1000 * medians(timed)["method"]
        rows.append({"method": method, "ms": ms, "ratio": ratio, "peak": peak, "timed": timed})
        print(
            f"| `{method}` | {ms:.0f} | {ratio:.2f}x | {peak / 2**20:.0f} | {peak / plain_peak:.2f}x |",
            flush=True,
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--base")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    methods = given.methods or [PLAIN, *(name for name in packaged_methods() if name != PLAIN)]
    print(machine())
    if given.count:
        print("| method | multiply-adds of a sample | against plain | teachers | frozen | kept | against plain |")
        print("|---|---:|---:|---:|---:|---:|---:|", flush=True)
        rows = count(methods, given.base or "dckd_x4_swinir.yml")
    else:
        print(
            "| method | ms a step | against plain | MiB at most | against plain |\n|---|---:|---:|---:|---:|",
            flush=True,
        )
        rows = measure(methods, given.base or "demo_x4_edsr.yml", given.rounds, given.batch)
    write_json(given.json, {"rows": rows})


if __name__ == "__main__":
    main()
