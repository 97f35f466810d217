"""Steps of a longer job, each a command line that a user could type."""

from __future__ import annotations

import contextlib
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..disk import locked
from ..errors import DCKDError, Interrupted

__all__ = ["hold_folder", "run_basicsr"]


@contextlib.contextmanager
def hold_folder(folder: Path) -> Iterator[int | None]:
    """Keep other processes from making the same project; yields the lock for :func:`run_basicsr`.

    Raises:
        DCKDError: another one is at it, or the folder cannot be locked.
    """
    with contextlib.ExitStack() as stack:
        try:
            lock = stack.enter_context(locked(folder / ".lock"))
        except BlockingIOError as error:
            raise DCKDError(
                f"another process is at work in '{folder}' (a training goes on when the command that began it is "
                "killed); wait until it has ended, or stop it"
            ) from error
        except OSError as error:
            raise DCKDError(
                f"'{folder}' cannot be locked ({error.strerror or error}), so that two processes might train in it; "
                "give -o a folder in which files can be written, on a file system that has locks (of NFS and Lustre a "
                "mount option)"
            ) from error
        yield lock


def run_basicsr(folder: Path, *arguments: str, quiet: bool = False, lock: int | None = None) -> None:
    """Print a command line and run it in ``folder``, in a process of its own, which is told of signals.

    Args:
        folder: where it runs.
        arguments: after ``basicsr``.
        quiet: keep back what it says, unless it fails.
        lock: number of a file whose lock it holds for as long as it lives, should this process be killed.

    Raises:
        Interrupted: a signal stopped it, after it saved what it saves.
        DCKDError: it ended with an error, which it printed.
    """
    print(f"\n$ basicsr {shlex.join(arguments)}", flush=True)
    command = [sys.executable, "-m", "dckd_basicsr", *arguments]
    with tempfile.TemporaryFile() as said:
        # In a session of its own Ctrl-C reaches it once, by way of this process.
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=said if quiet else None,
            stderr=said if quiet else None,
            start_new_session=True,
            pass_fds=() if lock is None else (lock,),
        )
        with _told(process) as signals:
            status = process.wait()
        said.seek(0)
        reason = said.read()[-2000:].decode(errors="replace").strip()
    if signals or status > 128 or status < 0:
        signum = signals[0] if signals else abs(status) % 128
        raise Interrupted(f"`basicsr {arguments[0]}` was stopped", signum)
    if status:
        raise DCKDError(f"`basicsr {arguments[0]}` ended with status {status}" + (f":\n{reason}" if reason else ""))


@contextlib.contextmanager
def _told(process: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """Send a process the signals that ask this one to stop; yields those that came.

    In the place of SIGHUP, of a terminal that was closed, it gets SIGTERM, for which a training listens. Where SIGHUP
    is ignored (``nohup``), it stays so.
    """
    came: list[int] = []

    def tell(signum: int, frame: Any) -> None:
        came.append(signum)
        process.send_signal(signum if signum == signal.SIGINT else signal.SIGTERM)

    numbers = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        numbers.append(hangup)
    before = {number: signal.signal(number, tell) for number in numbers}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
