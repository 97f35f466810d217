"""Everything that is written to look at of a comparison: its page, with the pictures there are, and its figures."""

from __future__ import annotations

from pathlib import Path

from ..compare import Comparison
from ..errors import DCKDError, message_of
from .comparison_page import telling_images, write_comparison_page
from .pictures import Pictures, comparison_pictures

__all__ = ["write_sweep_page"]


def write_sweep_page(comparison: Comparison, file: Path, root: Path = Path()) -> list[str]:
    """Write the page of a comparison with the pictures that its tests left.

    Args:
        comparison: of at least one record.
        file: to write.
        root: the folder that has ``results``.

    Returns:
        Sentences about pictures that could not be had; the page is complete without them.
    """
    found: dict[str, Pictures] = {}
    problems = []
    for base in comparison.bases:
        try:
            found[base] = comparison_pictures(comparison, base, telling_images(comparison, base), root)
        except Exception as error:  # a data set of somebody's may raise what it likes; BasicSR's own assert
            problems.append(f"{comparison.sweep.base_title(base)}: no pictures: {_reason(error)}")
    write_comparison_page(comparison, file, found)
    return problems


def _reason(error: Exception) -> str:
    if isinstance(error, DCKDError):
        return message_of(error)
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"'{error.filename}' is not there"
    return f"{type(error).__name__}: {error}"
