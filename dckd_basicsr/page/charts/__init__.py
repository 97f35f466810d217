"""Charts: drawn by Matplotlib, named point by point, inline in a page or a file of their own."""

from .chart import Chart
from .drawing import Dot, Line
from .kinds import curve_chart, dot_chart, gain_chart
from .lines import coarser, curve_points, seed_line, validation_points

__all__ = [
    "Chart",
    "Dot",
    "Line",
    "coarser",
    "curve_chart",
    "curve_points",
    "dot_chart",
    "gain_chart",
    "seed_line",
    "validation_points",
]
