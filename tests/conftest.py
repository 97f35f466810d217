"""Fixtures for all tests. Nothing here needs more than the repository; research-only data is used when present."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import dckd_basicsr  # noqa: F401  (before anything of basicsr)
from tests import ROOT


def shared_folder() -> Path | None:
    """The folder of golden numbers and research-only images, if this machine has it."""
    folder = Path(os.environ.get("DCKD_SHARED", ROOT.parent / "shared"))
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def shared() -> Path:
    """That folder, or skip."""
    folder = shared_folder()
    if folder is None:
        pytest.skip("no research-only data: set DCKD_SHARED to the folder that holds it")
    return folder


@pytest.fixture(scope="session")
def golden(shared: Path):
    """Read a golden file: (tensors, configuration)."""

    def read(name: str) -> tuple[dict[str, torch.Tensor], dict]:
        with safe_open(shared / "golden" / f"{name}.safetensors", "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return tensors, json.loads(file.metadata()["config"])

    return read


@pytest.fixture(autouse=True)
def _a_process_as_it_starts() -> Iterator[None]:
    """A test leaves neither random numbers nor a precision to the next one: which that is differs from run to run."""
    torch.manual_seed(0)
    _pytorch_precision()
    yield
    _pytorch_precision()


def _pytorch_precision() -> None:
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True


_LONG = ("e2e", "terms", "tools", "lmdb", "package", "training", "models", "recording", "config")
"""Folders in the order in which they begin, those with the longest files first: two processes then end together."""


def _turn(item: pytest.Item) -> int:
    parts = item.path.relative_to(ROOT / "tests").parts
    return next((i for i, name in enumerate(_LONG) if name in parts[:2]), len(_LONG))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first; GPU tests skip visibly where there is none."""
    items.sort(key=_turn)  # and otherwise as they were
    if torch.cuda.is_available():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
