"""What people look at after a run: tables and pictures."""

from .strip import Box, Panel, comparison_strip, stack_strips, write_png
from .table import markdown_table

__all__ = [
    "Box",
    "Panel",
    "comparison_strip",
    "markdown_table",
    "stack_strips",
    "write_png",
]
