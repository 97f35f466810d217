"""Attention in SwinIR's windows: the original, blocks for any size, fused attention, and on a GPU the kernel.

    python -m tests.benchmarks.windows [--batch 16] [--side 48] [--precision fp32|bf16|fp16] [--compile] [--rounds 7]
        [--json FILE]

A block without and one with shift, of the paper's teacher (180 channels) and student (60), both with 6 heads and
windows of 8, on maps of random numbers. ``forward`` is without gradients, as the teacher runs; ``and backward`` with
those of all parameters. ``other size`` is the original on maps of another size than it was made for, as with
progressive patches. All variants run in each round; given are the median of milliseconds with its quartiles, the
median of the ratios to ``original`` within rounds, and on a GPU the peak of memory beyond what was there. The file is
written after each round.

On a GPU each variant is recorded as a CUDA graph and replays are timed, as in training: blocks this small take less
time than Python needs to launch their operators. Of what cannot be recorded, launches are timed, and it is said so.
``other size`` is such a variant: the network's own makes its masks on the host.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dckd_basicsr.archs.swin.arranging import Attention, arrange_windows
from dckd_basicsr.training.compiling import compile_blocks
from dckd_basicsr.training.runtime import region
from dckd_basicsr.training.step_runner import record_cuda_graph, warm_up
from tests.benchmarks.common import machine, medians, paired_rounds, ratios, write_json

from basicsr.archs.swinir_arch import SwinTransformerBlock  # isort: skip

CHANNELS = {"teacher": 180, "student": 60}
HEADS, WINDOW = 6, 8


class Pair(nn.Module):
    """Two blocks as they follow one another in the network."""

    def __init__(self, channels: int, made_for: int) -> None:
        super().__init__()
        size = (made_for, made_for)
        self.blocks = nn.ModuleList(
            SwinTransformerBlock(channels, size, HEADS, WINDOW, shift, mlp_ratio=2.0) for shift in (0, WINDOW // 2)
        )

    def forward(self, x: Tensor) -> Tensor:
        side = int(x.shape[1] ** 0.5)
        for block in self.blocks:
            x = block(x, (side, side))
        return x


def variants(channels: int, side: int, options: argparse.Namespace, device: torch.device) -> dict[str, nn.Module]:
    """Return pairs of equal weights by the way in which they attend."""
    inside = partial(region, options.precision, device)
    original = Pair(channels, side).to(device)
    other = Pair(channels, side + WINDOW).to(device)
    other.load_state_dict({k: v for k, v in original.state_dict().items() if "attn_mask" not in k}, strict=False)
    found = {"original": original, "other size": other, "any size": copy.deepcopy(other)}
    arrange_windows(found["any size"], frozen=False)
    ways: tuple[Attention, ...] = ("sdpa", "triton")
    for way in ways:
        net = copy.deepcopy(original)
        if arrange_windows(net, frozen=False, attention=way, side=side, region=inside):
            found[way] = net
    if options.compile:
        for net in found.values():
            compile_blocks(net)
    return found


def timed(run: Callable[[], Any], device: torch.device) -> float:
    """Return the milliseconds of a call, of several where one is short."""

    def settle() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    settle()
    start, count = time.perf_counter(), 0
    while count == 0 or (device.type == "cuda" and count < 20):
        run()
        count += 1
    settle()
    return 1e3 * (time.perf_counter() - start) / count


def replayed(step: Callable[[], Any], device: torch.device, name: str) -> Callable[[], Any]:
    """Return what repeats a step on a GPU without launching it anew, or the step itself where that cannot be."""
    if device.type != "cuda":
        return step
    try:
        warm_up(step, device)
        return record_cuda_graph(step, [])[1]
    except Exception as error:  # whatever it is that a recording does not admit
        text = f"{type(error).__name__}: {str(error).strip()}".splitlines()[0]
        print(f"{name} is not recorded, so launches are timed ({text})", flush=True)
        return step


def compared(
    role: str, options: argparse.Namespace, device: torch.device, keep: Callable[[dict[str, Any]], None]
) -> None:
    """Time all variants of a role, forward and with backward; ``keep`` is given all there is after each round."""
    x = torch.randn(options.batch, options.side**2, CHANNELS[role], device=device)
    nets = variants(CHANNELS[role], options.side, options, device)
    found: dict[str, Any] = {}

    def forward(net: nn.Module) -> None:
        with torch.no_grad(), region(options.precision, device):
            net(x)

    def both(net: nn.Module) -> None:
        net.zero_grad(set_to_none=True)  # as training does: gradients are written, not added
        with region(options.precision, device):
            out = net(x)
        out.float().square().mean().backward()

    for what, step in (("forward", forward), ("and backward", both)):
        memory, steps, launches = {}, {}, []
        for name, net in nets.items():
            step(net)  # compiles, and chooses algorithms
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
                held = torch.cuda.memory_allocated()
                step(net)
                memory[name] = (torch.cuda.max_memory_allocated() - held) / 2**20
            launched = partial(step, net)
            steps[name] = replayed(launched, device, f"{role}, {what}, {name}")
            if steps[name] is launched:
                launches.append(name)
        rounds: dict[str, list[float]] = {name: [] for name in nets}
        for _ in range(options.rounds):
            one = paired_rounds({name: partial(timed, run, device) for name, run in steps.items()}, 1)
            for name, (ms,) in one.items():
                rounds[name].append(ms)
            figures = {"rounds": rounds, "ms": medians(rounds), "ratio": ratios(rounds, "original")}
            found[what] = {**figures, "mib": memory, "launched": launches}
            keep(found)
        for name in nets:
            told(f"{role}, {what}, {name}", name, found[what])


def told(where: str, name: str, figures: dict[str, Any]) -> None:
    """Print the figures of a variant."""
    rounds, ms = figures["rounds"][name], figures["ms"][name]
    peak = f", {figures['mib'][name]:.0f} MiB" if figures["mib"] else ""
    spread = statistics.quantiles(rounds, n=4) if len(rounds) > 1 else [ms] * 3
    between = f"{spread[0]:.2f} to {spread[2]:.2f}"
    print(f"{where}: {ms:.2f} ms ({between}), ratio {figures['ratio'][name]:.3f}{peak}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--side", type=int, default=48, help="of the maps, a multiple of 8")
    parser.add_argument("--precision", choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--compile", action="store_true", help="compile the blocks")
    parser.add_argument("--rounds", type=int, default=7, help="at least 2")
    parser.add_argument("--json", type=Path, help="write all figures here")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(torch.cuda.get_device_name() if device.type == "cuda" else machine()["cpu"], flush=True)
    results: dict[str, Any] = {}

    def keep(role: str, found: dict[str, Any]) -> None:
        results[role] = found
        write_json(options.json, results)

    for role in CHANNELS:
        compared(role, options, device, partial(keep, role))


if __name__ == "__main__":
    main()
