"""What is said of a finished student, and its files: the words follow the numbers, and no export is lost."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest

from dckd_basicsr.archs import build
from dckd_basicsr.errors import CheckpointError
from dckd_basicsr.inference import add_results
from dckd_basicsr.portable import open_network
from dckd_basicsr.project import HELD_OUT, measure
from dckd_basicsr.project.deliver import deliver
from dckd_basicsr.project.outcome import Outcome, Row, write_outcome
from dckd_basicsr.project.plan import Plan
from tests.tiny import write_photos
from tests.unit.project.parts import EDSR, NAFNET, WISH, teacher_file

BICUBIC = Row("bicubic", None, None, 28.0, 0.8, 33.0)
STUDENT = Row("student", 1_000, 50.0, 29.0, 0.8, 34.0)
TEACHER = Row("teacher", 20_000, 800.4, 30.0, 0.85, None)
PLAN = Plan(WISH, 2, "compact-s", EDSR, "dckd_shallow", 1, 8, 1e-3, ("a",), 10)


def outcome(*rows):
    return Outcome(rows, "comparison.png", "cpu", "PSNR of whole images.")


@pytest.fixture
def finished(tmp_path):
    """The folder of a project after its tests, with one held-out image."""
    cv2.imwrite(str(tmp_path / "comparison.png"), np.zeros((4, 4, 3), np.uint8))
    add_results(tmp_path / "results/student", "held_out", {"a": {"psnr": 30.0}})
    add_results(tmp_path / "results/student", "teacher", {"a": {"psnr": 34.0}})
    (tmp_path / HELD_OUT / "LQ").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / HELD_OUT / "LQ/tiny.png"), np.zeros((8, 40, 3), np.uint8))
    return tmp_path


def card(folder, plan, rows, formats=("safetensors",)):
    network = teacher_file(folder, EDSR if plan.scale == 2 else NAFNET)
    done = deliver(plan, network, "teacher.pth", network, outcome(*rows), formats, folder)
    return re.sub(" +", " ", done.card.read_text("utf-8"))


def test_a_student_that_is_behind_its_input_is_told():
    behind = replace(STUDENT, psnr=27.9)
    assert outcome(BICUBIC, behind, TEACHER).is_behind()
    assert not outcome(BICUBIC, STUDENT, TEACHER).is_behind()
    alone = [replace(row, psnr=None, ssim=None) for row in (BICUBIC, behind, TEACHER)]
    assert not outcome(*alone).is_behind()
    assert outcome(*alone).gain == (33.0, 34.0)
    assert "SSIM" not in outcome(*alone).table()


def test_the_table_is_kept_with_how_it_was_measured(tmp_path):
    write_outcome(outcome(BICUBIC, STUDENT, TEACHER), tmp_path)
    text = (tmp_path / "results.md").read_text("utf-8")
    assert text.endswith("|\n\nPSNR of whole images.\n")
    assert [row["title"] for row in json.loads((tmp_path / "results.json").read_text())] == [
        "bicubic",
        "student",
        "teacher",
    ]


def test_a_student_is_delivered_whatever_its_teacher_is_called(finished):
    named = str(teacher_file(finished, EDSR).file.rename(finished / "my teacher (1) 网.pth"))
    network = open_network(named)
    for formats in (["pth", "safetensors"], ["safetensors"]):
        done = deliver(PLAN, network, named, network, outcome(BICUBIC, STUDENT, TEACHER), formats, finished)
        names = {path.name for path in (finished / "student").iterdir()}
        weights = {f"2x_compact-s_my_teacher_1.{suffix}" for suffix in formats}
        assert names == {*weights, "README.md", "config.json", "openmodeldb.json", "comparison.png"}
        assert {file.name for files in done.files.values() for file in files} == weights
        assert all(file.is_file() for files in done.files.values() for file in files)
    assert "trained to do what my teacher (1) 网 (EDSR) does" in done.card.read_text(encoding="utf-8")
    assert not list(finished.glob(".dckd.tmp-*"))


def test_an_export_that_fails_leaves_the_earlier_one(finished, monkeypatch):
    network = teacher_file(finished, EDSR)
    give = (PLAN, network, "teacher.pth", network, outcome(BICUBIC, STUDENT, TEACHER))
    done = deliver(*give, ["pth"], finished)
    before = {path: path.read_bytes() for path in (finished / "student").iterdir()}

    def fail(*_, **__):
        raise CheckpointError("no room")

    monkeypatch.setattr("dckd_basicsr.project.deliver.export_network", fail)
    with pytest.raises(CheckpointError, match="no room"):
        deliver(*give, ["safetensors"], finished)
    assert {path: path.read_bytes() for path in (finished / "student").iterdir()} == before
    assert done.files["pth"][0] in before
    assert not list(finished.glob(".dckd.tmp-*"))


@pytest.mark.parametrize(
    ("student", "said"),
    [
        (
            STUDENT,
            "smaller (1,000 parameters, the teacher 20,000) and faster (50 ms per megapixel of output, the teach",
        ),
        (replace(STUDENT, milliseconds=900.0), "smaller (1,000 parameters, the teacher 20,000) and slower (900 ms"),
        (replace(STUDENT, parameters=20_000), "as large (20,000 parameters, the teacher 20,000) and faster (50 ms"),
        (replace(STUDENT, parameters=30_000, milliseconds=900.0), "larger (30,000 parameters, the teacher 20,000) and"),
    ],
)
def test_a_card_says_what_was_measured(finished, student, said):
    assert f"It is {said}" in card(finished, PLAN, (BICUBIC, student, TEACHER))


def test_the_student_of_an_option_file_is_called_by_its_network(finished):
    text = card(finished, replace(PLAN, student="runs/mine.yml"), (BICUBIC, STUDENT, TEACHER))
    assert "# EDSR x2, distilled from teacher\n" in text
    assert "EDSR, trained to do what teacher (EDSR) does." in text
    assert "mine.yml " not in text


def test_a_card_says_by_how_much_a_student_is_behind(finished):
    behind = replace(STUDENT, psnr=27.5)
    text = card(finished, PLAN, (BICUBIC, behind, TEACHER))
    assert "no nearer to the ground truth than its input enlarged bicubically (27.50 dB, the input 28.00 dB)" in text
    assert "measured on 1 photo, too few" in text
    assert "no nearer" not in card(finished, PLAN, (BICUBIC, STUDENT, TEACHER))
    alone = [
        replace(row, psnr=None, to_teacher=value) for row, value in zip((BICUBIC, STUDENT, TEACHER), (33, 32, None))
    ]
    still = replace(PLAN, scale=1, network=NAFNET, student="nafnet-16", wish=replace(WISH, kind="lq"))
    text = card(finished, still, alone)
    assert "no nearer to the teacher's outputs than its input (32.00 dB, the input 33.00 dB)" in text
    assert "bicubic" not in text


def test_a_card_names_the_tiles_of_its_numbers(finished):
    rows = (BICUBIC, STUDENT, TEACHER)
    text = card(finished, PLAN, rows)
    assert text.count("Y channel, 2 px cropped at the border, whole images |") == 2
    text = card(finished, replace(PLAN, tiles={"student": 64, "teacher": 96}), rows)
    own = "Y channel, 2 px cropped at the border, in tiles of 64 px with an overlap of 32, for want of memory"
    assert f"{own} |" in text
    assert f"{own}, the teacher in tiles of 96 px with an overlap of 32, for want of memory |" in text


def test_a_teacher_of_branches_is_counted_and_timed_merged(tmp_path, monkeypatch):
    """As the student is: a SPAN's branches are one convolution each once it does not train."""
    span = {"type": "spandrel:SPAN", "num_in_ch": 3, "num_out_ch": 3, "feature_channels": 8, "upscale": 2}
    network = teacher_file(tmp_path, span)
    timed = []

    def time(net, facts, image, repeats):
        timed.append(sum(p.numel() for p in net.parameters()))
        return 1.0

    monkeypatch.setattr("dckd_basicsr.project.outcome.milliseconds_per_megapixel", time)
    photos = write_photos(tmp_path / "photos", 1, size=(60, 80))
    picture = cv2.imread(str(next(photos.iterdir())))
    for part, size in (("LQ", (40, 30)), ("GT", (80, 60)), ("teacher", (80, 60))):
        (tmp_path / HELD_OUT / part).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / HELD_OUT / part / "a.png"), cv2.resize(picture, size))
    for method in ("input", "student"):
        (tmp_path / f"results/{method}/visualization/teacher").mkdir(parents=True)
        cv2.imwrite(str(tmp_path / f"results/{method}/visualization/teacher/a_{method}.png"), picture)
        for name in ("held_out", "teacher"):
            add_results(tmp_path / "results" / method, name, {"a": {"psnr": 30.0, "ssim": 0.9}})
    found = measure(PLAN, network, network, tmp_path)
    _, student, teacher = found.rows
    assert "Y channel, 2 px cropped at the border; mean over 1 held-out image, restored whole." in found.protocol
    plain = sum(p.numel() for p in build(span).net.parameters())
    assert student.parameters == teacher.parameters == timed[0] == timed[1] < plain / 3
