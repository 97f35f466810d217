"""The pictures of a whole comparison, from the folder in which its tests ran."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from ...compare import Comparison, PlannedRun
from ...compare.record import TEACHER
from .sources import Pictures, gather_pictures

__all__ = ["comparison_pictures"]


def comparison_pictures(
    comparison: Comparison, base: str, wanted: Mapping[str, Collection[str]], root: Path = Path()
) -> Pictures:
    """Gather pictures of one base: what the tests of each method's first run wrote, with LQ and GT of their sets.

    Args:
        comparison: whose option files of tests are read; their data sets lie below the working directory.
        base: key of the base.
        wanted: set -> images, as :func:`~dckd_basicsr.page.telling_images` names them.
        root: the folder that has ``results``.

    Raises:
        DCKDError: the option file of the test cannot be read.
        OSError: the same for a test set.
    """
    names = [*comparison.variants(base), *((TEACHER,) if comparison.runs(base, TEACHER) else ())]
    runs = {name: comparison.runs(base, name)[0] for name in names}
    first = next(iter(runs.values()))
    options = PlannedRun(comparison.sweep, base, first.variant, first.seed).test_options
    return gather_pictures(root / "results", {name: run.name for name, run in runs.items()}, options, wanted)
