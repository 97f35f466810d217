"""What people look at after a run: tables, pictures, and what a network costs."""

from .balance import balance_tables
from .cost import milliseconds_per_megapixel, parameter_count
from .gradients import BatchGradients, Gradients, batch_gradients
from .profile import Latency, Profile, Subject, measure
from .profile_tables import profile_records, profile_table, write_profile_csv, write_profile_json
from .step_cost import StepCost, counted, image_cost, step_cost
from .strip import Box, Panel, comparison_strip, stack_strips, write_png
from .table import markdown_table
from .valueless_step import ValuelessStep, valueless_step

__all__ = [
    "BatchGradients",
    "Box",
    "Gradients",
    "Latency",
    "Panel",
    "Profile",
    "StepCost",
    "Subject",
    "ValuelessStep",
    "balance_tables",
    "batch_gradients",
    "comparison_strip",
    "counted",
    "image_cost",
    "markdown_table",
    "measure",
    "milliseconds_per_megapixel",
    "parameter_count",
    "profile_records",
    "profile_table",
    "stack_strips",
    "step_cost",
    "valueless_step",
    "write_png",
    "write_profile_csv",
    "write_profile_json",
]
