"""A training state of version 0.1 goes on as in 0.1: see ``tests/golden/state_0.1/README.md``."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.curves import FOLDER, TOLERANCE, listened, machine, read
from tests.tiny import write_job

STATE = FOLDER / "state_0.1"
PLACES = {
    "net_g_6.pth": "models",
    "6.state": "training_states",
    "6.complete": "training_states",
}


def test_a_state_of_0_1_resumes_and_trains_on_as_there(tmp_path):
    write_job(tmp_path)
    shutil.copy(STATE / "job.yml", tmp_path)
    run_folder = tmp_path / "experiments/old"
    for name, place in PLACES.items():
        (run_folder / place).mkdir(parents=True, exist_ok=True)
        shutil.copy(STATE / name, run_folder / place)
    curve = listened(tmp_path, "train", "-opt", "job.yml", "--auto_resume")
    validations = json.loads((run_folder / "validations.json").read_text(encoding="utf-8"))

    where, golden = read(STATE / "resumed.txt")
    expected = json.loads((STATE / "validations.json").read_text(encoding="utf-8"))
    assert {iteration for iteration, _ in curve} == set(range(7, 13))
    if where == machine():
        assert curve == golden
        assert validations == expected
    else:
        assert curve == pytest.approx(golden, rel=TOLERANCE)
        assert [record.pop("metrics") for record in validations] == [
            pytest.approx(record.pop("metrics"), rel=TOLERANCE) for record in expected
        ]
        assert validations == expected
