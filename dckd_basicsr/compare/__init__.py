"""Comparisons: a sweep of runs, what became of them, and whether their differences are any."""

from .plan import PlannedRun, planned_runs
from .progress import Progress
from .record import Cost, RunRecord, read_records, write_record
from .run import Maker
from .sweep import Base, Sweep, Variant, find_sweep, load_sweep
from .sweeping import finish, places

__all__ = [
    "Base",
    "Cost",
    "Maker",
    "PlannedRun",
    "Progress",
    "RunRecord",
    "Sweep",
    "Variant",
    "find_sweep",
    "finish",
    "load_sweep",
    "places",
    "planned_runs",
    "read_records",
    "write_record",
]
