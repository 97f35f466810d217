"""Colours of charts: Okabe and Ito's, which the colour-blind can tell apart; in a page each is a variable of its style.

Source: M. Okabe, K. Ito: Color Universal Design, https://jfly.uni-koeln.de/color/.
"""

from __future__ import annotations

__all__ = ["BETTER", "INK", "MUTED", "RULE", "SERIES", "VARIABLES", "WORSE", "series_colour", "series_dashes"]

INK, MUTED, RULE = "#1c1d1f", "#5f6368", "#dcdee1"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#757a80")
BETTER, WORSE = SERIES[0], SERIES[1]
VARIABLES = {INK: "--ink", MUTED: "--muted", RULE: "--rule", **{c: f"--s{i}" for i, c in enumerate(SERIES, start=1)}}
"""Colour as drawn -> the variable that stands for it in the page, whose value differs between light and dark."""
_DASHES = ("solid", (0, (5, 2)), (0, (1.5, 1.5)))


def series_colour(number: int) -> str:
    """Return the colour of the ``number``-th series, from 0; after seven they start again, with other dashes."""
    return SERIES[number % len(SERIES)]


def series_dashes(number: int) -> str | tuple[int, tuple[float, ...]]:
    """Return Matplotlib's line style of the ``number``-th series."""
    return _DASHES[number // len(SERIES) % len(_DASHES)]
