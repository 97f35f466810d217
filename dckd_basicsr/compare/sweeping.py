"""Making what is missing of a sweep: one run after the other, or one a GPU; and stopping where nothing is lost."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from queue import SimpleQueue

import torch

from ..errors import DCKDError, Interrupted
from .plan import PlannedRun
from .progress import Progress, done_line
from .record import RunRecord
from .run import Busy, Maker

__all__ = ["finish", "places"]

_LOOK = 2.0
"""Seconds between looks at how far the runs are."""


def places(jobs: int | None) -> list[dict[str, str]]:
    """Return the variables of each place where a run can go on: one a GPU, or processes that share the cores.

    Args:
        jobs: how many; None for one a GPU, or one where there is none.
    """
    gpus = torch.cuda.device_count()
    count = jobs or max(1, gpus)
    if gpus > 1:
        shown = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        ids = [each for each in shown if each] or [str(i) for i in range(gpus)]
        return [{"CUDA_VISIBLE_DEVICES": ids[i % gpus]} for i in range(count)]
    if count > 1 and not gpus and "OMP_NUM_THREADS" not in os.environ:
        return [{"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // count))} for _ in range(count)]
    return [{} for _ in range(count)]


def finish(
    runs: Sequence[PlannedRun],
    maker: Maker,
    where: Sequence[Mapping[str, str]],
    hours: float | None = None,
    after: Callable[[Mapping[str, RunRecord]], None] = lambda records: None,
) -> tuple[dict[str, RunRecord], list[str]]:
    """Make the runs that are missing; what one that failed needs is told at the end, the others go on.

    Args:
        runs: of the sweep.
        maker: of runs.
        where: places, as :func:`places` returns them.
        hours: training hours, of what is done already too, after which no run starts.
        after: called with all records whenever a run is done.

    Returns:
        All records, and what went wrong.

    Raises:
        Interrupted: a signal asked to stop; every training has saved.
        CheckpointError: what is there of some run was made with other options.
    """
    records = {run.name: record for run in runs if (record := maker.record(run)) is not None}
    waiting = [run for run in runs if run.name not in records]
    failed: list[str] = []
    free: SimpleQueue[Mapping[str, str]] = SimpleQueue()
    for place in where:
        free.put(place)
    told: set[str] = set()

    def make(run: PlannedRun) -> RunRecord:
        place = free.get()
        try:
            return maker.make(run, place)
        finally:
            free.put(place)

    with _Signals() as signals, ThreadPoolExecutor(len(where)) as pool:
        working: dict[Future[RunRecord], PlannedRun] = {}
        while waiting or working:
            while waiting and len(working) < len(where) and not signals.number:
                if hours is not None and Progress(runs, records, maker.root).hours >= hours:
                    failed.append(f"{len(waiting)} runs were not started: the sweep's {hours:g} hours are used up")
                    waiting = []
                    break
                run = waiting.pop(0)
                working[pool.submit(make, run)] = run
            if signals.number:
                _say("stopping: the trainings save what they have ...")
                maker.stop()
                raise Interrupted(
                    f"stopped by {signal.Signals(signals.number).name}; {len(records)} of {len(runs)} runs are done, "
                    "the others go on with the same command",
                    signals.number,
                )
            done, _ = wait(working, _LOOK, FIRST_COMPLETED)
            _status(Progress(runs, records, maker.root), len(where))
            for future in done:
                run = working.pop(future)
                try:
                    records[run.name] = future.result()
                except Busy as error:
                    if run.name not in told:
                        _say(f"{error}; looking again until it is done")
                        told.add(run.name)
                    waiting.append(run)
                    time.sleep(_LOOK)
                except DCKDError as error:
                    failed.append(str(error))
                    _say(f"[{len(records)}/{len(runs)}] failed: {error}")
                except Exception as error:  # a full disk, a network of the user's own: the others go on all the same
                    failed.append(f"{run.name}: {type(error).__name__}: {error}")
                    _say(f"[{len(records)}/{len(runs)}] failed: {failed[-1]}")
                else:
                    _say(f"[{len(records)}/{len(runs)}] {done_line(run, records[run.name])}")
                    after(records)
                    left = Progress(runs, records, maker.root)
                    if left.missing:
                        _say(f"    {left.line(len(where))}")
    _clear()
    return records, failed


class _Signals:
    """Remembers the first of SIGINT and SIGTERM while its ``with`` block runs."""

    def __init__(self) -> None:
        self.number = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> _Signals:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python forbids it
            self._before = {n: signal.signal(n, self._receive) for n in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _receive(self, number: int, _: object) -> None:
        self.number = self.number or number


def _say(text: str) -> None:
    _clear()
    print(text, flush=True)


def _status(progress: Progress, jobs: int) -> None:
    if sys.stderr.isatty():
        width = os.get_terminal_size(sys.stderr.fileno()).columns
        print(f"\r\033[K{progress.line(jobs)[: width - 1]}", end="", file=sys.stderr, flush=True)


def _clear() -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
