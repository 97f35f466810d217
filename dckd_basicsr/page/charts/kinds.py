"""The charts of a page, from numbers: curves, gains image by image, cost against quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.ticker import MaxNLocator

from ..tables import signed
from .chart import Chart
from .colours import BETTER, INK, MUTED, WORSE, series_colour, series_dashes
from .drawing import Dot, Line, bare_axes, draw_band, draw_dots, draw_line, end_labels, log_scale
from .style import own_style

__all__ = ["curve_chart", "dot_chart", "gain_chart"]

_DECADES = 30
"""Largest value over smallest from which an axis of positive values is logarithmic."""


@own_style()
def curve_chart(
    lines: Sequence[Line], title: str, description: str, x_label: str, y_label: str, *, labelled: bool = True
) -> Chart:
    """Draw curves, each with its label at its end and its band, if it has one.

    Args:
        lines: at least one, each with at least one point; their labels differ.
        title: above the chart.
        description: below it, and for those who do not see it; may be empty.
        x_label: of the axis.
        y_label: of the axis.
        labelled: write the labels; a page of one run needs none.
    """
    loud = [line for line in lines if not line.quiet]
    figure, axes = bare_axes(x_label, y_label, [line.label for line in loud if labelled])
    for line in loud:
        draw_band(axes, line, series_colour(line.number))
    names: dict[str, Sequence[str]] = {}
    for i, line in enumerate(sorted(lines, key=lambda each: not each.quiet)):
        gid = f"{'dots' if line.dots and not line.quiet else 'quiet'}-{i}"
        colour = MUTED if line.quiet else series_colour(line.number)
        names |= draw_line(axes, line, gid, colour, series_dashes(line.number))
    values = [value for line in lines for value in line.y]
    if min(values) > 0 and max(values) > _DECADES * min(values):
        log_scale(axes, "y")
    axes.margins(x=0.01)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))  # of iterations
    if labelled:
        end_labels(axes, {line.label: (line.x[-1], line.y[-1], series_colour(line.number)) for line in loud})
    return Chart(figure, title, description, names)


@own_style()
def gain_chart(gains: Mapping[str, float], title: str, description: str, unit: str = "dB") -> Chart:
    """Draw one bar for each image, the largest gain first.

    Args:
        gains: image -> value of a method less that of its baseline; at least one.
        title: above the chart.
        description: below it.
        unit: of the values.
    """
    figure, axes = bare_axes("images, sorted by gain", f"gain ({unit})", height=222, bottom=26)
    order = sorted(gains, key=lambda image: -gains[image])
    places = max(len(order), 8)
    axes.set_xlim(-0.6, places - 0.4)
    width = 0.8 * axes.get_window_extent().width / places
    names: dict[str, Sequence[str]] = {}
    for gid, colour, wanted in (("bar-gain", BETTER, True), ("bar-loss", WORSE, False)):
        chosen = [(i, image) for i, image in enumerate(order) if (gains[image] >= 0) == wanted]
        if chosen:
            x, heights = [i for i, _ in chosen], [gains[image] for _, image in chosen]
            axes.vlines(x, 0, heights, colors=colour, linewidth=width, gid=gid)
            names[gid] = [f"{image}: {signed(gains[image], 3)} {unit}" for _, image in chosen]
    axes.axhline(0, color=INK, linewidth=0.9)
    mean = sum(gains.values()) / len(gains)
    axes.axhline(mean, color=MUTED, linewidth=1.2, linestyle=(0, (2, 3)))
    place: Any = {"xycoords": "figure points", "ha": "right", "va": "top", "color": MUTED, "fontsize": 11}
    axes.annotate(f"mean {signed(mean, 3)}", xy=(466, 218), **place)
    axes.set_xticks([])
    return Chart(figure, title, description, names)


@own_style()
def dot_chart(
    dots: Sequence[Dot], title: str, description: str, x_label: str, y_label: str, logarithmic: bool = False
) -> Chart:
    """Draw points with their labels to their right: what costs how much and is how good.

    Args:
        dots: at least one.
        title: above the chart.
        description: below it.
        x_label: of the axis.
        y_label: of the axis.
        logarithmic: the x axis; for costs that differ by orders of magnitude.
    """
    figure, axes = bare_axes(x_label, y_label, [dot.label for dot in dots])
    names: dict[str, Sequence[str]] = {}
    for i, dot in enumerate(dots):
        names |= draw_dots(axes, dot, f"dot-{i}", series_colour(dot.number))
    if logarithmic:
        log_scale(axes, "x")
    axes.margins(0.08)
    labelled = {dot.label: (dot.x, dot.y, series_colour(dot.number)) for dot in dots if dot.label}
    end_labels(axes, labelled, beside=True)
    return Chart(figure, title, description, names)
