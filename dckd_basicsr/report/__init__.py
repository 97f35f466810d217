"""What people look at after a run: tables, pictures, and what a network costs."""

from .cost import milliseconds_per_megapixel, parameter_count
from .strip import Box, Panel, comparison_strip, stack_strips, write_png
from .table import markdown_table

__all__ = [
    "Box",
    "Panel",
    "comparison_strip",
    "markdown_table",
    "milliseconds_per_megapixel",
    "parameter_count",
    "stack_strips",
    "write_png",
]
