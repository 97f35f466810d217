"""Fixtures that build the tiny model without the pipelines."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from basicsr.models import build_model

from dckd_basicsr.config import parse_options
from tests.tiny import write_job


@pytest.fixture(scope="module")
def model_job(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_job(folder)
    return folder


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What the run's log says during the test, from level INFO, in order."""
    texts: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            texts.append(record.getMessage())

    logger, handler = logging.getLogger("basicsr"), Keep()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield texts
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture
def build(model_job, tmp_path, monkeypatch):
    """Build the tiny model with overrides; its checkpoints go to a folder of the test."""
    monkeypatch.chdir(model_job)

    def make(*overrides: str, device: int = 0):
        arguments = ["-opt", "job.yml", "--force_yml", f"num_gpu={device}", *overrides]
        opt, _ = parse_options(tmp_path, argv=arguments)
        for key in ("models", "training_states"):
            Path(opt["path"][key]).mkdir(parents=True, exist_ok=True)
        return build_model(opt)

    return make
