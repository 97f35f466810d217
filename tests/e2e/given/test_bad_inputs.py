"""Bad input gets one clear error, and leaves nothing behind. The inputs are in ``bad_inputs/``."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from basicsr.archs import build_network

from dckd_basicsr.cli import main
from tests import ROOT
from tests.e2e.bad_inputs import GROUPS, ROWS, BadInput
from tests.e2e.bad_inputs.runner import run_row, write_files

DOCUMENT = ROOT / "docs" / "reference" / "messages.md"


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> Path:
    return write_files(tmp_path_factory.mktemp("bad"))


@pytest.fixture
def fresh(job, tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "job"
    shutil.copytree(job, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_message_and_nothing_left(row: BadInput, job: Path, tmp_path: Path):
    outcome = run_row(row, job, tmp_path / "job")
    assert outcome.status == row.status
    for text in row.says:
        assert text in outcome.message
    assert "Traceback" not in outcome.message
    assert "\x1b" not in outcome.message
    assert outcome.touched == []


def test_situations_differ():
    assert len({row.what for row in ROWS}) == len({row.command + row.what for row in ROWS}) == len(ROWS) >= 100
    assert all(row.says for row in ROWS)


def test_document_has_every_row():
    """What is not of this machine's libraries must be there: the situation, the command, and what the row asks for."""
    text = DOCUMENT.read_text("utf-8")
    sections = dict(re.findall(r"^### (.+?)\n\n```text\n(.*?)\n```$", text, re.DOTALL | re.M))
    assert list(sections) == [row.what for row in ROWS]
    for row in ROWS:
        assert sections[row.what].startswith(f"$ basicsr {row.command}\n")
        assert all(said in sections[row.what] for said in row.says), row.what
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings == list(GROUPS)
    for group, rows in GROUPS.items():
        assert f"- [{group}](#" in text.split("\n## ")[0]
        folded = text.split(f"\n## {group}\n")[1].split("\n## ")[0].strip()
        assert folded.startswith(f"<details markdown>\n<summary>{len(rows)} messages</summary>\n")
        assert folded.endswith("</details>")
        assert folded.count("\n### ") == len(rows)


def refused(capsys, *overrides: str) -> str:
    """Run a training, expect status 1 and no traceback, and return the message."""
    assert main(["train", "-opt", "job.yml", "--force_yml", *overrides]) == 1
    message = capsys.readouterr().err
    assert "Traceback" not in message
    assert not Path("experiments").exists()
    return message


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_gpu_asked_for_without_one(fresh, capsys):
    message = refused(capsys, "num_gpu=1")
    assert "num_gpu is 1" in message
    assert "num_gpu: auto" in message


def test_weights_of_another_network(fresh, capsys):
    message = refused(capsys, "network_teacher:num_feat=10")
    assert "path.pretrain_network_teacher: the weights in 'teacher.pth' do not fit EDSR" in message
    assert "conv_first.weight is (12, 3, 3, 3) in the file and (10, 3, 3, 3) in the network" in message
    assert "the file looks like EDSR with num_feat 12, num_block 2, upscale 2; change network_teacher" in message


def test_weights_are_reported_with_everything_else(fresh, capsys):
    message = refused(capsys, "network_teacher:num_block=3", "train:ema_decay=high")
    assert "2 problems" in message
    assert "4 missing: body.2.conv1.weight" in message


def test_teacher_of_another_scale_in_a_published_file(fresh, capsys):
    options = {"upscale": 4, "img_size": 16, "window_size": 8, "embed_dim": 12, "depths": [2, 2], "num_heads": [2, 2],
               "mlp_ratio": 2, "upsampler": "pixelshuffle"}  # fmt: skip
    torch.save({"params": build_network({"type": "SwinIR", **options}).state_dict()}, fresh / "swinir.pth")
    off = "path:pretrain_network_teacher=~"
    message = refused(capsys, "network_teacher={type: PretrainedNet, path: swinir.pth}", off)
    assert "scale is 2, but network_teacher (PretrainedNet) upscales by 4; make them equal" in message
    torch.save({"who.knows": torch.ones(3)}, fresh / "unknown.pth")
    message = refused(capsys, "network_teacher={type: PretrainedNet, path: unknown.pth}", off)
    assert "network_teacher (PretrainedNet): no architecture known to spandrel" in message


@pytest.mark.parametrize("content", [b"damaged", {"params": {"a": torch.ones(1)}}])
def test_resume_from_something_else(fresh, capsys, content):
    state = fresh / "9.state"
    if isinstance(content, bytes):
        state.write_bytes(content)
    else:
        torch.save(content, state)
    message = refused(capsys, "path:resume_state=9.state")
    assert "path.resume_state: " in message
    assert "9.state' is" in message or "9.state' was refused" in message


def test_the_job_itself_is_accepted(fresh, capsys):
    """Otherwise every row would pass for the wrong reason."""
    from dckd_basicsr.config import parse_options

    for name, training in (("job.yml", True), ("test.yml", False)):
        options, _ = parse_options(fresh, is_train=training, argv=["-opt", name])
        assert options["name"] == "tiny"
    assert main(["prepare", "verify", "data/GT.lmdb", "data/LQ_x2.lmdb", "--scale", "2"]) == 0
    assert main(["convert", "vqgan", "vqgan.pth", "vqgan.safetensors"]) == 0
