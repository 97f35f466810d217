"""Processes of the command ``basicsr`` that begin where Python has imported PyTorch, which takes most of their time.

One process imports it, and forks for each command line. What it forks is a process of its own like any other: its
folder, environment, output and exit status are those of the installed command, and so is all it does from
``import dckd_command`` on. Nothing of this package or BasicSR is imported before.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

__all__ = ["can_fork", "run_warm"]

_SERVER = """
import gc, json, os, sys
import cv2, numpy, scipy.ndimage, torch, torchvision, yaml
gc.freeze()  # what is imported lives as long as they do, and is not looked through by each at its end
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if not child:
        os.chdir(job["folder"])
        os.environ.clear()
        os.environ.update(job["environment"])
        for number, name in enumerate((os.devnull, job["out"], job["err"])):
            file = os.open(name, os.O_RDWR | os.O_CREAT)
            os.dup2(file, number)
            os.close(file)
        sys.argv = ["basicsr", *job["arguments"]]
        import dckd_command
        sys.exit(dckd_command.main())
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
_AT_THE_START = ("OMP_", "MKL_", "PYTHON", "LD_", "CUDA", "TORCH")
"""Variables that are read when Python starts or PyTorch is imported."""


def can_fork() -> bool:
    """Tell whether processes can be forked here."""
    return hasattr(os, "fork") and sys.platform == "linux"


def run_warm(
    folder: Path, arguments: tuple[str, ...], environment: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run ``basicsr ARGUMENTS`` in ``folder``; output is captured.

    Raises:
        subprocess.TimeoutExpired: it took longer, and was killed.
    """
    read = {key: value for key, value in environment.items() if key.startswith(_AT_THE_START)}
    server = _server(tuple(sorted(read.items())))
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as held:
        out, err = Path(held, "out"), Path(held, "err")
        job = {"folder": str(folder.absolute()), "environment": dict(environment), "arguments": arguments}
        server.stdin.write(json.dumps({**job, "out": str(out), "err": str(err)}) + "\n")
        server.stdin.flush()
        child = int(server.stdout.readline())
        late = not select.select([server.stdout], [], [], timeout)[0]
        if late:
            os.kill(child, signal.SIGKILL)
        status = int(server.stdout.readline())
        assert out.is_file(), f"'{folder}' is no folder a command can start in"
        texts = [file.read_text(encoding="utf-8", errors="replace") for file in (out, err)]
    if late:
        raise subprocess.TimeoutExpired(["basicsr", *arguments], timeout, *texts)
    return subprocess.CompletedProcess(["basicsr", *arguments], status, *texts)


@cache
def _server(read: tuple[tuple[str, str], ...]) -> subprocess.Popen[str]:
    """Start the process that forks, for commands of which these variables are alike."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_AT_THE_START)}
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        env={**kept, **dict(read)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )

    def end() -> None:
        server.stdin.close()  # type: ignore[union-attr]
        server.wait(10)

    atexit.register(end)
    return server
