"""Attention in SwinIR's windows: the original, blocks for any size, fused attention, and on a GPU the kernel.

    python -m tests.benchmarks.windows [--batch 16] [--side 48] [--precision fp32|bf16|fp16] [--compile] [--rounds 7]
        [--json FILE]

A block without and one with shift, of the paper's teacher (180 channels) and student (60), both with 6 heads and
windows of 8, on maps of random numbers. ``forward`` is without gradients, as the teacher runs; ``and backward`` with
those of all parameters. ``other size`` is the original on maps of another size than it was made for, as with
progressive patches. All variants run in each round; given are the median of milliseconds with its quartiles, the
median of the ratios to ``original`` within rounds, and on a GPU the peak of memory beyond what was there.
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


def compared(role: str, options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Time all variants of a role, forward and with backward."""
    x = torch.randn(options.batch, options.side**2, CHANNELS[role], device=device)
    nets = variants(CHANNELS[role], options.side, options, device)
    found: dict[str, Any] = {}

    def forward(net: nn.Module) -> None:
        with torch.no_grad(), region(options.precision, device):
            net(x)

    def both(net: nn.Module) -> None:
        with region(options.precision, device):
            out = net(x)
        out.float().square().mean().backward()

    for what, step in (("forward", forward), ("and backward", both)):
        memory = {}
        for name, net in nets.items():
            step(net)  # compiles, and chooses algorithms
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
                held = torch.cuda.memory_allocated()
                step(net)
                memory[name] = (torch.cuda.max_memory_allocated() - held) / 2**20
        rounds = paired_rounds(
            {n: partial(timed, partial(step, net), device) for n, net in nets.items()}, options.rounds
        )
        ms, relative = medians(rounds), ratios(rounds, "original")
        found[what] = {"rounds": rounds, "ms": ms, "ratio": relative, "mib": memory}
        for name in nets:
            peak = f", {memory[name]:.0f} MiB" if memory else ""
            spread = statistics.quantiles(rounds[name], n=4) if options.rounds > 1 else [ms[name]] * 3
            between = f"{spread[0]:.2f} to {spread[2]:.2f}"
            print(
                f"{role}, {what}, {name}: {ms[name]:.2f} ms ({between}), ratio {relative[name]:.3f}{peak}", flush=True
            )
    return found


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
    write_json(options.json, {role: compared(role, options, device) for role in CHANNELS})


if __name__ == "__main__":
    main()
