"""``basicsr compare`` from start to end: runs, kills, records, refusals, tables."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from dckd_basicsr.cli import main
from dckd_basicsr.compare.plan import PlannedRun
from dckd_basicsr.compare.run import Maker
from tests.tiny import METRICS, STUDENT, run, write_job

SWEEP: dict[str, Any] = {
    "name": "cmp",
    "title": "Scratch against logits",
    "bases": {"tiny": {"train": "job.yml", "test": "test.yml", "title": "EDSR x2"}},
    "variants": {
        "scratch": {"with": "scratch"},
        "half": {"title": "logits at 0.5", "with": ["logits"], "options": {"train:logits_opt:loss_weight": 0.5}},
    },
    "seeds": [0, 1],
    "options": {"train:total_iter": 4, "logger:save_checkpoint_freq": 2},
}
STUDENTS = [f"cmp_tiny_{variant}_s{seed}" for seed in (0, 1) for variant in SWEEP["variants"]]
RUNS = ["cmp_tiny_teacher", *STUDENTS]


class Said(NamedTuple):
    """What a command in this process answered."""

    status: int
    stdout: str
    stderr: str


def write_sweep(folder: Path, **changes: Any) -> None:
    (folder / "sweep.yml").write_text(yaml.safe_dump({**SWEEP, **changes}, sort_keys=False))


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny job with a test file and the sweep, nothing run."""
    folder = write_job(tmp_path_factory.mktemp("compare")).parent
    test = {
        "name": "test",
        "model_type": "RestorationModel",
        "scale": 2,
        "num_gpu": 0,
        "datasets": {
            f"test_{i}": {
                "name": name,
                "type": "PairedImageDataset",
                "dataroot_gt": f"{root}/GT.lmdb",
                "dataroot_lq": f"{root}/LQ_x2.lmdb",
                "io_backend": {"type": "lmdb"},
            }
            for i, (name, root) in enumerate({"whole": "val", "parts": "data"}.items(), start=1)
        },
        "network_g": STUDENT,
        "path": {"pretrain_network_g": None},
        "val": {"save_img": False, "metrics": METRICS},
    }
    (folder / "test.yml").write_text(yaml.safe_dump(test, sort_keys=False))
    write_sweep(folder)
    return folder


