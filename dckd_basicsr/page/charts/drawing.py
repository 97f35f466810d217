"""What charts are drawn with: quiet axes, lines with their name at the end, bands, bars, dots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from .colours import INK, MUTED, RULE

__all__ = ["Dot", "Line", "bare_axes", "draw_band", "draw_dots", "draw_line", "end_labels", "log_scale", "short"]

WIDTH, HEIGHT = 480, 300
"""Of a chart, in points: small enough that a phone shows its text at three quarters of its size."""
_SIZE = 11.0
_LONGEST = 20


@dataclass(frozen=True)
class Line:
    """A curve.

    Attributes:
        label: written at its end.
        x: ascending.
        y: as many values.
        low: lower edge of a band around it; None for no band.
        high: upper edge.
        number: of its colour.
        names: of its points.
        dots: show the points; else they appear under the pointer alone.
        quiet: thin and grey, without label and band: one of many, behind those that matter.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None
    high: Sequence[float] | None
    number: int
    names: Sequence[str]
    dots: bool = True
    quiet: bool = False


@dataclass(frozen=True)
class Dot:
    """A point with a label, which may be empty, and a range of its y."""

    label: str
    x: float
    y: float
    low: float
    high: float
    number: int
    name: str


def short(text: str) -> str:
    """Return a name as a chart has room for it; the whole name is in the point's.

    Titles of variants often differ in their last letters alone, so the middle is left out.

    >>> short("DCKD with a contrast of 0.01")
    'DCKD with a… of 0.01'
    """
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[:11]}…{text[-8:]}"


def bare_axes(
    x_label: str, y_label: str, labels: Sequence[str] = (), height: float = HEIGHT, bottom: float = 44.0
) -> tuple[Figure, Axes]:
    """Make a figure with one pair of axes.

    Args:
        x_label: at the right end of its axis.
        y_label: above its axis; may be empty.
        labels: for which room is left on the right.
        height: of the figure, in points.
        bottom: room below the axes, in points.
    """
    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)  # a pixel is a point
    longest = max((len(short(label)) for label in labels), default=0)
    right = WIDTH - 14 - (7.2 * longest + 10 if longest else 0)
    left, top = 58.0, 26.0 if y_label else 10.0
    box = (left / WIDTH, bottom / height, (right - left) / WIDTH, (height - top - bottom) / height)
    axes = figure.add_axes(box)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, labelsize=_SIZE, length=0, pad=5)
    axes.set_xlabel(x_label, color=MUTED, fontsize=_SIZE, loc="right", parse_math=False)
    place: Any = {"transform": figure.transFigure, "va": "top", "parse_math": False}
    axes.text(8 / WIDTH, 1 - 4 / height, y_label, color=MUTED, fontsize=_SIZE, **place)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    return figure, axes


def draw_band(axes: Axes, line: Line, colour: str) -> None:
    if line.low is not None and line.high is not None:
        axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.18, linewidth=0)


def draw_line(axes: Axes, line: Line, gid: str, colour: str, dashes: Any) -> dict[str, Sequence[str]]:
    """Draw a curve with its points; returns their names by group."""
    style: Any = {"linewidth": 0.9, "alpha": 0.5} if line.quiet else {"linewidth": 1.8, "linestyle": dashes}
    axes.plot(line.x, line.y, color=colour, solid_capstyle="round", **style)
    axes.plot(line.x, line.y, "o", color=colour, markersize=5, markeredgewidth=0, gid=gid, clip_on=False)
    return {gid: line.names}


def draw_dots(axes: Axes, dot: Dot, gid: str, colour: str) -> dict[str, Sequence[str]]:
    """Draw a point with its range; returns its name by group."""
    if dot.high > dot.low:
        axes.plot([dot.x, dot.x], [dot.low, dot.high], color=colour, linewidth=1.6, alpha=0.6)
    axes.plot([dot.x], [dot.y], "o", color=colour, markersize=8, markeredgewidth=0, gid=gid, clip_on=False)
    return {gid: [dot.name]}


def end_labels(
    axes: Axes, ends: Mapping[str, tuple[float, float, str]], *, beside: bool = False, gap: float = 14.0
) -> None:
    """Write labels to the right of the axes, or of their points, without covering each other, and lead lines to them.

    Args:
        axes: everything else is drawn.
        ends: label -> (x, y, colour) of the point it belongs to, in data coordinates.
        beside: right beside their points, not in a column.
        gap: between lines of text, in points.
    """
    axes.get_xlim(), axes.get_ylim()  # fits them to the data, which else waits for the drawing
    box = axes.get_window_extent()
    wanted = {label: axes.transData.transform((x, y)) for label, (x, y, _) in ends.items()}
    heights = _apart({label: float(at[1]) for label, at in wanted.items()}, gap, box.y0 + 6, box.y1)
    place: Any = {"xycoords": "figure points", "annotation_clip": False}
    for label, height in heights.items():
        start = float(wanted[label][0]), float(wanted[label][1])
        end = (start[0] + 12 if beside else box.x1 + 9), height
        if not beside or abs(height - start[1]) > 3:
            line = {
                "arrowstyle": "-",
                "color": ends[label][2],
                "linewidth": 0.9,
                "alpha": 0.6,
                "shrinkB": 4,
            }
            axes.annotate("", xy=start, xytext=end, textcoords="figure points", arrowprops=line, **place)
        style: Any = {"color": INK, "fontsize": _SIZE, "va": "center_baseline", "parse_math": False}
        axes.annotate(short(label), xy=(end[0] + (0 if beside else 3), height), **place, **style)


def _apart(wanted: Mapping[str, float], gap: float, low: float, high: float) -> dict[str, float]:
    """Return heights at least ``gap`` apart, in the order of those wanted, within the axes if they fit there.

    >>> _apart({"a": 10, "b": 12, "c": 40}, 10, 0, 100)
    {'a': 6.0, 'b': 16.0, 'c': 40.0}
    """
    blocks: list[tuple[list[str], float]] = []  # names of a run of labels, and the middle of it
    for name in sorted(wanted, key=lambda each: wanted[each]):
        names, middle = [name], float(wanted[name])
        while blocks and middle - blocks[-1][1] < gap * (len(names) + len(blocks[-1][0])) / 2:
            before, _ = blocks.pop()
            names = before + names
            middle = sum(wanted[each] for each in names) / len(names)
        blocks.append((names, middle))
    found = {}
    for names, middle in blocks:
        half = gap * (len(names) - 1) / 2
        middle = max(min(middle, high - half), low + half)
        found.update({name: middle - half + gap * i for i, name in enumerate(names)})
    return found


def log_scale(axes: Axes, which: str) -> None:
    """Make the axis ``x`` or ``y`` logarithmic, with plain labels at few places."""
    if which == "x":
        axes.set_xscale("log")
    else:
        axes.set_yscale("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=6))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
