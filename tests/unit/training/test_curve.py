"""The curve of a run: what comes back of what was logged."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from dckd_basicsr.training.curve import CURVE_FILE, Curve, read_curve


def test_numbers_of_any_make_and_lines_that_a_crash_cut(tmp_path: Path) -> None:
    curve = Curve(tmp_path, 0)
    for i in (1, 2, 3):  # another model's log may hold what is no number of Python's
        curve.add({"iter": i, "time": 0.5, "a": torch.tensor(0.25), "b": np.float32(2), "c": math.nan})
    with (tmp_path / CURVE_FILE).open("a") as file:
        file.write('{"iter": 4, "ti')
    line = {"time": 0.5, "a": 0.25, "b": 2.0, "c": None}
    assert read_curve(tmp_path) == [{"iter": i, **line} for i in (1, 2, 3)]
    Curve(tmp_path, 2).add({"iter": 3, "time": 1.0})  # resumed after iteration 2
    assert read_curve(tmp_path) == [{"iter": 1, **line}, {"iter": 2, **line}, {"iter": 3, "time": 1.0}]


def test_a_curve_that_cannot_be_written_is_told_once_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(logging.getLogger("basicsr"), "warning", lambda text, *given: told.append(text % given))
    curve = Curve(tmp_path / "not_there", 0)
    curve.add({"iter": 1})
    curve.add({"iter": 2})
    assert len(told) == 1
    assert "curve.jsonl' cannot be written" in told[0]
