"""The demo from photos to table and picture, with a handful of iterations."""

from __future__ import annotations

import cv2
import pytest

from dckd_basicsr.commands import demo
from tests.tiny import run

SHORT = ["train:total_iter=2", "train:scheduler:T_max=2", "train:history:schedule=[[2,1]]", "logger:print_freq=1"]
SHORT += ["val=~", "datasets:val=~"]


def test_both_students_are_trained_alike_measured_and_shown(tmp_path, monkeypatch, capsys):
    pytest.importorskip("skimage")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    commands = []

    def shortened(folder, *arguments):
        commands.append(arguments)
        if arguments[0] == "train":
            arguments = (*arguments, *(() if "--force_yml" in arguments else ("--force_yml",)), *SHORT)
        done = run(folder, *arguments)
        assert done.returncode == 0, done.stderr

    monkeypatch.setattr(demo, "run_basicsr", shortened)
    assert demo.run_demo(tmp_path) == 0

    assert [command[0] for command in commands] == ["prepare"] * 2 + ["train"] * 2 + ["test"] * 4 + ["report"]
    alone, distilled = (tmp_path / f"experiments/demo_x4_edsr{end}" for end in ("_alone", ""))
    logs = ["".join(log.read_text() for log in run.glob("train_*.log")) for run in (alone, distilled)]
    assert "l_logits" not in logs[0]
    assert "l_logits" in logs[1]
    first = [log.split("l_pix: ")[1].split()[0] for log in logs]
    assert first[0] == first[1]  # the same start, the same samples
    table = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert table in capsys.readouterr().out
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert rows[0] == ["method", "parameters", "ms / megapixel", "PSNR (dB)", "SSIM", "PSNR to the teacher (dB)"]
    assert [row[0] for row in rows[2:]] == ["bicubic", "student alone", "student, distilled", "teacher"]
    assert [row[1] for row in rows[2:]] == ["-", "158,979", "158,979", "1,517,571"]
    assert [row[3] for row in rows[2:] if row[0] in ("bicubic", "teacher")] == ["28.42", "29.80"]
    assert (rows[2][2], rows[-1][5]) == ("-", "-")
    assert all(float(cell) > 0 for row in rows[3:] for cell in row[2:5])
    picture = cv2.imread(str(tmp_path / "comparison.png"))
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert picture.shape == (2 * (224 + 40) + 6, 6 * 224 + 5 * 6, 3)
