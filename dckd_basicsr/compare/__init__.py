"""Comparisons: a sweep of runs, what became of them, and whether their differences are any."""

from .comparison import ALL, Comparison, Row, Value
from .record import Cost, RunRecord, read_records, write_record
from .statistics import PairedTest, SeedTest, Verdict
from .sweep import Base, Sweep, Variant, find_sweep, load_sweep

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
    "read_records",
    "write_record",
]
