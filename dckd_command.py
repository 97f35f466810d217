"""Where the command ``basicsr`` starts: beside the package, so that what needs no PyTorch starts without it.

``import dckd_basicsr`` registers everything with BasicSR, which takes seconds and hundreds of megabytes. In a process
that has imported this module before, the package leaves that to the commands that need it (``dckd_basicsr.install``
says when); ``basicsr --help`` and ``basicsr prepare`` do not.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; see ``dckd_basicsr.cli.main``.

    Args:
        arguments: what follows ``basicsr``; None takes those of the process.

    Returns:
        Exit status.
    """
    from dckd_basicsr.cli import main as run

    return run(arguments)
