"""From minutes to iterations: a few steps are trained and timed as the whole will be."""

from __future__ import annotations

import re
import shutil
import statistics
import tempfile
from itertools import pairwise
from pathlib import Path

from ..errors import ConfigError
from ..training.curve import read_curve
from .option_files import OPTIONS
from .steps import run_basicsr

__all__ = ["iterations_for", "parse_time"]

_TIME = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")
_STEPS, _EVERY = 16, 2
_LEAST = 20
_PREFIX = ".timing-"


def parse_time(text: str) -> float:
    """Return the seconds of ``90s``, ``30m``, ``1.5h``, ``1h30m``.

    Raises:
        ConfigError: it is none of these, or no time at all.
    """
    found = _TIME.fullmatch(text.strip().lower())
    parts = [float(part or 0) for part in found.groups()] if found else [0.0]
    seconds = sum(part * unit for part, unit in zip(parts, (3600, 60, 1)))
    if seconds <= 0:
        raise ConfigError(f"a time is written as 90s, 30m, 2h or 1h30m, got '{text}'")
    return seconds


def iterations_for(seconds: float, folder: Path, lock: int | None = None) -> tuple[int, float]:
    """Return how many iterations of a project's training fit into a time, at least 20, and the seconds that one takes.

    The training is started for a few iterations, with its data, networks and compilation, in a folder that goes
    afterwards; its first steps, in which things are set up, are not counted.

    Args:
        seconds: of training.
        folder: of the project, with option file and databases.
        lock: held by the training, too.
    """
    for left in folder.glob(f"{_PREFIX}*"):  # of one that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=_PREFIX) as temporary:
        forced = [
            f"train:total_iter={_STEPS}",
            f"logger:print_freq={_EVERY}",
            f"logger:save_checkpoint_freq={_STEPS}",
            "logger:report=false",
            "datasets:val=~",
            "val=~",
        ]
        here = Path(temporary)
        for name in ("data", OPTIONS):
            (here / name).symlink_to((folder / name).resolve())
        run_basicsr(here, "train", "-opt", OPTIONS, "--force_yml", *forced, quiet=True, lock=lock)
        (run,) = (here / "experiments").iterdir()
        lines = read_curve(run)
    # The log has means since the start; of their sums the differences are the times in between.
    sums = [(float(line["iter"]), float(line["iter"]) * float(line["time"])) for line in lines]
    step = statistics.median((b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(sums))
    return max(_LEAST, int(seconds / step / 10) * 10), step
