"""What a checkpoint holds beside the weights, and how a resumed run takes it up."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from torch import nn

from dckd_basicsr.data.random_state import random_state
from dckd_basicsr.errors import CheckpointError, TrainingDiverged
from dckd_basicsr.training.state import (
    check_optimizers,
    of_this_process,
    restore_streams,
    training_state,
    with_present_options,
    write_weights,
)
from dckd_basicsr.weight_files import load_state


@pytest.fixture
def log(caplog):
    """What the run's log says; BasicSR's logger does not propagate."""
    logging.getLogger("basicsr").addHandler(caplog.handler)
    yield caplog
    logging.getLogger("basicsr").removeHandler(caplog.handler)


def net(value: float) -> nn.Module:
    module = nn.Linear(2, 1)
    for p in module.parameters():
        p.data.fill_(value)
    return module


# --- weights


def test_weights_of_all_networks_and_the_average_as_safetensors(tmp_path):
    write_weights({"params": net(1), "params_ema": net(2)}, tmp_path / "a.pth", {"type": "X", "n": 3}, safetensors=True)
    saved = load_state(tmp_path / "a.pth")
    assert {key: state["weight"].tolist() for key, state in saved.items()} == {
        "params": [[1, 1]],
        "params_ema": [[2, 2]],
    }
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert file.get_tensor("bias").tolist() == [2]
        metadata = file.metadata()
    assert json.loads(metadata["config"]) == {"type": "X", "n": 3}
    assert metadata["format"] == "pt"


def test_safetensors_are_written_where_they_are_asked_for(tmp_path):
    write_weights({"params": net(1)}, tmp_path / "a.pth", {"type": "X"})
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]


def test_weights_that_are_not_finite_in_any_network_are_refused_by_name(tmp_path):
    names = nn.ModuleDict({f"layer{i}": net(float("inf")) for i in range(3)})
    with pytest.raises(TrainingDiverged) as caught:
        write_weights({"params": net(1), "params_ema": names}, tmp_path / "a.pth", {})
    # the first four of six
    assert "(layer0.weight, layer0.bias, layer1.weight, layer1.bias)" in str(caught.value)
    assert "'a.pth' was not written" in str(caught.value)
    assert not list(tmp_path.iterdir())


# --- the training state


def model(rank: int = 0, world_size: int = 1) -> SimpleNamespace:
    optimizer = torch.optim.SGD(net(1).parameters(), lr=0.5)
    return SimpleNamespace(
        opt={"manual_seed": 7, "rank": rank, "world_size": world_size},
        optimizers=[optimizer],
        schedulers=[torch.optim.lr_scheduler.StepLR(optimizer, 3)],
        device=torch.device("cpu"),
    )


def test_a_training_state_holds_all_that_goes_on():
    one = model()
    state = training_state(one, epoch=2, iteration=9)
    assert (state["epoch"], state["iter"], state["seed"]) == (2, 9, 7)
    assert state["optimizers"] == [one.optimizers[0].state_dict()]
    assert state["schedulers"] == [one.schedulers[0].state_dict()]
    wanted = torch.rand(3)
    torch.rand(5)
    restore_streams(state, one)
    assert torch.equal(torch.rand(3), wanted)


def test_every_process_takes_its_own(log):
    streams = ["a", "b", "c"]
    for rank, own in enumerate(streams):
        assert of_this_process(streams, {"rank": rank, "world_size": 3}) == own
    assert not log.text


def test_other_processes_are_said_aloud_and_new_ones_start_afresh(log):
    assert of_this_process(["a", "b"], {"rank": 1, "world_size": 4}) == "b"
    assert "written by 2 processes and is resumed by 4" in log.text
    assert of_this_process(["a", "b"], {"rank": 2, "world_size": 4}) is None
    second, saved = model(rank=1, world_size=2), random_state()
    torch.rand(3)
    before = torch.get_rng_state()
    restore_streams({"streams": [saved]}, second)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_state_without_streams_is_said_aloud(log):
    restore_streams({"iter": 3}, model())
    assert "random streams start afresh" in log.text


def test_present_flags_win_and_the_rest_is_as_saved():
    saved = {"state": {0: {"step": 4}}, "param_groups": [{"lr": 0.1, "fused": False, "foreach": True, "betas": (0, 1)}]}
    optimizer = SimpleNamespace(param_groups=[{"lr": 9.0, "fused": True, "capturable": None}])
    found = with_present_options(saved, optimizer, {"fused": True, "foreach": True})
    assert found["state"] == saved["state"]
    assert found["param_groups"] == [{"lr": 0.1, "fused": True, "foreach": True, "capturable": None, "betas": (0, 1)}]
    assert saved["param_groups"][0]["fused"] is False


# --- options that were changed before resuming


def built(**options) -> torch.optim.Optimizer:
    """An optimizer of two groups with a schedule, as a run has it before its first iteration."""
    groups = [{"params": list(net(1).parameters())}, {"params": list(net(1).parameters())}]
    optimizer = torch.optim.Adam(groups, **{"lr": 0.4, "betas": (0.9, 0.99), **options})
    torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    return optimizer


def halved() -> dict:
    """The state of such an optimizer, whose rate the schedule has halved since: 0.4 to 0.2."""
    state = built().state_dict()
    for group in state["param_groups"]:
        group["lr"] = 0.2
    return state


def test_unchanged_options_change_nothing(log):
    state = halved()
    options = {"type": "Adam", "lr": 0.4, "betas": [0.9, 0.99], "unknown": 3}
    assert with_present_options(state, built(), options) == state
    assert not log.text


def test_a_changed_rate_is_where_the_schedule_starts_from(log):
    found = with_present_options(halved(), built(lr=0.1), {"type": "Adam", "lr": 0.1})
    for group in found["param_groups"]:
        assert (group["initial_lr"], group["lr"]) == (0.1, 0.2)  # the schedule sets the rate in the next iteration
    assert "train.optim_g.lr was 0.4 when the run was saved; it goes on with 0.1" in log.text
    with_present_options(halved(), built(lr=0.1), {"type": "Adam", "lr": 0.1}, "train.optim_d")
    assert "train.optim_d.lr was 0.4 when the run was saved; it goes on with 0.1" in log.text


def test_other_optimizers_than_the_saved_ones_are_refused():
    check_optimizers([halved()], [built()])
    with pytest.raises(CheckpointError, match="the training state has 2 optimizers, this run's option file 1"):
        check_optimizers([halved(), halved()], [built()])
    small = torch.optim.Adam(net(1).parameters(), lr=0.4)
    with pytest.raises(CheckpointError, match="moves 4 tensors, that of this run's option file 2"):
        check_optimizers([halved()], [small])


def test_other_changed_options_win_aloud(log):
    options = {"weight_decay": 0.3, "betas": (0.0, 0.5), "foreach": True}
    state = halved()
    found = with_present_options(state, built(**options), {"type": "Adam", "lr": 0.4, **options})
    for group in found["param_groups"]:
        assert (group["weight_decay"], group["betas"], group["lr"]) == (0.3, (0.0, 0.5), 0.2)
        assert group["foreach"] is True
    assert "weight_decay was 0 " in log.text
    assert "foreach" not in log.text
    assert [group["weight_decay"] for group in state["param_groups"]] == [0, 0]  # what was saved stays as it is
