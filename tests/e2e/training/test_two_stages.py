"""MTKD through the command line: teachers are made one by a network that trains, and that one teaches a student."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from dckd_basicsr.weight_files import load_state
from tests.e2e.training.test_exact_resume import compare
from tests.tiny import TEACHER, job_options, run

TEACHERS = [{**TEACHER, "path": "teacher.pth"}, {"type": "Bicubic", "upscale": 2}]
AGGREGATION = {
    "type": "TeacherAggregation", "upscale": 2, "embed_dim": 8, "depths": [2], "num_heads": [2], "window_size": 4,
    "img_size": 16, "teachers": TEACHERS,
}  # fmt: skip
TERMS = ("logits_opt", "contrastive_opt", "distribution_opt", "consistency_opt")


def write(folder: Path, file: str, train: dict[str, Any], **top: Any) -> None:
    options = job_options({**dict.fromkeys(TERMS), "history": None, **train}) | top
    kept = {key: block for key, block in options.items() if key != "network_vqgan" and block is not None}
    (folder / file).write_text(yaml.safe_dump(kept, sort_keys=False))


def aggregate(folder: Path, job: Path) -> Path:
    shutil.copytree(job, folder)
    first = {"network_g": AGGREGATION, "network_teacher": None, "model_type": "RestorationModel", "path": {}}
    write(folder, "stage1.yml", {}, **first)
    done = run(folder, "train", "-opt", "stage1.yml")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def straight(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return aggregate(tmp_path_factory.mktemp("stages") / "straight", made)


def test_the_first_stage_resumes_exactly(straight: Path, tmp_path: Path) -> None:
    folder = tmp_path / "resumed"
    shutil.copytree(straight, folder)
    run_folder = folder / "experiments/tiny"
    for file in ("training_states/6.state", "models/net_g_6.pth", "models/net_g_latest.pth"):
        (run_folder / file).unlink()
    done = run(folder, "train", "-opt", "stage1.yml", "--auto_resume")
    assert done.returncode == 0, done.stderr
    assert compare(straight, folder, 6) == []
    weights = load_state(run_folder / "models/net_g_6.pth")
    assert not any(key for key in weights["params"] if "teacher" in key)
    assert weights["params"].keys() == weights["params_ema"].keys()
    assert not torch.equal(weights["params"]["body.conv_last.weight"], weights["params_ema"]["body.conv_last.weight"])


def test_the_second_stage_takes_its_result_for_a_teacher(straight: Path, tmp_path: Path) -> None:
    folder = tmp_path / "second"
    shutil.copytree(straight, folder)
    result = "experiments/tiny/models/net_g_latest.pth"
    second = {"name": "student", "network_teacher": AGGREGATION, "path": {"pretrain_network_teacher": result}}
    write(folder, "stage2.yml", {"losses": [{"type": "mtkd"}]}, **second)
    done = run(folder, "train", "-opt", "stage2.yml")
    assert done.returncode == 0, done.stderr
    assert "l_mtkd" in done.stderr
    assert "not the weights that were there" not in done.stderr
    (folder / "teacher.pth").unlink()
    done = run(folder, "train", "-opt", "stage2.yml")
    assert done.returncode == 1
    assert "network_teacher.teachers[0].path: 'teacher.pth' does not exist" in done.stderr
