"""What to write instead of module names of version 0.1: said by the error of an import that still uses them."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

__all__ = ["leave_notes"]

_NOW = {
    "checkpoint": "dckd_basicsr.weight_files",
    "compat": "dckd_basicsr.install",
    "runtime": "dckd_basicsr.training (around a step) and dckd_basicsr.inference (around a forward pass)",
}


class _Note(ModuleType):
    """Stands where a module was: any name taken from it is an ImportError that says where it is now."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked of every module by inspect, copy and the import system
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        raise ImportError(f"{self.__name__} is no more: {name!r} is looked for in {_NOW[self.__name__.split('.')[-1]]}")


def leave_notes(package: str) -> None:
    """Put notes into ``package``, for ``import package.checkpoint`` and ``from package import checkpoint`` alike."""
    for name in _NOW:
        note = _Note(f"{package}.{name}")
        sys.modules[note.__name__] = note
        setattr(sys.modules[package], name, note)
