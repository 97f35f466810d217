"""What people look at after a run: tables, pictures, and what a network costs."""

from .balance import balance_tables
from .cost import milliseconds_per_megapixel, parameter_count
from .gradients import BatchGradients, Gradients, batch_gradients
from .strip import Box, Panel, comparison_strip, stack_strips, write_png
from .table import markdown_table

__all__ = [
    "BatchGradients",
    "Box",
    "Gradients",
    "Panel",
    "balance_tables",
    "batch_gradients",
    "comparison_strip",
    "markdown_table",
    "milliseconds_per_megapixel",
    "parameter_count",
    "stack_strips",
    "write_png",
]
