"""The data room: from photos to verified LMDB databases that BasicSR's datasets read.

Imports neither PyTorch nor BasicSR.
"""

from __future__ import annotations

from .commands import add_prepare_parser
from .lmdb_reader import LmdbImages
from .lmdb_writer import LmdbWriter, lmdb_writers
from .preflight import paired_folder_problems, paired_lmdb_problems
from .prepare_div2k import prepare_div2k
from .prepare_sr import PrepareSummary, prepare_sr
from .verify import LmdbReport, PairReport, verify_lmdb, verify_pair

__all__ = [
    "LmdbImages",
    "LmdbReport",
    "LmdbWriter",
    "PairReport",
    "PrepareSummary",
    "add_prepare_parser",
    "lmdb_writers",
    "paired_folder_problems",
    "paired_lmdb_problems",
    "prepare_div2k",
    "prepare_sr",
    "verify_lmdb",
    "verify_pair",
]
