"""Fixtures that build the tiny model without the pipelines."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from basicsr.models import build_model

from dckd_basicsr.config import parse_options
from dckd_basicsr.distill import TERMS
from tests.terms import RegressedTerm
from tests.tiny import write_job


@pytest.fixture(scope="module")
def model_job(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_job(folder)
    return folder


@pytest.fixture
def regressed(monkeypatch) -> None:
    """Register the feature term of the tests."""
    monkeypatch.setitem(TERMS, "regressed", RegressedTerm)


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
    """Build the tiny model with overrides; its checkpoints go to a folder of the test.

    ``train`` and ``top`` are options that go past the check of the file.
    """
    monkeypatch.chdir(model_job)

    def make(*overrides: str, device: int = 0, train: Mapping[str, Any] | None = None, **top: Any):
        arguments = ["-opt", "job.yml", "--force_yml", f"num_gpu={device}", *overrides]
        opt, _ = parse_options(tmp_path, argv=arguments)
        for key in ("models", "training_states"):
            Path(opt["path"][key]).mkdir(parents=True, exist_ok=True)
        opt["train"].update(train or {})
        opt.update(top)
        return build_model(opt)

    return make
