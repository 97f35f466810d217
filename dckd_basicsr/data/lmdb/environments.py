"""The open LMDBs of a process: one environment of each, as LMDB allows no second."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lmdb

__all__ = ["close_shared", "shared_environment"]

# By path, with their process: an environment must not be used on the other side of a fork.
_ENVIRONMENTS: dict[str, tuple[int, lmdb.Environment]] = {}


def shared_environment(path: str, **options: Any) -> lmdb.Environment:
    """Open the LMDB at ``path``, or return the environment that this process has opened there already.

    Args:
        path: the folder.
        options: of ``lmdb.open``; used by the first to open it.
    """
    real = os.path.realpath(path)
    pid, environment = _ENVIRONMENTS.get(real, (0, None))
    if environment is None or pid != os.getpid():
        if environment is not None:
            environment.close()  # a fork's: not to be used here, and as long as it is there LMDB refuses another
        environment = lmdb.open(path, **options)
        _ENVIRONMENTS[real] = (os.getpid(), environment)
    return environment


def close_shared(folder: str | os.PathLike[str]) -> None:
    """Close the shared environments at or below ``folder``; whoever reads there next opens them again."""
    for path in [path for path in _ENVIRONMENTS if Path(path).is_relative_to(os.path.realpath(folder))]:
        _ENVIRONMENTS.pop(path)[1].close()
