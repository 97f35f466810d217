"""The command line on a tiny job: train, resume, test, BasicSR's own entry points, torchrun."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

import dckd_basicsr
from dckd_basicsr.config import load_yaml, option_problems
from dckd_basicsr.weight_files import load_state
from tests.tiny import run, write_job

TERMS = ("l_pix", "l_logits", "l_contrast", "l_dist", "l_consist", "l_total", "d_teacher", "d_negative")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, str]:
    """A folder in which the tiny job ran for 6 iterations, and what it printed."""
    folder = tmp_path_factory.mktemp("job")
    write_job(folder)
    done = run(folder, "train", "-opt", "job.yml")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout + done.stderr


def test_every_term_is_logged_every_time(trained):
    lines = [line for line in trained[1].splitlines() if "iter:" in line and "lr:(" in line]
    assert len(lines) == 6
    for line in lines:
        values = {m[0]: float(m[1]) for m in re.findall(r"([ld]_\w+): (\S+)", line)}
        assert set(values) == set(TERMS)
        assert values["l_total"] == pytest.approx(sum(values[t] for t in TERMS[:5]), rel=1e-3)
        assert all(0 < v < 1e3 for v in values.values())


def test_history_follows_its_schedule(trained):
    updates = re.findall(r"History model updated at iteration (\d+)", trained[1])
    assert updates == ["2", "4", "6"]  # every 2 until 4, then every 3


def test_validation_runs_on_schedule(trained):
    assert trained[1].count("Validation held_out") == 2  # at 3 and at 6, which is the end
    assert re.search(r"psnr: \d+\.\d+\tBest: \d+\.\d+ @ [36] iter", trained[1])


def test_checkpoints_hold_student_average_and_history(trained):
    folder = trained[0] / "experiments" / "tiny"
    weights = load_state(folder / "models" / "net_g_6.pth")
    assert set(weights) == {"params", "params_ema"}
    assert any(not torch.equal(weights["params"][k], weights["params_ema"][k]) for k in weights["params"])
    latest = load_state(folder / "models" / "net_g_latest.pth")
    assert all(torch.equal(latest["params"][k], weights["params"][k]) for k in weights["params"])
    state = load_state(folder / "training_states" / "6.state")
    assert state["dckd"]["history"]["updates"] == 3
    assert set(state["dckd"]["history"]["net"]) == set(weights["params"])
    assert set(state["dckd"]["generators"][0]["devices"]) == {"cpu"}
    assert set(state["streams"][0]) == {"python", "numpy", "torch", "cuda"}
    assert sorted(p.name for p in (folder / "models").iterdir()) == ["net_g_3.pth", "net_g_6.pth", "net_g_latest.pth"]


@pytest.mark.parametrize("kind", ["PairedImageDataset", "PairedPatchDataset", "PairedLMDBDataset"])
def test_databases_named_with_a_slash(tmp_path, kind):
    write_job(tmp_path)
    roots = {"train": ("data/GT.lmdb/", "data/LQ_x2.lmdb/"), "val": ("val/GT.lmdb/", "val/LQ_x2.lmdb//")}
    keys = [f"datasets:{k}:dataroot_{r}={v}" for k, v in roots.items() for r, v in zip(("gt", "lq"), v)]
    types = [f"datasets:{name}:type={kind}" for name in roots]
    done = run(tmp_path, "train", "-opt", "job.yml", "--force_yml", "train:total_iter=1", *keys, *types)
    assert done.returncode == 0, done.stderr
    assert "Validation held_out" in done.stdout + done.stderr


def test_the_options_of_a_run_lie_in_its_folder_and_run_again(trained):
    folder = trained[0] / "experiments" / "tiny"
    assert (folder / "job.yml").read_text() == (trained[0] / "job.yml").read_text()
    again = load_yaml(folder / "options.yml")
    assert again["manual_seed"] == 3
    assert again["datasets"]["train"]["dataset_enlarge_ratio"] == 1  # a default, written out
    assert option_problems(again) == []


def test_no_folder_is_made_of_a_weight_path(trained):
    made = {p.name for p in (trained[0] / "experiments" / "tiny").iterdir() if p.is_dir()}
    assert made == {"models", "training_states", "visualization"}


def test_resume_goes_on_and_keeps_teacher_and_vqgan(trained, tmp_path):
    write_job(tmp_path)
    done = run(tmp_path, "train", "-opt", "job.yml", "--force_yml", "train:total_iter=3")
    assert done.returncode == 0, done.stderr
    note = "WARNING: train.scheduler: none of the milestones [4] comes within total_iter 3"
    assert note in done.stdout + done.stderr
    (log,) = (tmp_path / "experiments" / "tiny").glob("train_*.log")
    assert note in log.read_text()
    done = run(tmp_path, "train", "-opt", "job.yml", "--auto_resume")
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert "Resuming training from epoch: 0, iter: 3" in output
    assert "milestones" not in re.sub(r"milestones: \[", "", output)  # within 6 iterations the schedule has its effect
    assert re.findall(r"iter: +(\d+), lr", output) == ["4", "5", "6"]
    assert re.findall(r"History model updated at iteration (\d+) \(update (\d+)\)", output) == [("4", "2"), ("6", "3")]
    assert "pretrain_network_teacher: teacher.pth" in output
    assert "pretrain_network_vqgan: vqgan.pth" in output
    assert "pretrain_network_g: " + str(tmp_path / "experiments/tiny/models/net_g_3.pth") in output


def test_test_writes_every_image(trained):
    folder = trained[0]
    options = (folder / "job.yml").read_text().replace("val:\n    name: held_out", "test_1:\n    name: held_out")
    (folder / "test.yml").write_text(options)
    done = run(
        folder, "test", "-opt", "test.yml", "--force_yml", "name=measured", "datasets:train=~", "val:save_img=true",
        "path:pretrain_network_g=experiments/tiny/models/net_g_latest.pth", "path:param_key_g=params_ema",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads((folder / "results/measured/metrics.json").read_text())["held_out"]
    assert results["count"] == 3
    assert set(results["images"]) == {"photo0", "photo1", "photo2"}
    mean = sum(image["psnr"] for image in results["images"].values()) / 3
    assert results["mean"]["psnr"] == pytest.approx(mean)
    assert len(list((folder / "results/measured/visualization/held_out").glob("*.png"))) == 3
    # the best of the training log is the same network on the same images
    logged = [float(v) for v in re.findall(r"# psnr: (\S+)", trained[1])]
    assert results["mean"]["psnr"] == pytest.approx(logged[-1], abs=2e-4)


def script(folder: Path, code: str, *overrides: str) -> subprocess.CompletedProcess:
    """Run a user's script on the tiny job, without ``basicsr train``."""
    write_job(folder)
    (folder / "plain.py").write_text(textwrap.dedent(code))
    return subprocess.run(
        [sys.executable, "plain.py", "-opt", "job.yml", "--force_yml", "train:total_iter=2", *overrides],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_basicsr_trains_after_import_under_both_names(tmp_path):
    done = script(
        tmp_path,
        """
        import dckd_basicsr
        import basicsr
        from basicsr.train import train_pipeline
        assert basicsr.train_pipeline is train_pipeline is dckd_basicsr.commands.train.train_pipeline
        train_pipeline(".")
        """,
        "logger:save_checkpoint_freq=1",
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "experiments/tiny/models/net_g_latest.pth").is_file()
    assert (tmp_path / "experiments/tiny/training_states/2.complete").is_file()  # which this package's loop writes


def test_basicsrs_own_loop_trains_this_packages_model(tmp_path):
    done = script(
        tmp_path,
        """
        from dckd_basicsr.install import stock_train_pipeline
        import basicsr.train
        own = basicsr.train.__dict__["create_train_val_dataloader"]
        basicsr.train.create_train_val_dataloader = lambda *a: print("BasicSR's loaders") or own(*a)
        stock_train_pipeline(".")
        """,
    )
    assert done.returncode == 0, done.stderr
    assert "BasicSR's loaders" in done.stdout  # not this package's loop
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "lr:(" in line]
    assert len(lines) == 2
    assert all(f"{term}: " in line for line in lines for term in TERMS)
    weights = load_state(tmp_path / "experiments/tiny/models/net_g_latest.pth")
    assert set(weights) == {"params", "params_ema"}
    folders = {p.name for p in (tmp_path / "experiments" / "tiny").iterdir() if p.is_dir()}
    assert folders == {"models", "training_states", "visualization"}


