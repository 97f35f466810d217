"""Work on many files with several processes, in order and in constant memory."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import cv2
from tqdm import tqdm

from .. import install
from ..errors import DatasetError, DCKDError

__all__ = ["default_workers", "ordered_map", "progress"]

T = TypeVar("T")
R = TypeVar("R")


def default_workers() -> int:
    """Return the number of processes worth starting: one for each core this process may use, 16 at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 16)


def ordered_map(function: Callable[[T], R], items: Iterable[T], *, workers: int) -> Generator[R, None, None]:
    """Yield ``function(item)`` for each item, in order.

    Args:
        function: importable by name (or a partial of such), as it travels to other processes.
        items: read only as fast as results are taken; ``str(item)`` names an item in errors.
        workers: processes; 0 works in this one. At most ``2 * workers`` items are under way.

    Raises:
        DatasetError: the first error, in the order of the items, with the item's name; or a process died.
    """
    if workers == 0:
        for item in items:
            yield _call(function, item)
        return
    # Forking a process that runs threads can deadlock; the fork server is started clean, and imports us only once.
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        # A light process has light workers; where BasicSR is needed already, a user's script may need it in them too.
        light = [] if install.is_done() else ["dckd_command"]
        context.set_forkserver_preload([*light, __name__, getattr(function, "func", function).__module__])
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    pending: deque[tuple[T, Future[R]]] = deque()
    try:
        for item in items:
            pending.append((item, pool.submit(_call, function, item)))
            if len(pending) >= 2 * workers:
                yield pending[0][1].result()
                pending.popleft()
        while pending:
            yield pending[0][1].result()
            pending.popleft()
    except BrokenProcessPool as error:
        raise DatasetError(
            f"a worker process died at or soon after '{pending[0][0]}', often for want of memory; use fewer workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def progress(items: Iterable[T], *, total: int, what: str, unit: str) -> Iterator[T]:
    """Pass ``items`` on, with a progress bar and the remaining time on stderr (rarely refreshed in a log file)."""
    interval = 0.2 if sys.stderr.isatty() else 20.0
    return iter(tqdm(items, total=total, desc=what, unit=unit, mininterval=interval, maxinterval=interval))


def _call(function: Callable[[T], R], item: T) -> R:
    try:
        return function(item)
    except DCKDError:
        raise
    except Exception as error:
        raise DatasetError(f"'{item}': {type(error).__name__}: {error}") from error


def _start_worker() -> None:
    # Ctrl-C reaches every process of the terminal; the parent alone decides, and winds the pool up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)  # the processes already fill the cores
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """End this worker when the parent is killed outright: nobody else would, and it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
