"""How much memory there is, what an image needs, and the tiles that follow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from ..archs.facts import ArchFacts
from ..distill.chunking import widest_layer
from ..errors import ConfigError
from ..inference.padding import run_padded

__all__ = ["TileChoice", "available_bytes", "bytes_per_pixel", "host_bytes", "network_budget"]

_LIVE = 8
"""Outputs of the widest layer that live at a time, where nothing can be measured: 2 to 28 (docs/guide/restore.md)."""
_MARGIN = 1.25
_CPU_MOST = 4 << 30  # larger tiles are no faster there
_GPU_SHARE, _CPU_SHARE = 0.7, 0.5
_LEAST = 64
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class TileChoice:
    """Sides of tiles, in pixels of the input.

    Attributes:
        size: ``auto`` by memory, None for whole images, or a side.
        overlap: what neighbours share.
    """

    size: Literal["auto"] | int | None = "auto"
    overlap: int = 32

    def __post_init__(self) -> None:
        if self.overlap < 0:
            raise ConfigError(f"--overlap must be 0 or more, got {self.overlap}")
        if isinstance(self.size, int) and self.size <= self.overlap:
            raise ConfigError(
                f"--tile {self.size} must be larger than the overlap of {self.overlap}; give --overlap too"
            )

    def side(self, height: int, width: int, budget: float, per_pixel: float, facts: ArchFacts) -> int | None:
        """Return the side of the tiles of an image, None for the whole.

        Args:
            height: of the image.
            width: of the image.
            budget: bytes for what the network makes of a tile.
            per_pixel: bytes that it needs for each pixel of its input.
            facts: its size rules: sides are multiples, so that most tiles need no padding.
        """
        if self.size != "auto":
            return None if self.size is None or max(height, width) <= self.size else self.size
        padded = facts.padded(height, width)
        if padded[0] * padded[1] * per_pixel <= budget:
            return None
        return self.smallest_at_least(math.isqrt(int(budget / per_pixel)), facts)

    def smallest_at_least(self, side: int, facts: ArchFacts) -> int:
        """Return ``side`` as a multiple that the network takes; not below what makes tiles worth their overlap."""
        multiple = max(1, facts.multiple_of)
        least = -(-max(_LEAST, facts.minimum, 2 * self.overlap + 1) // multiple) * multiple
        return max(least, side // multiple * multiple)


def available_bytes(device: torch.device) -> int | None:
    """Return the memory that a process could still get on a device, None if nobody tells."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    limits = [limit for limit in (_meminfo(), _cgroup()) if limit is not None]
    return min(limits) if limits else None


def network_budget(device: torch.device, beside: int) -> float:
    """Return how many bytes a pass of the network may take.

    Args:
        device: of the network.
        beside: bytes in host memory that the picture itself takes.
    """
    free = available_bytes(device)
    if device.type == "cuda":
        return _GPU_SHARE * (free or 0)
    return _CPU_MOST if free is None else min(_CPU_MOST, max(0.0, _CPU_SHARE * (free - beside)))


def bytes_per_pixel(net: nn.Module, facts: ArchFacts, device: torch.device, dtype: torch.dtype) -> float:
    """Return what a pass of the network needs for each pixel of its input: of a small image, measured.

    Where a CPU's peak cannot be measured (outside Linux) it is estimated from the widest layer.
    """
    channels = facts.input_channels or 3
    small, side = (max(facts.padded(n, n)) for n in (32, 128))
    x = torch.zeros(1, channels, side, side, device=device, dtype=dtype)
    try:
        with torch.inference_mode():
            run_padded(net, x[..., :small, :small], facts)  # what stays: workspaces, code
            peak = _peak_on_gpu(net, facts, x) if device.type == "cuda" else _peak_on_cpu(net, facts, x)
    except Exception:  # somebody else's network; it is reported with the picture on which it fails
        peak = None
    if peak is None:
        return _LIVE * dtype.itemsize * widest_layer(net, max(facts.padded(64, 64)), channels)
    return max(1.0, _MARGIN * peak / (side * side))


def host_bytes(height: int, width: int, scale: int, value_bytes: int) -> int:
    """Return the bytes that a picture takes in host memory while it is restored: stored values and floats, in and out.

    Args:
        height: of the input.
        width: of the input.
        scale: of the network.
        value_bytes: 1 of 8-bit pictures, 2 of 16-bit.
    """
    return height * width * 3 * (value_bytes + 4) * (1 + scale * scale)


def _peak_on_gpu(net: nn.Module, facts: ArchFacts, x: Tensor) -> int:
    torch.cuda.reset_peak_memory_stats(x.device)
    before = torch.cuda.memory_allocated(x.device)
    run_padded(net, x, facts)
    return torch.cuda.max_memory_allocated(x.device) - before


def _peak_on_cpu(net: nn.Module, facts: ArchFacts, x: Tensor) -> int | None:
    """Return by how much the process grew meanwhile; None if the system does not tell."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        before = _status("VmRSS")
        run_padded(net, x, facts)
        return max(_status("VmHWM") - before, x.numel() * x.element_size())
    except (OSError, ValueError, StopIteration):
        return None


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{key}:"))


def _meminfo() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return None


def _cgroup() -> int | None:
    """Return what is left of a container's limit; pages that it can drop count as used there, but for clean files."""
    try:
        limit, used = (int((_CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        stat = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        return max(0, limit - used + int(stat.get("inactive_file", 0)))
    except (OSError, ValueError):  # no such limit: 'max'
        return None
