"""The tiny job, in a folder of its own for every test; modules that need another one define theirs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.tiny import write_job


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_job(tmp_path_factory.mktemp("tiny")).parent


@pytest.fixture
def job(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path / "job")
    monkeypatch.chdir(tmp_path / "job")
    return tmp_path / "job"