def test_torchrun_with_two_processes(tmp_path):
    write_job(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from basicsr.losses.basic_loss import L1Loss\nfrom basicsr.utils.registry import LOSS_REGISTRY\n\n"
        "@LOSS_REGISTRY.register()\nclass MyLoss(L1Loss):\n    pass\n"
    )
    done = run(
        tmp_path, "--standalone", "--nproc_per_node=2", "-m", "dckd_basicsr", "train", "-opt", "job.yml",
        "--launcher", "pytorch", "--import", "mine", "--force_yml", "train:total_iter=3", "train:pixel_opt:type=MyLoss",
        module="torch.distributed.run",
    )  # fmt: skip
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert "total batch 4 = 2 per GPU x 2 processes x 1 accumulated" in output
    assert len(re.findall(r"iter: +\d+, lr", output)) == 3  # rank 0 alone prints
    assert load_state(tmp_path / "experiments/tiny/training_states/3.state")["iter"] == 3


def test_two_methods_of_one_file_have_their_own_folders_and_resume(tmp_path):
    write_job(tmp_path)
    (tmp_path / "mine.yml").write_text("train: {losses: {far: {type: logits, weight: 0.5, loss: {type: L1Loss}}}}\n")
    first = ("train", "-opt", "job.yml", "--with", "scratch", "mine.yml", "--force_yml", "train:total_iter=2")
    done = run(tmp_path, *first)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "experiments" / "tiny_mine_scratch"
    text = (folder / "options.yml").read_text()
    assert text.startswith("# job.yml --with mine scratch\nname: tiny_mine_scratch\n")
    # the file is complete: it says the same without the methods
    (tmp_path / "again.yml").write_text(text)
    (tmp_path / "mine.yml").rename(tmp_path / "gone")
    done = run(tmp_path, "train", "-opt", "again.yml", "--force_yml", "name=again")
    (lines, repeated) = (
        re.findall(r"l_pix: \S+ l_far: \S+ ", text) for text in (_log(folder), done.stdout + done.stderr)
    )
    assert len(lines) == 2
    assert lines == repeated
    assert "l_logits" not in _log(folder)
    # another order of names is the same run, and nothing differs from what it started with
    (tmp_path / "gone").rename(tmp_path / "mine.yml")
    done = run(tmp_path, "train", "-opt", "job.yml", "--with", "mine.yml", "scratch", "--auto_resume",
               "--force_yml", "train:total_iter=2")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "iter: 2" in done.stdout + done.stderr
    assert "The options differ" not in done.stdout + done.stderr
    done = run(tmp_path, "train", "-opt", "job.yml", "--with", "scratch", "--force_yml", "train:total_iter=1")
    assert done.returncode == 0, done.stderr
    assert {p.name for p in (tmp_path / "experiments").iterdir()} == {"tiny_mine_scratch", "again", "tiny_scratch"}


def _log(folder: Path) -> str:
    (file, *_) = sorted((folder).glob("train_*.log"))
    return file.read_text()


def test_version_doctor_and_help():
    assert run(Path.cwd(), "--version").stdout.strip() == f"dckd_basicsr {dckd_basicsr.__version__}"
    doctor = run(Path.cwd(), "doctor")
    assert doctor.returncode == 0, doctor.stdout
    for word in ("python", "torch", "basicsr", "builtin:edsr_x4_f64b16", "No faults found"):
        assert word in doctor.stdout
    text = run(Path.cwd(), "--help").stdout
    for command in ("train", "test", "prepare", "demo", "doctor"):
        assert command in text
