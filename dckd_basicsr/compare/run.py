"""Making one run of a sweep: train it, or go on with what is there; test it; keep the record."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config.load import load_yaml
from ..disk import locked
from ..errors import CheckpointError, DCKDError
from ..weight_files import atomic_write
from .made import inputs_of, made_record
from .plan import PlannedRun
from .record import RunRecord, read_record, write_record
from .sameness import differences

__all__ = ["Busy", "Maker", "RunFailed", "check_unchanged"]

_WAIT = 60.0
"""Seconds that a training gets to save after it was asked to stop, before it is killed."""


class RunFailed(DCKDError):
    """A training or test ended with an error; the message names its log."""


class Busy(DCKDError):
    """Another process is making this run."""


@dataclass
class Maker:
    """Makes runs, several at once if it is called from several threads.

    Attributes:
        root: where ``experiments/`` and ``results/`` are.
        folder: of the sweep's records and logs.
        imports: modules of the user's own for the commands.
        environment: variables of every run beyond those of this process.
    """

    root: Path
    folder: Path
    imports: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    _running: set[subprocess.Popen[bytes]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: bool = False

    def record_file(self, run: PlannedRun) -> Path:
        return self.folder / "records" / f"{run.name}.json"

    def record(self, run: PlannedRun) -> RunRecord | None:
        """Return the record of a run that is done.

        Raises:
            CheckpointError: it was told something else than the sweep says now.
        """
        file = self.record_file(run)
        if not file.is_file():
            return None
        found = read_record(file)
        check_unchanged(run, found.options, f"record '{file}'", found.inputs, found.test_options)
        return found

    def make(self, run: PlannedRun, variables: Mapping[str, str] | None = None) -> RunRecord:
        """Make a run; what is there of it already is not done again.

        Raises:
            RunFailed: with the log to look at.
            Busy: another process is at it.
            CheckpointError: what is there was told something else.
        """
        with _held(self.folder / "locks" / run.name) as lock:
            if (done := self.record(run)) is not None:
                return done
            started = self.root / "experiments" / run.name / "options.yml"
            inputs = self.folder / "inputs" / f"{run.name}.json"
            if run.seed is not None:
                if started.is_file():
                    read = json.loads(inputs.read_text(encoding="utf-8")) if inputs.is_file() else None
                    check_unchanged(run, load_yaml(started), f"run '{started.parent}'", read)
                else:
                    _write_inputs(run, inputs)
                self._basicsr(run, [*run.train_arguments, "--auto_resume"], variables, lock)
            results = self.root / "results" / run.name / "metrics.json"
            results.unlink(missing_ok=True)  # of a test that was stopped; a new one adds to it
            self._basicsr(run, run.test_arguments, variables, lock)
            record = made_record(run, self.root, self.imports, {**self.environment, **(variables or {})})
            write_record(record, self.record_file(run))
            return record

    def stop(self) -> None:
        """Ask the trainings that run to save and end; from then on none starts."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for process in running:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        for process in running:
            try:
                process.wait(_WAIT)
            except subprocess.TimeoutExpired:
                process.kill()

    def _basicsr(
        self, run: PlannedRun, arguments: Sequence[str], variables: Mapping[str, str] | None, lock: int | None
    ) -> None:
        log = self.folder / "logs" / f"{run.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        words = [word for name in self.imports for word in ("--import", name)]
        command = [sys.executable, "-m", "dckd_basicsr", *arguments, *words]
        with log.open("ab") as output:
            with self._lock:
                if self._stopped:
                    raise RunFailed(f"{run.name} was stopped")
                # A session of its own: Ctrl-C reaches this process alone, which then asks each run once.
                process = subprocess.Popen(
                    command,
                    cwd=self.root,
                    env={**os.environ, **self.environment, **(variables or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    # It holds the run for as long as it lives, should this process be killed.
                    pass_fds=() if lock is None else (lock,),
                )
                self._running.add(process)
            try:
                status = process.wait()
            finally:
                with self._lock:
                    self._running.discard(process)
        if status:
            raise RunFailed(f"{run.name}: `basicsr {arguments[0]}` ended with status {status}; {_last(log)}")


def check_unchanged(
    run: PlannedRun,
    options: Mapping[str, Any],
    what: str,
    inputs: Mapping[str, str] | None = None,
    test_options: Mapping[str, Any] | None = None,
) -> None:
    """Refuse to take what was made with other options, or from other data, for the run that the sweep means now.

    Args:
        run: as the sweep says.
        options: that it was made with.
        what: was made, for the message.
        inputs: digests of what it read, if they are known.
        test_options: that it was measured with, if it was and they are known.

    Raises:
        CheckpointError: names the keys that differ.
    """
    different = [f"{key}: {old} there, {new} now" for key, (old, new) in differences(options, run.options).items()]
    tested = differences(test_options, run.test_options, is_train=False) if test_options else {}
    different += [f"{key} of the test: {old} there, {new} now" for key, (old, new) in tested.items()]
    now = inputs_of(run) if inputs else {}
    different += [
        f"{key}: other contents" for key, digest in (inputs or {}).items() if key in now and now[key] != digest
    ]
    if different:
        raise CheckpointError(
            f"{what} was made with other options than the sweep has now ({'; '.join(different)}). Runs that differ in "
            "anything but the variant are not compared: put the options back, give the sweep another name, or remove "
            "what is there to make it again (where the test alone differs its record, and the training stays)"
        )


def _write_inputs(run: PlannedRun, file: Path) -> None:
    """Keep what a training is about to read, for the day on which it goes on."""
    text = json.dumps({place: digest for place, digest in inputs_of(run).items() if not place.startswith("test:")})
    atomic_write(file, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _last(log: Path) -> str:
    """Return where to look, and the last line that says what was wrong."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    said = next((line for line in reversed(lines) if "error" in line.lower()), lines[-1] if lines else "")
    return f"see '{log}': {said}" if said else f"see '{log}'"


@contextmanager
def _held(file: Path) -> Iterator[int | None]:
    """Keep other processes from making the same run: a job array and a command by hand may meet."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            lock = stack.enter_context(locked(file))
        except BlockingIOError as error:
            raise Busy(f"{file.name} is being made by another process") from error
        except OSError as error:  # of file systems without locks; to wait would be to wait for ever
            raise RunFailed(
                f"{file.name}: '{file}' cannot be locked ({error}), so that two processes might make this run; put the "
                "sweep on a file system that has locks (of NFS and Lustre a mount option)"
            ) from error
        yield lock
