"""Comparisons: a sweep of runs, what became of them, and whether their differences are any."""

from .record import Cost, RunRecord, read_records, write_record
from .sweep import Base, Sweep, Variant, find_sweep, load_sweep

__all__ = [
    "Base",
    "Cost",
    "RunRecord",
    "Sweep",
    "Variant",
    "find_sweep",
    "load_sweep",
    "read_records",
    "write_record",
]
