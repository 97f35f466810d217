"""Steps of a longer job, each a command line that a user could type."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

from ..errors import DCKDError, Interrupted

__all__ = ["run_basicsr"]


def run_basicsr(folder: Path, *arguments: str, quiet: bool = False) -> None:
    """Print a command line and run it in ``folder``, in a process of its own.

    Args:
        folder: where it runs.
        arguments: after ``basicsr``.
        quiet: keep back what it says, unless it fails.

    Raises:
        Interrupted: a signal stopped it, after it saved.
        DCKDError: it ended with an error, which it printed.
    """
    print(f"\n$ basicsr {shlex.join(arguments)}", flush=True)
    command = [sys.executable, "-m", "dckd_basicsr", *arguments]
    finished = subprocess.run(command, cwd=folder, check=False, capture_output=quiet, text=True)
    status = finished.returncode
    if status > 128 or status < 0:
        signum = -status if status < 0 else status - 128
        raise Interrupted(f"`basicsr {arguments[0]}` was stopped; the same command goes on from here", signum)
    if status:
        said = f":\n{finished.stderr.strip()[-2000:]}" if quiet and finished.stderr else ""
        raise DCKDError(f"`basicsr {arguments[0]}` ended with status {status}{said}")
