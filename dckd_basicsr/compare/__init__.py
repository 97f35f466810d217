"""Comparisons: a sweep of runs, what became of them, and whether their differences are any."""

from .cells import marks, notes
from .comparison import ALL, Comparison, Row, Value
from .record import Cost, RunRecord, read_records, write_record
from .statistics import PairedTest, SeedTest, Verdict
from .sweep import Base, Sweep, Variant, find_sweep, load_sweep
from .tables import write_tables

__all__ = [
    "ALL",
    "Base",
    "Comparison",
    "Cost",
    "PairedTest",
    "Row",
    "RunRecord",
    "SeedTest",
    "Sweep",
    "Value",
    "Variant",
    "Verdict",
    "find_sweep",
    "load_sweep",
    "marks",
    "notes",
    "read_records",
    "write_record",
    "write_tables",
]
