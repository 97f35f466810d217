"""One planted fault against its tests, in a fork of a process that has imported PyTorch and BasicSR beforehand.

This package it has not imported. The fork serves the changed source for the one module, runs pytest and ends; nothing
on disk is changed.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import resource
import shutil
import signal
import sys
import time
import types
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests import ROOT

__all__ = ["Outcome", "Trial", "import_once"]

PACKAGE = "dckd_basicsr"
_HEAVY = ("basicsr.train", "basicsr.test", "cv2", "hypothesis.strategies", "lmdb", "pytest", "safetensors.torch")
_HEAVY += ("_hypothesis_pytestplugin", "scipy.ndimage", "spandrel", "torch.utils.flop_counter")
# Other plugins would be imported anew in each trial.
_PYTEST = ("-x", "-q", "-p", "no:cacheprovider", "-p", "_hypothesis_pytestplugin", "--hypothesis-seed=0")


def import_once() -> None:
    """Import what takes seconds. What BasicSR's import needs is the package's own work, so it is repeated here."""
    from torchvision.transforms import functional

    name = "torchvision.transforms.functional_tensor"
    if importlib.util.find_spec(name) is None:
        stand_in = types.ModuleType(name)
        stand_in.rgb_to_grayscale = functional.rgb_to_grayscale  # type: ignore[attr-defined]
        sys.modules[name] = stand_in
    for heavy in _HEAVY:
        importlib.import_module(heavy)
    if PACKAGE in sys.modules:
        raise RuntimeError(f"{PACKAGE} was imported too early: no fault in it would be seen")


@dataclass(frozen=True)
class Outcome:
    """What became of a trial.

    Attributes:
        noticed: some test failed, or the tests took far longer than they do.
        by: the first test that failed, or what else happened.
        seconds: of CPU time.
    """

    noticed: bool
    by: str
    seconds: float


class Trial:
    """A running trial; starts when it is made.

    Args:
        module: the module's file below the package.
        source: what is served for it.
        tests: files or tests, below the root of the tree.
        folder: of the trial's own; removed at its end.
        limit: seconds of CPU time after which it is ended, and ten times as many on the clock.
    """

    def __init__(self, module: str, source: str, tests: Sequence[str], folder: Path, limit: float) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self._end = time.monotonic() + 10 * limit
        sys.stdout.flush()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                self._child(module, source, tests, limit)
            finally:
                os._exit(99)

    def outcome(self) -> Outcome | None:
        """Return what became of it, or None as long as it runs."""
        late = time.monotonic() > self._end
        if late:
            os.kill(self._pid, signal.SIGKILL)
        pid, status, usage = os.wait4(self._pid, 0 if late else os.WNOHANG)
        if pid == 0:
            return None
        self._end_workers()
        code = os.waitstatus_to_exitcode(status)
        first = self.folder / "first"
        by = first.read_text(encoding="utf-8") if first.is_file() else f"exit status {code}"
        if late or code in (-signal.SIGXCPU, -signal.SIGKILL):
            by = "time limit"
        return Outcome(code != 0, by, usage.ru_utime + usage.ru_stime)

    def output(self) -> str:
        """What pytest printed."""
        return (self.folder / "output").read_text(encoding="utf-8", errors="replace")

    def close(self) -> None:
        """Remove its files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end_workers(self) -> None:
        try:
            os.killpg(self._pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def _child(self, module: str, source: str, tests: Sequence[str], limit: float) -> None:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit) + 1, int(limit) + 2))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        output = os.open(self.folder / "output", os.O_CREAT | os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(output, stream)
        os.chdir(ROOT)
        sys.meta_path.insert(0, _Served(module, source))
        import pytest

        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        basetemp = f"--basetemp={self.folder / 'files'}"
        code = pytest.main([*_PYTEST, basetemp, *tests], plugins=[_First(self.folder / "first")])
        sys.stdout.flush()
        os._exit(int(code))


class _Served(importlib.machinery.SourceFileLoader):
    """Finds and loads one module of the package, from a text instead of its file."""

    def __init__(self, module: str, source: str) -> None:
        name = f"{PACKAGE}.{module.removesuffix('.py').replace('/', '.')}"
        super().__init__(name, str(ROOT / PACKAGE / module))
        self._source = source

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, fullname: str) -> types.CodeType:
        return compile(self._source, self.path, "exec", dont_inherit=True)


class _First:
    """Keeps which test failed first."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def pytest_runtest_logreport(self, report: object) -> None:
        self._keep(report)

    def pytest_collectreport(self, report: object) -> None:
        self._keep(report)

    def _keep(self, report: object) -> None:
        if report.failed and not self.path.exists():  # type: ignore[attr-defined]
            self.path.write_text(report.nodeid, encoding="utf-8")  # type: ignore[attr-defined]
