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

from ..errors import DCKDError, Interrupted

__all__ = ["run_basicsr"]


def run_basicsr(folder: Path, *arguments: str, quiet: bool = False) -> None:
    """Print a command line and run it in ``folder``, in a process of its own, which is told of signals.

    Args:
        folder: where it runs.
        arguments: after ``basicsr``.
        quiet: keep back what it says, unless it fails.

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
    """Send a process the signals that ask this one to stop; yields those that came."""
    came: list[int] = []

    def tell(signum: int, frame: Any) -> None:
        came.append(signum)
        process.send_signal(signum)

    before = {number: signal.signal(number, tell) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
