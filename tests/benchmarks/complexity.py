"""Parameters and multiply-adds of the networks of the paper's tables.

    python tests/benchmarks/complexity.py [--size 256] [--lq 48] [--scale 4] [--json FILE]

A multiply-add (MAC) is half of what PyTorch's FLOP counter counts: convolutions (grouped and transposed ones too),
linear layers and matrix products, attention's included. Biases, norms, activations, pooling, interpolation and other
element-wise work are not counted. Published figures differ in convention: Restormer's 141 G at 256x256 are its
convolutions alone, with the products of its attention it has 155 G. Nothing is computed here: the networks run on
fake tensors, which have shapes only.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dckd_basicsr.archs.complexity import multiply_adds

from basicsr.archs import build_network  # isort: skip

__all__ = ["Complexity", "measure", "network_options", "table"]


@dataclass(frozen=True)
class Complexity:
    """One row: a network, its input (H, W), its parameters and its multiply-adds for one image."""

    network: str
    role: str
    input: tuple[int, int]
    parameters: int
    macs: int


def network_options(scale: int) -> dict[tuple[str, str], dict[str, Any]]:
    """The teacher and student pairs by (name, role): registered type and constructor arguments."""
    planes = {"num_in_ch": 3, "num_out_ch": 3, "upscale": scale}
    swinir = {
        "type": "SwinIR", "upscale": scale, "img_size": 48, "window_size": 8, "img_range": 1.0, "mlp_ratio": 2,
        "resi_connection": "1conv",
    }  # fmt: skip
    rcan = {"type": "RCAN", **planes, "num_feat": 64, "num_block": 20}
    light = {"upsampler": "pixelshuffle", "embed_dim": 60, "depths": [6] * 4, "num_heads": [6] * 4}
    nafnet = {"type": "NAFNet", "middle_blk_num": 1, "dec_blk_nums": [1] * 4}
    edsr = {"type": "EDSR", **planes, "num_block": 32}
    return {
        ("SwinIR", "teacher"): {
            **swinir, "upsampler": "pixelshuffle", "embed_dim": 180, "depths": [6] * 6, "num_heads": [6] * 6
        },
        ("SwinIR", "student"): {**swinir, **light},
        ("RCAN", "teacher"): {**rcan, "num_group": 10},
        ("RCAN", "student"): {**rcan, "num_group": 10, "num_block": 6},
        ("EDSR", "teacher"): {**edsr, "num_feat": 256, "res_scale": 0.1},
        ("EDSR", "student"): {**edsr, "num_feat": 64},
        ("NAFNet", "teacher"): {**nafnet, "width": 32, "enc_blk_nums": [1, 1, 1, 28]},
        ("NAFNet", "student"): {**nafnet, "width": 16, "enc_blk_nums": [1, 1, 1, 14]},
        ("Restormer", "teacher"): {"type": "Restormer"},
        ("Restormer", "student"): {
            "type": "Restormer", "dim": 24, "num_blocks": [2, 3, 3, 4], "num_refinement_blocks": 2
        },
    }  # fmt: skip


def measure(size: int = 256, lq: int = 48, scale: int = 4) -> Iterator[Complexity]:
    """Yield the rows: restoration networks on ``size``, super-resolution networks on ``lq``, the VQGAN on LQ x scale.

    Args:
        size: side of the input of NAFNet and Restormer, a multiple of 8.
        lq: side of the input of the super-resolution networks, a multiple of 8.
        scale: their factor, 2, 3 or 4.
    """
    for (name, role), options in network_options(scale).items():
        side = size if name in ("NAFNet", "Restormer") else lq
        yield _row(name, role, build_network(options), side)
    vqgan = build_network({"type": "VQGAN", "decoder": False})
    yield _row("VQGAN", "taps", vqgan, lq * scale, lambda net, x: net.analyse(x))
    yield _row("VQGAN", "full encode", vqgan, lq * scale, lambda net, x: net.encode(x))


def _row(name: str, role: str, net: nn.Module, side: int, run: Callable[[Any, Any], Any] | None = None) -> Complexity:
    parameters = sum(p.numel() for p in net.parameters())
    return Complexity(name, role, (side, side), parameters, multiply_adds(net.eval(), (1, 3, side, side), run))


def table(rows: list[Complexity]) -> str:
    """Render rows as a Markdown table."""
    lines = ["| network | role | input | parameters | GMACs |", "|---|---|---|---:|---:|"]
    for row in rows:
        side = "x".join(str(n) for n in row.input)
        lines.append(f"| {row.network} | {row.role} | {side} | {row.parameters:,} | {row.macs / 1e9:.2f} |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=256, help="input side of NAFNet and Restormer (256)")
    parser.add_argument("--lq", type=int, default=48, help="input side of the super-resolution networks (48)")
    parser.add_argument("--scale", type=int, default=4, choices=(2, 3, 4), help="super-resolution factor (4)")
    parser.add_argument("--json", type=Path, help="write the rows to this file too")
    args = parser.parse_args(argv)
    rows = list(measure(args.size, args.lq, args.scale))
    print(table(rows))
    print("\nMACs: convolutions, linear layers and matrix products (attention included); nothing else is counted.")
    if args.json:
        found: list[Mapping[str, Any]] = [asdict(row) for row in rows]
        args.json.write_text(json.dumps({"torch": torch.__version__, "rows": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
