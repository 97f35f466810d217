"""Matplotlib's settings while a chart is made: its own defaults, whatever a user's ``matplotlibrc`` says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from matplotlib import rc_context, rcdefaults, rcParams

__all__ = ["own_style"]

_STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "dckd_basicsr", "pdf.fonttype": 42}


@contextmanager
def own_style() -> Iterator[None]:
    """Draw and write with these settings; those of the process are back afterwards. Also a decorator."""
    with rc_context():
        rcdefaults()
        rcParams.update(_STYLE)
        yield
