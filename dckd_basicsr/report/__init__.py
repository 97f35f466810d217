"""What people look at after a run: tables, pictures, and what a network costs."""

from .balance import balance_tables
from .cost import milliseconds_per_megapixel, parameter_count
from .gradients import BatchGradients, Gradients, batch_gradients
from .step_cost import StepCost, counted, image_cost, step_cost
from .strip import Box, Panel, comparison_strip, stack_strips, write_png
from .table import markdown_table
from .valueless_step import ValuelessStep, valueless_step

__all__ = [
    "BatchGradients",
    "Box",
    "Gradients",
    "Panel",
    "StepCost",
    "ValuelessStep",
    "balance_tables",
    "batch_gradients",
    "comparison_strip",
    "counted",
    "image_cost",
    "markdown_table",
    "milliseconds_per_megapixel",
    "parameter_count",
    "stack_strips",
    "step_cost",
    "valueless_step",
    "write_png",
]
