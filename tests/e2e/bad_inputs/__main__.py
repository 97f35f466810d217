"""Print ``docs/reference/messages.md``."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from . import GROUPS
from .runner import run_row, write_files

_HEAD = """\
# What the messages say

Bad inputs that are tested, the command, and the message as printed: before anything is written, without a traceback,
with exit status 1 (2 where the command line itself is wrong). `job.yml` is a tiny DCKD run with its data, teacher and
VQGAN beside it, `test.yml` its test. Most mistakes are made with `--force_yml`, and read the same in the file. Reasons
in brackets come from the libraries that read the files, and differ between their versions.

Printed by `python -m tests.e2e.bad_inputs`; `test_bad_inputs.py` runs every row.
"""


def main() -> None:
    """Run every row in a scratch folder, and print the document."""
    text = [_HEAD]
    with tempfile.TemporaryDirectory() as scratch:
        files = write_files(Path(scratch, "files"))
        for group, rows in GROUPS.items():
            text.append(f"## {group}\n")
            for row in rows:
                message = run_row(row, files, Path(scratch, "run")).message
                text.append(f"**{row.what}**\n\n```text\n$ basicsr {row.command}\n{message}\n```\n")
                shutil.rmtree(Path(scratch, "run"))
    print("\n".join(text).rstrip())


main()
