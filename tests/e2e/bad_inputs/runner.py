"""Running a row: in a copy of the job, through the command line, with a look at what it left behind."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml

from dckd_basicsr.cli import main
from tests.tiny import write_job

from .row import BadInput

__all__ = ["Outcome", "run_row", "write_files"]


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        status: the exit status.
        message: what it printed on stderr, without progress bars before it.
        touched: files and folders that it added, removed or changed.
    """

    status: int
    message: str
    touched: list[str]


def write_files(folder: Path) -> Path:
    """Write what every row starts from."""
    options = yaml.safe_load(write_job(folder).read_text(encoding="utf-8"))
    tested = {key: options[key] for key in ("name", "model_type", "scale", "num_gpu", "network_g")}
    tested["datasets"] = {"test_1": options["datasets"]["val"]}
    tested |= {"network_g": options["network_teacher"], "path": {"pretrain_network_g": "teacher.pth"}}
    (folder / "test.yml").write_text(yaml.safe_dump(tested, sort_keys=False), encoding="utf-8")
    return folder


def run_row(row: BadInput, files: Path, folder: Path) -> Outcome:
    """Copy ``files`` to ``folder``, spoil the copy, run the command there; paths below it come out relative."""
    shutil.copytree(files, folder)
    errors = io.StringIO()
    back = Path.cwd()
    os.chdir(folder)
    try:
        row.spoil()
        before = _contents(folder)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
            try:
                status = main(shlex.split(row.command))
            except SystemExit as ended:  # argparse: the command line itself is wrong
                status = int(ended.code or 0)
        after = _contents(folder)
    finally:
        os.chdir(back)
    printed = errors.getvalue().replace(f"{folder.resolve()}/", "").replace(f"{folder}/", "")
    touched = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    start = printed.find("basicsr: error:") if status == 1 else printed.rfind("basicsr")
    return Outcome(status, printed[max(start, 0) :].strip(), touched)


def _contents(folder: Path) -> dict[str, str]:
    """Every file and folder below, with a hash of what is in it."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in folder.rglob("*")
    }
