"""A command that has to be refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from dckd_basicsr.cli import main

__all__ = ["refused"]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run it; return the message of its one error. No run was begun, and nothing made a file called ``ran``."""
    assert main(arguments) == 1
    message = capsys.readouterr().err
    assert "basicsr: error:" in message
    assert "Traceback" not in message
    assert not Path("experiments").exists()
    assert not Path("ran").exists()
    return message
