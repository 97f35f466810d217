"""The folder of a run: what is resumed, what is archived, what the log holds."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch

from dckd_basicsr.errors import CheckpointError
from dckd_basicsr.training.checkpoints import Checkpoints
from dckd_basicsr.training.run_folder import archive, load_resume_state


@pytest.fixture
def warnings(caplog):
    """What the run's log says; BasicSR's logger does not propagate."""
    logging.getLogger("basicsr").addHandler(caplog.handler)
    yield caplog
    logging.getLogger("basicsr").removeHandler(caplog.handler)


def write_checkpoint(run: Path, iteration: int, *, complete: bool = True) -> None:
    for folder in ("models", "training_states"):
        (run / folder).mkdir(parents=True, exist_ok=True)
    torch.save({"params": {"w": torch.full((9,), float(iteration))}}, run / f"models/net_g_{iteration}.pth")
    state = {"epoch": 0, "iter": iteration, "optimizers": [], "schedulers": []}
    torch.save(state, run / f"training_states/{iteration}.state")
    if complete:
        Checkpoints(run).complete(iteration)


def resume_options(root: Path, **path) -> dict:
    return {
        "rank": 0,
        "auto_resume": not path,
        "path": {"experiments_root": str(root), "models": str(root / "models"), "resume_state": None, **path},
        "network_g": {},
        "network_teacher": {},
    }


def test_resume_state_on_the_cpu_honours_experiments_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the stock function looks in ./experiments
    for i in (8, 16):
        write_checkpoint(tmp_path / "elsewhere", i)
    (tmp_path / "elsewhere/training_states/.24.state.tmp-1").write_bytes(b"half")
    opt = resume_options(tmp_path / "elsewhere")
    opt["path"]["ignore_resume_networks"] = ["network_teacher"]
    opt["path"]["pretrain_network_teacher"] = "teacher.pth"
    assert load_resume_state(opt)["iter"] == 16
    assert opt["path"]["pretrain_network_teacher"] == "teacher.pth"
    assert opt["path"]["pretrain_network_g"].endswith("net_g_16.pth")


def test_nothing_to_resume(tmp_path):
    assert load_resume_state(resume_options(tmp_path)) is None


def test_a_file_that_is_no_state_is_refused(tmp_path):
    torch.save({"params": {}}, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match="not a BasicSR training state"):
        load_resume_state(resume_options(tmp_path, resume_state=str(tmp_path / "net.pth")))


def test_a_state_elsewhere_goes_on_from_the_weights_beside_it(tmp_path):
    write_checkpoint(tmp_path / "other", 8)
    opt = resume_options(tmp_path / "run", resume_state=str(tmp_path / "other/training_states/8.state"))
    opt["path"] |= {"ignore_resume_networks": ["network_teacher"], "param_key_g": "params_ema"}
    load_resume_state(opt)
    assert opt["path"]["pretrain_network_g"] == str(tmp_path / "other/models/net_g_8.pth")
    assert opt["path"]["param_key_g"] == "params"


def test_a_state_without_its_weights_is_refused(tmp_path):
    write_checkpoint(tmp_path, 8)
    (tmp_path / "models/net_g_8.pth").unlink()
    with pytest.raises(CheckpointError, match=r"net_g_8\.pth', which does not exist"):
        load_resume_state(resume_options(tmp_path, resume_state=str(tmp_path / "training_states/8.state")))


DAMAGES = {
    "saving it was interrupted": lambda run: (run / "training_states/16.complete").unlink(),
    "net_g_16.pth is missing": lambda run: (run / "models/net_g_16.pth").unlink(),
    "net_g_16.pth is not what was saved": lambda run: (run / "models/net_g_16.pth").write_bytes(b"short"),
    "16.state is not what was saved": lambda run: flip_a_byte(run / "training_states/16.state"),
    "16.complete is damaged": lambda run: (run / "training_states/16.complete").write_text("{"),
}


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("said", DAMAGES)
def test_an_incomplete_checkpoint_is_passed_over_aloud(tmp_path, warnings, said):
    for i in (8, 16):
        write_checkpoint(tmp_path, i)
    assert Checkpoints(tmp_path).newest().stem == "16"
    DAMAGES[said](tmp_path)
    assert Checkpoints(tmp_path).newest().stem == "8"
    assert "checkpoint of iteration 16 is not complete" in warnings.text
    assert said in warnings.text


def test_a_folder_of_stock_basicsr_gives_its_newest_state(tmp_path):
    for i in (8, 16):
        write_checkpoint(tmp_path, i, complete=False)
    assert Checkpoints(tmp_path).newest().stem == "16"
    (tmp_path / "training_states/16.state").write_bytes(b"cut short")
    assert Checkpoints(tmp_path).newest().stem == "8"


def test_states_of_which_none_is_sound_do_not_mean_a_fresh_run(tmp_path):
    for i in (8, 16):
        write_checkpoint(tmp_path, i)
        flip_a_byte(tmp_path / f"models/net_g_{i}.pth")
    with pytest.raises(CheckpointError, match=r"iteration 16 \(.*not what was saved\), 8 \(.*start afresh without"):
        Checkpoints(tmp_path).newest()


def test_checkpoints_of_another_continuation_are_set_aside(tmp_path):
    for i in (4, 8, 16):
        write_checkpoint(tmp_path, i)
    kept = Checkpoints(tmp_path).set_aside(after=4)
    assert Checkpoints(tmp_path).iterations() == [4]
    assert sorted(str(p.relative_to(kept)) for p in kept.rglob("*.*")) == [
        "models/net_g_16.pth", "models/net_g_8.pth", "training_states/16.complete", "training_states/16.state",
        "training_states/8.complete", "training_states/8.state",
    ]  # fmt: skip
    assert Checkpoints(tmp_path).set_aside(after=4) is None


def test_the_marker_lists_exactly_the_files_of_its_iteration(tmp_path):
    for i in (6, 16):
        write_checkpoint(tmp_path, i)
    (tmp_path / "models/net_g_latest.pth").write_bytes(b"x")
    marker = json.loads((tmp_path / "training_states/6.complete").read_text())
    assert sorted(marker["files"]) == ["models/net_g_6.pth", "training_states/6.state"]
    assert marker["files"]["models/net_g_6.pth"]["bytes"] == (tmp_path / "models/net_g_6.pth").stat().st_size


def test_only_the_last_are_kept(tmp_path):
    for i in (4, 8, 12, 16):
        write_checkpoint(tmp_path, i)
    write_checkpoint(tmp_path, 20, complete=False)
    (tmp_path / "models/.net_g_20.pth.tmp-1").write_bytes(b"half")
    (tmp_path / "models/net_g_best.pth").write_bytes(b"best")
    (tmp_path / "models/mine_4.pth").write_bytes(b"not ours")
    write_checkpoint(tmp_path, 24)  # beyond the current one: damaged, or of another continuation
    Checkpoints(tmp_path).keep_last(2, current=16)
    assert sorted(p.name for p in (tmp_path / "models").iterdir()) == [
        "mine_4.pth", "net_g_12.pth", "net_g_16.pth", "net_g_20.pth", "net_g_24.pth", "net_g_best.pth"
    ]  # fmt: skip
    assert sorted(p.name for p in (tmp_path / "training_states").iterdir()) == [
        "12.complete", "12.state", "16.complete", "16.state", "20.state", "24.complete", "24.state"
    ]  # fmt: skip


@pytest.mark.parametrize("count", [1, 3, 4, 9])
def test_as_many_are_kept_as_asked_for(tmp_path, count):
    for i in (4, 8, 12, 16):
        write_checkpoint(tmp_path, i)
    Checkpoints(tmp_path).keep_last(count, current=16)
    assert Checkpoints(tmp_path).iterations() == [4, 8, 12, 16][-count:]


def test_what_somebody_else_removed_is_no_error(tmp_path):
    (tmp_path / "there").touch()
    Checkpoints._remove([tmp_path / "gone", tmp_path / "there"])
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_run_is_archived_aloud(tmp_path, warnings):
    write_checkpoint(tmp_path / "run", 8)
    archive(tmp_path / "run")
    assert "held a run up to iteration 8" in warnings.text
    assert "--auto_resume" in warnings.text
    kept = next(tmp_path.glob("run_archived_*"))
    assert (kept / "training_states/8.state").is_file()
    archive(tmp_path / "run")  # nothing there: nothing to do
    assert len(list(tmp_path.iterdir())) == 1
