"""What a run needs around networks and data: processes, loaders, schedules, checkpoints, guards, result files."""

from .loaders import create_loaders
from .results import add_results, read_results
from .schedules import build_schedule

__all__ = ["add_results", "build_schedule", "create_loaders", "read_results"]
