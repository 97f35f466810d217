"""`basicsr distill`, killed while it trains and started again: one student, as if it had not been stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from dckd_basicsr.archs import build
from dckd_basicsr.cli import main
from dckd_basicsr.errors import DCKDError
from dckd_basicsr.project import hold_folder, run_basicsr
from dckd_basicsr.weight_files import load_weights
from tests.tiny import STUDENT, TEACHER, write_photos
from tests.tiny import run as run_command

ENVIRONMENT = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
COMMAND = [sys.executable, "-m", "dckd_basicsr", "distill", "teacher.pth", "photos", "-o", "small", "--student",
           "tiny.yml", "--iterations", "300", "--batch", "2"]  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distill")
    damaged = write_photos(folder / "photos", 5, size=(90, 110)) / "photo0.png"
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)  # behind its header
    damaged.write_bytes(data)
    torch.manual_seed(0)
    torch.save({"params": build(TEACHER).net.state_dict()}, folder / "teacher.pth")
    (folder / "tiny.yml").write_text(yaml.safe_dump({"network_g": STUDENT}))
    return folder


def start(folder, command=COMMAND):
    return subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # the tests themselves may run under nohup
    )  # fmt: skip


def training_of(command):
    """Return the number of the training that a command started."""
    numbers = Path(f"/proc/{command.pid}/task/{command.pid}/children").read_text().split()
    said = {int(number): Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0") for number in numbers}
    return next(number for number, words in said.items() if b"train" in words)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_no_second_training_while_one_goes_on(project):
    """The training is so long that it ends when it is told to, and not before."""
    command = [*COMMAND, "-o", "busy", "--iterations", "1000000"]
    first = start(project, command)
    training = None
    try:
        while not (project / "busy" / "experiments" / "student" / "options.yml").is_file():
            assert first.poll() is None, first.communicate()[0]
            time.sleep(0.05)
        training = training_of(first)
        first.kill()  # which it cannot pass on
        second = start(project, command)
        said, _ = second.communicate(timeout=120)
        assert second.returncode == 1, said
        assert "another process is at work in 'busy' (a training goes on" in said
    finally:
        if training is None:
            first.terminate()  # which it passes on
        else:
            first.kill()
            os.kill(training, signal.SIGTERM)
    first.communicate(timeout=120)  # the end of what they said is that of the training

    with hold_folder(project / "busy"):  # so no training is left
        assert not (project / "busy" / "experiments" / "student" / "models" / "net_g_latest.pth").is_file()


def test_from_photos_to_a_measured_student_with_a_kill_between(project, monkeypatch, capsys):
    first = start(project)
    run = project / "small" / "experiments" / "student"
    while not list((run / "training_states").glob("*.complete")):
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.05)
    first.send_signal(signal.SIGHUP)  # the terminal closes
    said, _ = first.communicate(timeout=120)
    assert first.returncode == 128 + signal.SIGHUP, said
    assert "the same command goes on from here" in said
    with hold_folder(project / "small"):  # so no training is left
        pass
    assert not (run / "models" / "net_g_latest.pth").is_file(), "it was stopped while it trained"
    assert "left out: 'photos/photo0.png' is damaged" in said
    assert "Photos: 3 to train on, 1 held out" in said

    steps = []

    def step(folder, *arguments, quiet=False, lock=None):
        steps.append(arguments[0])
        done = run_command(folder, *arguments)
        assert done.returncode == 0, done.stderr

    monkeypatch.setattr("dckd_basicsr.project.run_basicsr", step)
    monkeypatch.chdir(project)
    assert main(COMMAND[3:]) == 0
    assert "Photos: 3 to train on, 1 held out" in capsys.readouterr().out
    assert steps == ["train", "test", "test", "test", "report"]
    out = project / "small"
    rows = json.loads((out / "results.json").read_text())
    assert [row["title"].split()[0] for row in rows] == ["bicubic", "student", "teacher"]
    assert all(row["psnr"] > 10 for row in rows)
    assert "mean over 1 held-out image, restored whole." in (out / "results.md").read_text()
    assert rows[1]["parameters"] < rows[2]["parameters"]
    assert (out / "comparison.png").is_file()
    assert (out / "report.html").is_file()
    assert {path.suffix for path in (out / "student").iterdir()} >= {".safetensors", ".md", ".json"}

    # The option file by hand, without a stop: the same bits.
    step(out, "train", "-opt", "options.yml", "--force_yml", "name=whole")
    mine, whole = (
        load_weights(out / "experiments" / name / "models" / "net_g_latest.pth", "params_ema").state
        for name in ("student", "whole")
    )
    assert all(torch.equal(mine[key], whole[key]) for key in whole)


def test_a_step_is_told_of_its_failure_and_its_command_is_shown(tmp_path, capfd):
    run_basicsr(tmp_path, "--version")
    shown = capfd.readouterr().out
    assert shown.startswith("\n$ basicsr --version\n")
    assert "dckd_basicsr" in shown
    with pytest.raises(DCKDError, match=r"(?s)`basicsr prepare` ended with status 1:.*photo folder 'nowhere'"):
        run_basicsr(tmp_path, "prepare", "sr", "nowhere", "out", "--scale", "2", quiet=True)
    assert "photo folder" not in capfd.readouterr().err