@pytest.fixture(scope="module")
def done(job: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep, run in one go, its trainings and tests out of a warm process; those of the kills below start cold."""
    folder = tmp_path_factory.mktemp("done") / "job"
    shutil.copytree(job, folder)
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.chdir(folder)
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setattr(Maker, "_basicsr", warm)
        assert main(["compare", "sweep.yml"]) == 0
    assert "[5/5]" in said.getvalue()
    return folder


def warm(maker: Maker, made: PlannedRun, arguments: Sequence[str], variables: Mapping[str, str] | None, _: Any) -> None:
    """Stand in for the start of a run's process."""
    assert not maker.imports
    assert not variables
    finished = run(maker.root.absolute(), *arguments)
    assert finished.returncode == 0, f"{made.name}: {finished.stdout}{finished.stderr}"


def records(folder: Path) -> dict[str, dict[str, Any]]:
    return {file.stem: json.loads(file.read_text()) for file in (folder / "comparisons/cmp/records").glob("*.json")}


def test_every_run_is_trained_tested_and_recorded(done: Path) -> None:
    found = records(done)
    assert sorted(found) == sorted(RUNS)
    half = found["cmp_tiny_half_s1"]
    assert (half["base"], half["variant"], half["seed"]) == ("tiny", "half", 1)
    assert half["options"]["train"]["logits_opt"]["loss_weight"] == 0.5
    assert half["curve"]["iter"] == [1, 2, 3, 4]
    assert len(half["curve"]["l_logits"]) == 4
    assert len(half["images"]["whole"]) == 3
    assert len(half["images"]["parts"]) > 3
    measured = json.loads((done / "results/cmp_tiny_half_s1/metrics.json").read_text())
    assert half["images"]["whole"] == measured["whole"]["images"]
    assert half["cost"]["parameters"] == found["cmp_tiny_scratch_s0"]["cost"]["parameters"] > 0
    assert found["cmp_tiny_teacher"]["cost"]["parameters"] > half["cost"]["parameters"]
    assert "l_logits" not in found["cmp_tiny_scratch_s0"]["curve"]
    pictures = [name for name in RUNS if list((done / "results" / name).rglob("*.png"))]
    assert sorted(pictures) == sorted(name for name in RUNS if not name.endswith("_s1"))


def test_tables_figures_and_a_page_are_written(done: Path) -> None:
    folder = done / "comparisons/cmp"
    names = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    wanted = {"comparison.md", "comparison.json", "table-tiny.tex", "report.html", "sweep.yml", "figures/curves.pdf"}
    assert wanted <= names
    assert len([name for name in names if name.startswith("results-cmp-") and name.endswith(".csv")]) == 1
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "logits at 0.5" in page
    assert page.count("<svg") >= 4
    assert 'type="range"' in page  # the pictures of the tests were found


def test_commands_of_a_record_repeat_the_run(done: Path) -> None:
    train = records(done)["cmp_tiny_half_s0"]["commands"][0]
    assert train.startswith("basicsr train -opt job.yml --with logits --force_yml train:total_iter=4 ")
    assert train.endswith("train:logits_opt:loss_weight=0.5 name=cmp_tiny_half_s0 manual_seed=0")


def here(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Return what runs the command in this process, in ``folder``; trainings and tests are processes all the same."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def basicsr(*arguments: str) -> Said:
        capfd.readouterr()
        status = main(["compare", "sweep.yml", *arguments])
        return Said(status, *capfd.readouterr())

    return basicsr


def test_done_again_nothing_is_repeated(
    done: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    compare = here(done, monkeypatch, capfd)
    before = {file: file.stat().st_mtime_ns for file in (done / "experiments").rglob("*.pth")}
    again = compare()
    assert again.status == 0
    assert "5 of 5 runs done" in again.stdout
    assert {file: file.stat().st_mtime_ns for file in (done / "experiments").rglob("*.pth")} == before
    assert "5 of 5 runs done" in compare("--status").stdout
    assert compare("--commands").stdout == ""


def test_killed_and_started_again_it_ends_as_if_it_had_not_been(
    job: Path, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "job"
    shutil.copytree(job, folder)
    write_sweep(folder, seeds=[0])
    compare = here(folder, monkeypatch, capfd)
    lines = compare("--commands").stdout.splitlines()
    assert lines == [f"basicsr compare sweep.yml --run {name}" for name in RUNS[:3]]
    of_teacher = "comparisons/cmp/records/cmp_tiny_teacher.json"  # a test and no training: nothing to stop
    (folder / of_teacher).parent.mkdir(parents=True)
    shutil.copy(done / of_teacher, folder / of_teacher)
    shutil.copytree(done / "results/cmp_tiny_teacher", folder / "results/cmp_tiny_teacher")
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "dckd_basicsr", "compare", "sweep.yml"]

    def stopped(when: Path, number: int) -> str:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
        until = time.monotonic() + 120
        while not when.exists() and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(number)
        said, _ = process.communicate(timeout=120)
        assert process.returncode in (128 + number, -number), said
        return said

    stopped(folder / "experiments/cmp_tiny_scratch_s0/training_states", signal.SIGINT)
    assert sorted(records(folder)) == ["cmp_tiny_teacher"]
    alone = compare("--run", "cmp_tiny_scratch_s0")
    assert alone.status == 0, alone.stdout + alone.stderr
    assert not list((folder / "comparisons/cmp").glob("*.md"))
    kept = {file.stem: file.read_bytes() for file in (folder / "comparisons/cmp/records").glob("*.json")}
    assert sorted(kept) == ["cmp_tiny_scratch_s0", "cmp_tiny_teacher"]
    # No chance to say goodbye: the training goes on by itself, holds its run, and the next compare waits for it.
    stopped(folder / "experiments/cmp_tiny_half_s0", signal.SIGKILL)

    finished = compare()
    assert finished.status == 0, finished.stdout + finished.stderr
    for name, content in kept.items():
        assert (folder / f"comparisons/cmp/records/{name}.json").read_bytes() == content, f"{name} was made twice"
    ours, theirs = records(folder), records(done)
    assert sorted(ours) == sorted(RUNS[:3])
    assert {name: ours[name]["images"] for name in ours} == {name: theirs[name]["images"] for name in ours}
    assert not (folder / "experiments/cmp_tiny_half_s0_archived").exists()
    wrong = compare("--run", "cmp_tiny_scrath_s0")
    assert wrong.status == 1
    assert "did you mean 'cmp_tiny_scratch_s0'" in wrong.stderr


def test_runs_of_other_options_are_refused_by_the_key(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "job"
    shutil.copytree(done, folder)
    compare = here(folder, monkeypatch, capfd)
    write_sweep(folder, options={**SWEEP["options"], "train:optim_g:lr": 2e-3})
    refused = compare()
    assert refused.status == 1
    assert "train:optim_g:lr: 0.001 there, 0.002 now" in refused.stderr
    shutil.rmtree(folder / "comparisons")  # the half-finished run is refused as well
    refused = compare("--run", "cmp_tiny_scratch_s0")
    assert refused.status == 1
    assert "train:optim_g:lr: 0.001 there, 0.002 now" in refused.stdout + refused.stderr
