"""Bad input gets one clear error, and leaves nothing behind."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from basicsr.archs import build_network

from dckd_basicsr.cli import main
from dckd_basicsr.data import prepare_sr
from tests.tiny import write_job, write_photos


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    write_job(folder)
    return folder


@pytest.fixture
def fresh(job, tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "job"
    shutil.copytree(job, folder)
    monkeypatch.chdir(folder)
    return folder


def refused(capsys, *overrides: str, command: str = "train", options: str = "job.yml") -> str:
    """Run, expect status 1 and no traceback, and return the message."""
    arguments = [command, "-opt", options]
    if overrides:
        arguments += ["--force_yml", *overrides]
    assert main(arguments) == 1
    message = capsys.readouterr().err
    assert "Traceback" not in message
    assert "basicsr: error:" in message
    assert not Path("experiments").exists()
    assert not Path("results").exists()
    return message


CASES = {
    "missing option file": ([], ["option file 'jobb.yml' does not exist", "demo_x4_edsr.yml"], "jobb.yml"),
    "missing data": (
        ["datasets:train:dataroot_gt=nowhere/GT.lmdb"],
        ["datasets.train.dataroot_gt", "nowhere/GT.lmdb", "basicsr prepare"],
        "job.yml",
    ),
    "missing teacher": (
        ["path:pretrain_network_teacher=none.pth"],
        ["path.pretrain_network_teacher", "none.pth", "does not exist", "https://"],
        "job.yml",
    ),
    "missing vqgan": (
        ["path:pretrain_network_vqgan=none.pth"],
        ["path.pretrain_network_vqgan", "builtin:vqgan_f16_ch32_n1024"],
        "job.yml",
    ),
    "wrong scale": (["scale=4"], ["scale is 4", "network_g (EDSR) upscales by 2"], "job.yml"),
    "unknown key": (["network_g:num_fet=8"], ["unknown key 'num_fet' in network_g (EDSR); did you mean 'num_feat'?"],
                    "job.yml"),
    "wrong type": (["network_g:num_feat=many"], ["num_feat", "network_g (EDSR)", "'many'"], "job.yml"),
    "unknown network": (["network_g:type=EDSRR"], ["EDSRR", "did you mean 'EDSR'?"], "job.yml"),
    "unknown loss": (["train:pixel_opt:type=L1Los"], ["L1Los", "did you mean 'L1Loss'?"], "job.yml"),
    "patch not a multiple": (["datasets:train:gt_size=33"], ["gt_size is 33", "32 would be"], "job.yml"),
    "patch larger than the images": (["datasets:train:gt_size=64"], ["gt_size", "64"], "job.yml"),
    "setting out of range": (["train:history:decay=7"], ["history", "probability", "7"], "job.yml"),
    "no term": (
        [f"train:{t}=~" for t in ("pixel_opt", "logits_opt", "contrastive_opt", "distribution_opt", "consistency_opt")],
        ["no loss term", "pixel_opt"],
        "job.yml",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_option_problems(fresh, capsys, name):
    overrides, expected, options = CASES[name]
    message = refused(capsys, *overrides, options=options)
    for text in expected:
        assert text in message


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_gpu_asked_for_without_one(fresh, capsys):
    message = refused(capsys, "num_gpu=1")
    assert "num_gpu is 1" in message
    assert "num_gpu: auto" in message


def test_lmdb_without_meta_info(fresh, capsys):
    (fresh / "data/GT.lmdb/meta_info.txt").unlink()
    message = refused(capsys)
    assert "meta_info.txt" in message
    assert "GT.lmdb" in message


def test_gt_and_lq_count_mismatch(fresh, capsys):
    photos = write_photos(fresh / "fewer", count=2)
    prepare_sr(photos, fresh / "data", [2], crop=32, step=16, workers=0, overwrite=True, gt_name="other.lmdb")
    message = refused(capsys)
    assert "20 only in 'GT.lmdb' (photo2_s001, photo2_s002" in message
    assert "0 only in 'LQ_x2.lmdb'" in message


def test_meta_info_that_does_not_match_the_database(fresh, capsys):
    meta = fresh / "data/LQ_x2.lmdb/meta_info.txt"
    meta.write_text("\n".join(meta.read_text().splitlines()[:-2]) + "\n")
    message = refused(capsys)
    assert "holds 60 images but meta_info.txt lists 58" in message


def test_corrupt_checkpoint(fresh, capsys):
    weights = fresh / "teacher.pth"
    weights.write_bytes(weights.read_bytes()[:700])
    message = refused(capsys)
    assert "teacher.pth" in message
    assert "damaged" in message


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


def test_several_problems_in_one_report(fresh, capsys):
    message = refused(capsys, "network_g:num_fet=8", "scale=3", "train:ema_decay=high", "path:resume_state=no")
    for text in ("num_fet", "scale is 3", "ema_decay", "resume_state"):
        assert text in message
    assert "problems" in message


def test_override_runs_no_code(fresh, capsys):
    refused(capsys, "network_g:num_feat=[__import__('pathlib').Path('ran').touch()]")
    refused(capsys, "x'];__import__('pathlib').Path('ran').touch();opt['y=1")
    assert not Path("ran").exists()


def test_prepare_reports_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "sr", "nowhere", "out", "--scale", "2"]) == 1
    assert "nowhere" in capsys.readouterr().err
    photos = write_photos(tmp_path / "photos")
    (photos / "broken.png").write_bytes(b"not an image")
    assert main(["prepare", "sr", "photos", "out", "--scale", "2", "--crop", "0", "--workers", "0"]) == 1
    assert "broken.png" in capsys.readouterr().err
    assert not list(tmp_path.glob("out/*"))
