"""``basicsr config``: what it prints is an option file that means the same, or one report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dckd_basicsr.cli import main
from dckd_basicsr.config import load_options, load_yaml, option_problems, packaged_options
from dckd_basicsr.config.load import parse_yaml
from dckd_basicsr.config.resolve import dump_yaml
from tests.tiny import run, write_job

TEXTS = st.text(st.characters(codec="utf-8"), max_size=12) | st.from_regex(
    r"\A[-+]?[0-9_]{1,3}\.?[0-9]?([eE][-+]?[0-9])?\Z"
    r"|\A(~|null|yes|No|<<|=|0x1f|1:30|2024-01-02|!a|&a|\*a|- a|a: b|#a|\x85|\u2028)\Z"
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def typed(value: Any) -> Any:
    """A value with its types, so that 1, 1.0 and True differ, and with the order of its keys."""
    if isinstance(value, dict):
        return [(typed(k), typed(v)) for k, v in value.items()]
    return [typed(v) for v in value] if isinstance(value, list) else (type(value).__name__, value)


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_written_options_read_back_as_they_were(options: dict[str, Any]) -> None:
    assert typed(parse_yaml(dump_yaml(options), "test")) == typed(options)


def test_shared_blocks_are_written_out() -> None:
    metric = {"type": "calculate_psnr"}
    assert dump_yaml({"a": metric, "b": metric}) == "a: {type: calculate_psnr}\nb: {type: calculate_psnr}\n"


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("config")
    write_job(folder)
    (folder / "child.yml").write_text("_base_: job.yml\nname: child\ntrain: {pixel_opt: {loss_weight: 1e-3}}\n")
    return folder


def test_a_clean_file_is_printed_with_what_it_inherits(
    job: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(job)
    before = sorted(job.iterdir())
    assert main(["config", "child.yml", "--force_yml", "val:val_freq=5", "datasets:val:name=other"]) == 0
    printed, errors = capsys.readouterr()
    assert errors == ""
    assert sorted(job.iterdir()) == before, "nothing is written"
    found, base = yaml.safe_load(printed), load_yaml("job.yml")
    assert found["name"] == "child"
    assert found["train"]["pixel_opt"] == {"type": "L1Loss", "loss_weight": 0.001}
    assert (found["val"]["val_freq"], found["datasets"]["val"]["name"]) == (5, "other")
    assert found["datasets"]["train"]["dataset_enlarge_ratio"] == 1, "a default"
    assert found["path"] == base["path"], "as readable as in the file"
    assert list(found) == list(base)
    (job / "printed.yml").write_text(printed)
    assert main(["config", "printed.yml"]) == 0
    assert capsys.readouterr().out == printed
    (job / "printed.yml").unlink()


def test_the_process_prints_yaml_alone(job: Path) -> None:
    done = run(job, "config", "child.yml")
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["name"] == "child"
    done = run(job, "config", "--schema")
    assert json.loads(done.stdout)["title"] == "dckd_basicsr option file"
    assert not (job / "experiments").exists()


def test_the_file_is_printed_whatever_is_wrong_with_it(
    job: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(job)
    overrides = ["network_g:num_fet=3", "network_teacher:num_feat=10", "path:pretrain_network_vqgan=none.pth"]
    assert main(["config", "child.yml", "--force_yml", *overrides]) == 1
    printed, errors = capsys.readouterr()
    found = yaml.safe_load(printed)
    assert (found["network_g"]["num_fet"], found["train"]["pixel_opt"]["loss_weight"]) == (3, 0.001)
    assert found["logger"]["use_tb_logger"] is False, "defaults too"
    assert "child.yml (on job.yml): 3 problems" in errors
    assert "looks like EDSR with num_feat 12" in errors
    # without a look at files, what is wrong with the options themselves is left
    assert main(["config", "child.yml", "--no-files", "--force_yml", *overrides]) == 1
    again, errors = capsys.readouterr()
    assert again == printed
    assert "child.yml (on job.yml): 1 problem\n  1. unknown key 'num_fet'" in errors
    assert main(["config", "child.yml", "--no-files", "--force_yml", *overrides[1:]]) == 0


def test_a_packaged_file_is_read_before_anything_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["config", "dckd_x4_rcan"]) == 1
    printed, errors = capsys.readouterr()
    assert yaml.safe_load(printed)["network_g"]["type"] == "RCAN"
    assert "does not exist" in errors
    assert main(["config", "dckd_x4_rcan", "--no-files"]) == 0
    assert capsys.readouterr() == (printed, "")


@pytest.mark.parametrize("text", ["a: 1\n", "datasets: 5\nlogger: 3\nval: x\n", "datasets: {train: 1}\npath: []\n"])
@pytest.mark.parametrize("flags", [[], ["--test"]])
def test_a_file_of_anything_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, flags: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("odd.yml").write_text(text)
    assert main(["config", "odd.yml", *flags]) == 1
    printed, errors = capsys.readouterr()
    assert yaml.safe_load(printed).items() >= {k: v for k, v in yaml.safe_load(text).items() if v}.items()
    assert "odd.yml: " in errors
    assert "problems" in errors


def test_notes_go_beside_the_file(
    job: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(job)
    assert main(["config", "job.yml", "--force_yml", "train:total_iter=4"]) == 0
    printed, errors = capsys.readouterr()
    assert yaml.safe_load(printed)["train"]["total_iter"] == 4
    assert errors == (
        "basicsr: note: train.scheduler: none of the milestones [4] comes within total_iter 4, so the learning rate "
        "stays as it starts; for a run of this length for instance milestones: [3]\n"
    )


def test_notes_do_not_wait_for_files(
    job: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(job)
    missing = "path:pretrain_network_teacher=nowhere.pth"
    assert main(["config", "job.yml", "--force_yml", "train:total_iter=4", missing]) == 1
    note, _, report = capsys.readouterr().err.partition("\n")
    assert note.startswith("basicsr: note: train.scheduler: none of the milestones [4] comes within total_iter 4")
    assert "'nowhere.pth' does not exist" in report
    assert main(["config", "job.yml", "--force_yml", "train:total_iter=4", "train:pixel_opt:type=L1Los"]) == 1
    assert "note:" not in capsys.readouterr().err, "of options that are wrong nothing is foretold"


def test_for_a_test(job: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(job)
    opt = {**load_yaml("job.yml"), "datasets": {"test_1": load_yaml("job.yml")["datasets"]["val"]}}
    del opt["train"], opt["logger"], opt["val"]["val_freq"]
    (job / "measure.yml").write_text(yaml.safe_dump(opt, sort_keys=False))
    assert main(["config", "measure.yml", "--test"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["val"]["suffix"] is None
    assert main(["config", "measure.yml"]) == 1
    assert "looks like one for `basicsr test`; add --test" in capsys.readouterr().err


def test_without_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config"]) == 1
    assert "needs an option file" in capsys.readouterr().err


@pytest.mark.parametrize("name", packaged_options())
def test_shipped_files_mean_the_same_when_printed(name: str) -> None:
    opt, _ = load_options(packaged_options()[name])
    again = parse_yaml(dump_yaml(opt), name)
    assert typed(again) == typed(opt)
    assert option_problems(again, "test" not in name) == []
