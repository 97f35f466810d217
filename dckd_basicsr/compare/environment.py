"""What a figure has to say of where it was made."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import torch

from ..version import __version__

__all__ = ["environment"]


def environment(*, gpu: bool = True, threads: int | None = None) -> dict[str, str]:
    """Return versions and machine, as text by name.

    Args:
        gpu: whether the runs take a GPU where there is one.
        threads: that they have on a CPU; None for as many as this process.
    """
    found = {"dckd_basicsr": __version__, "basicsr": metadata.version("basicsr"), "torch": torch.__version__}
    found["python"] = platform.python_version()
    found["system"] = f"{platform.system()} {platform.machine()}"
    if gpu and torch.cuda.is_available():
        found["device"] = torch.cuda.get_device_name()
        found["cuda"] = str(torch.version.cuda)
    else:
        found["device"] = f"CPU {_processor()}, {len(_cores())} cores"
        found["threads"] = str(threads or torch.get_num_threads())
    return found


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):  # not on Windows and macOS
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text(encoding="utf-8").splitlines() if info.is_file() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
