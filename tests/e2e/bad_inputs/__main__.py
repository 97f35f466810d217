"""Print ``docs/reference/messages.md``."""

from __future__ import annotations

import re
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

Printed by `python -m tests.e2e.bad_inputs`; `test_bad_inputs.py` runs every row. To find a message by its words, search
the site, or this file: folded parts are searched, too. What users of this field meet most is in
[troubleshooting](../troubleshooting.md).
"""


def main() -> None:
    """Run every row in a scratch folder, and print the document."""
    contents = [f"- [{group}](#{_anchor(group)}): {len(rows)} messages" for group, rows in GROUPS.items()]
    text = [_HEAD, "\n".join(contents) + "\n"]
    with tempfile.TemporaryDirectory() as scratch:
        files = write_files(Path(scratch, "files"))
        for group, rows in GROUPS.items():
            text.append(f"## {group}\n\n<details markdown>\n<summary>{len(rows)} messages</summary>\n")
            for row in rows:
                message = run_row(row, files, Path(scratch, "run")).message
                text.append(f"### {row.what}\n\n```text\n$ basicsr {row.command}\n{message}\n```\n")
                shutil.rmtree(Path(scratch, "run"))
            text.append("</details>\n")
    print("\n".join(text).rstrip())


def _anchor(heading: str) -> str:
    """What GitHub, and the site, call a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


main()
