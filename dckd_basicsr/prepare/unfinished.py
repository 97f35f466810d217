"""The hidden folders beside a database that is being written or replaced, and what becomes of those left over."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

from ..disk import Owner

__all__ = ["PARTIAL", "REPLACED", "clear_leftovers", "hidden"]

_LOG = logging.getLogger("basicsr")

#: Being written; the database that one is just replacing.
PARTIAL, REPLACED = "partial", "replaced"


def hidden(path: Path, kind: str, owner: Owner) -> Path:
    """Return the hidden folder of a database: ``.NAME.lmdb.partial-<owner>`` or ``.NAME.lmdb.replaced-<owner>``."""
    return path.with_name(f".{path.name}.{kind}-{owner}")


def clear_leftovers(path: Path, active: set[str]) -> None:
    """Remove what dead writers of ``path`` left, and bring a database back that one was just replacing.

    Only processes of this machine are known to be dead; what others left, or are writing, is named in the log.

    Args:
        path: the database.
        active: tokens of this process's own writers.

    Raises:
        OSError: the folder cannot be read or changed.
    """
    if not path.parent.is_dir():
        return
    for folder in sorted(path.parent.iterdir()):
        for kind in (PARTIAL, REPLACED):
            start = f".{path.name}.{kind}-"
            if not folder.name.startswith(start):
                continue
            owner = Owner.parse(folder.name.removeprefix(start))
            if owner is None or not owner.is_near():
                _name(folder, path, kind)
            elif owner.token not in active and not _writes(owner):
                if kind == REPLACED and not path.exists():
                    folder.rename(path)
                else:
                    shutil.rmtree(folder, ignore_errors=True)


def _writes(owner: Owner) -> bool:
    # With our own number but none of our tokens: an earlier process that had the same number.
    return owner.pid != os.getpid() and owner.is_alive()


def _name(folder: Path, path: Path, kind: str) -> None:
    rescue = f", or rename it to '{path.name}' to have the old database back" if kind == REPLACED else ""
    _LOG.warning(
        "'%s' belongs to a packing by another machine or container, or by this one before it was restarted; it is left "
        "alone. If nobody packs there any more, remove it%s",
        folder,
        rescue,
    )
