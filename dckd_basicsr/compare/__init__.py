"""Comparisons: a sweep of runs, what became of them, and whether their differences are any."""

from .cells import marks, notes
from .comparison import ALL, Comparison, Row, Value
from .plan import PlannedRun, planned_runs, same_trainings
from .progress import Progress
from .record import Cost, RunRecord, read_records, write_record
from .run import Maker
from .statistics import PairedTest, SeedTest, Verdict
from .sweep import Base, Sweep, Variant, find_sweep, load_sweep
from .sweeping import finish, places
from .tables import write_tables

__all__ = [
    "ALL",
    "Base",
    "Comparison",
    "Cost",
    "Maker",
    "PairedTest",
    "PlannedRun",
    "Progress",
    "Row",
    "RunRecord",
    "SeedTest",
    "Sweep",
    "Value",
    "Variant",
    "Verdict",
    "find_sweep",
    "finish",
    "load_sweep",
    "marks",
    "notes",
    "places",
    "planned_runs",
    "read_records",
    "same_trainings",
    "write_record",
    "write_tables",
]
