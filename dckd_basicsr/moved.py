"""What to write instead of names of version 0.1: said by the error of an import that still uses them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

__all__ = ["leave_notes", "names_of"]

_NOW = {
    "checkpoint": "dckd_basicsr.weight_files",
    "compat": "dckd_basicsr.install",
    "foreign_pickle": "dckd_basicsr.portable.foreign_pickle",
    "runtime": "dckd_basicsr.training (around a step) and dckd_basicsr.inference (around a forward pass)",
}
_HAD = {
    "checkpoint": {
        "Weights", "atomic_write", "check_file", "load_into", "load_state", "load_training_state", "load_weights",
        "misfits", "save_state",
    },
    "compat": {
        "prepare_import", "prepare_lmdb_backend", "prepare_pipelines", "register", "replace_parse_options",
        "replace_train_pipeline", "shared_environment", "stock_train_pipeline",
    },
    "foreign_pickle": {"read_foreign_checkpoint"},
    "runtime": {
        "acceleration", "add_results", "augment", "budget", "build_schedule", "checkpoints", "compiling",
        "create_loaders", "divergence", "ensemble", "flat", "grouping", "image_names", "loaders", "processes",
        "random_state", "read_results", "results", "run_folder", "samples", "schedules", "static_step", "stopping",
        "tiling", "validation_record",
    },
}  # fmt: skip
_SETS, _LMDB = "from dckd_basicsr.prepare.sets", "from dckd_basicsr.data.lmdb"
_WRITTEN = {
    "training": {"train_pipeline": "from basicsr.train import train_pipeline"},
    "distill": {
        "DistillParts": "from dckd_basicsr.distill import Sources",
        "Objective": "from dckd_basicsr.distill import Distiller, build_terms",
        "ObjectiveValues": "from dckd_basicsr.distill import Distiller",
    },
    "data": {
        **{
            f"prepare_{name}": f"{_SETS}.{name} import prepare_{name}"
            for name in ("div2k", "gopro", "paired", "rain13k")
        },
        "prepare_sr": f"{_SETS}.sr import prepare_sr",
        "LmdbImages": f"{_LMDB}.reader import LmdbImages",
        "read_meta": f"{_LMDB}.reader import read_meta",
        "LmdbWriter": "from dckd_basicsr.prepare.writer import LmdbWriter",
        "lmdb_writers": "from dckd_basicsr.prepare.writer import lmdb_writers",
        "verify_lmdb": "from dckd_basicsr.prepare.verify import verify_lmdb",
        "verify_pair": "from dckd_basicsr.prepare.verify import verify_pair",
        "paired_folder_problems": "from dckd_basicsr.data.preflight import paired_folder_problems",
        "paired_lmdb_problems": "from dckd_basicsr.data.preflight import paired_lmdb_problems",
    },
}
"""Of rooms that are still there: what to write for a name that is not."""


def names_of(package: str) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a room: an ImportError for a name it had, as the interpreter's for any other."""
    written = _WRITTEN[package.rpartition(".")[2]]

    def __getattr__(name: str) -> Any:
        if name in written:
            raise ImportError(f"{package}.{name} is no more: write `{written[name]}`")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return __getattr__


class _Note(ModuleType):
    """Stands where a module was: a name it had is an ImportError that says where it is now."""

    def __getattr__(self, name: str) -> Any:
        room = self.__name__.split(".")[-1]
        if name in _HAD[room]:
            raise ImportError(f"{self.__name__} is no more: {name!r} is looked for in {_NOW[room]}")
        # Asked of every module by inspect, copy and pickle, of which the last makes the keys of the compiler's cache.
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


def leave_notes(package: str) -> None:
    """Put notes into ``package``, for ``import package.checkpoint`` and ``from package import checkpoint`` alike."""
    for name in _NOW:
        note = _Note(f"{package}.{name}")
        sys.modules[note.__name__] = note
        setattr(sys.modules[package], name, note)
