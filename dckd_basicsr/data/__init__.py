"""The data room: from photos to verified LMDB databases that BasicSR's datasets read.

What is imported here needs neither PyTorch nor BasicSR; ``patches`` and ``paired_patch_dataset``, which training reads
with, do.
"""

from __future__ import annotations

from .commands import add_prepare_parser
from .databases import PrepareSummary
from .lmdb_reader import LmdbImages, read_meta
from .lmdb_writer import LmdbWriter, lmdb_writers
from .pack_id import pack_problems, refuse_two_packs
from .preflight import paired_folder_problems, paired_lmdb_problems
from .prepare_div2k import prepare_div2k
from .prepare_gopro import prepare_gopro
from .prepare_paired import prepare_paired
from .prepare_rain13k import prepare_rain13k
from .prepare_sr import prepare_sr
from .published import PreparedParts
from .verify import LmdbReport, PairReport, verify_lmdb, verify_pair

__all__ = [
    "LmdbImages",
    "LmdbReport",
    "LmdbWriter",
    "PairReport",
    "PrepareSummary",
    "PreparedParts",
    "add_prepare_parser",
    "lmdb_writers",
    "pack_problems",
    "paired_folder_problems",
    "paired_lmdb_problems",
    "prepare_div2k",
    "prepare_gopro",
    "prepare_paired",
    "prepare_rain13k",
    "prepare_sr",
    "read_meta",
    "refuse_two_packs",
    "verify_lmdb",
    "verify_pair",
]
