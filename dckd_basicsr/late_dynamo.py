"""PyTorch's compiler front end, ``torch._dynamo``, run when something is compiled, and not at its first import.

PyTorch imports it with the first optimizer, and torchvision at its own import: a second and 150 MB, with
``torch._inductor`` and sympy, to tell a compiler that is not there to leave some functions alone. In the command
``basicsr`` the import gives a module that knows these requests and no more, much as ``importlib.util.LazyLoader`` does:
whatever else is asked of it runs the real module in its place, from then on as if it had been there all along.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import wraps
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from threading import RLock
from types import FunctionType, ModuleType
from typing import Any

__all__ = ["run_dynamo_late"]

_PACKAGE, _UTILS = "torch._dynamo", "torch._dynamo.utils"


class _LateModule(ModuleType):
    """A module that is run when a name is missing in it."""

    def __getattr__(self, name: str) -> Any:
        if not (name.startswith("__") and name.endswith("__")):  # asked of every module, by inspect for instance
            _finder.run()
            if name in vars(self):
                return vars(self)[name]
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


class _LateLoader(Loader):
    """Loads a :class:`_LateModule` with what is known beforehand, and runs it later."""

    def __init__(self, loader: Loader, known: dict[str, Any]) -> None:
        self.loader, self.known = loader, known
        self.module: ModuleType | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _LateModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        self.module = module
        vars(module).update(self.known)

    def run(self) -> None:
        module, self.module = self.module, None  # at once: what it runs imports it again
        if module is None or module.__spec__ is None:
            return
        module.__spec__.loader = module.__loader__ = self.loader
        try:
            self.loader.exec_module(module)
        except BaseException:
            self.module = module
            raise
        module.__class__ = ModuleType


class _Present(Loader):
    """Gives a module that is there already."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """It has been run."""


class _LateFinder(MetaPathFinder):
    """Finds the package late, and with it the one of its modules that torchvision imports; any other one runs it."""

    def __init__(self) -> None:
        self.known: dict[str, dict[str, Any]] = {
            _PACKAGE: {"disable": _disable, "graph_break": _graph_break},
            _UTILS: {"is_compile_supported": _is_compile_supported},
        }
        self.loaders: dict[str, _LateLoader] = {}
        self.lock = RLock()
        self.is_running = self.has_run = False

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not f"{name}.".startswith(f"{_PACKAGE}."):
            return None
        with self.lock:
            if self.is_running:  # imported by the package itself
                return None
            if name not in self.known or self.has_run:
                self.run()
                return ModuleSpec(name, _Present()) if name in sys.modules else None
            spec = PathFinder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = self.loaders[name] = _LateLoader(spec.loader, self.known[name])
            return spec

    def run(self) -> None:
        """Run the package, and what was found late of it; its own imports of the latter run that first."""
        with self.lock:
            if self.is_running:
                self._run(_UTILS)
            elif not self.has_run:
                self.is_running = True
                try:
                    self._run(_PACKAGE)
                    self._run(_UTILS)
                    self.has_run = True
                finally:
                    self.is_running = False

    def _run(self, name: str) -> None:
        if name in self.loaders:
            self.loaders[name].run()


def _disable(function: Callable[..., Any] | None = None, recursive: bool = True, **options: Any) -> Callable[..., Any]:
    """Stand for ``torch._dynamo.disable`` until that is there: nothing compiles before."""
    import torch

    if not isinstance(function, FunctionType):  # a decorator is asked for; or a module or class, and gets its like back
        _finder.run()
        late: Callable[..., Any] = torch._dynamo.disable(function, recursive, **options)
        return late
    disabled: Callable[..., Any] | None = None

    @wraps(function)  # a registry goes by the name, the check of options by the signature
    def left_alone(*args: Any, **kwargs: Any) -> Any:
        nonlocal disabled
        if not _finder.has_run:
            return function(*args, **kwargs)
        if disabled is None:
            disabled = torch._dynamo.disable(function, recursive, **options)
        return disabled(*args, **kwargs)

    return left_alone


def _graph_break(msg: str = "") -> None:
    """Stand for the function of this name, which every step of an optimizer calls: there is no graph to break."""


def _is_compile_supported(device_type: str) -> bool:
    """Stand for the function of this name, which torchvision's ``roi_align`` calls."""
    _finder.run()
    return bool(sys.modules[_UTILS].is_compile_supported(device_type))


_finder = _LateFinder()


def run_dynamo_late() -> None:
    """From now on, let imports of ``torch._dynamo`` cost nothing; not if it has been imported."""
    if _PACKAGE not in sys.modules and _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
