"""`basicsr distill`, killed while it trains and started again: one student, as if it had not been stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml

from dckd_basicsr.archs import build
from dckd_basicsr.weight_files import load_weights
from tests.tiny import STUDENT, TEACHER, write_photos

ENVIRONMENT = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
COMMAND = [sys.executable, "-m", "dckd_basicsr", "distill", "teacher.pth", "photos", "-o", "small", "--student",
           "tiny.yml", "--iterations", "300", "--batch", "2"]  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distill")
    write_photos(folder / "photos", 4, size=(90, 110))
    torch.manual_seed(0)
    torch.save({"params": build(TEACHER).net.state_dict()}, folder / "teacher.pth")
    (folder / "tiny.yml").write_text(yaml.safe_dump({"network_g": STUDENT}))
    return folder


def start(folder):
    return subprocess.Popen(
        COMMAND, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_from_photos_to_a_measured_student_with_a_kill_between(project):
    first = start(project)
    run = project / "small" / "experiments" / "student"
    while not list((run / "training_states").glob("*.complete")):
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.05)
    first.send_signal(signal.SIGINT)
    said, _ = first.communicate(timeout=120)
    assert first.returncode == 130, said
    assert not (run / "models" / "net_g_latest.pth").is_file(), "it was stopped while it trained"

    second = start(project)
    said, _ = second.communicate(timeout=300)
    assert second.returncode == 0, said
    out = project / "small"
    rows = json.loads((out / "results.json").read_text())
    assert [row["title"].split()[0] for row in rows] == ["bicubic", "student", "teacher"]
    assert all(row["psnr"] > 10 for row in rows)
    assert rows[1]["parameters"] < rows[2]["parameters"]
    assert (out / "comparison.png").is_file()
    assert (out / "report.html").is_file()

    # The option file by hand, without a stop: the same bits.
    train = [sys.executable, "-m", "dckd_basicsr", "train", "-opt", "options.yml", "--force_yml", "name=whole"]
    subprocess.run(train, cwd=out, env=ENVIRONMENT, check=True, capture_output=True)
    mine, whole = (
        load_weights(out / "experiments" / name / "models" / "net_g_latest.pth", "params_ema").state
        for name in ("student", "whole")
    )
    assert all(torch.equal(mine[key], whole[key]) for key in whole)
