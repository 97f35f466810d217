"""Learning rates after a resume with other options: those of a run that had these options from the start."""

from __future__ import annotations

import pytest

from dckd_basicsr.training import state
from dckd_basicsr.weight_files import load_state, save_state

SCHEDULES = {
    "steps": {"type": "MultiStepLR", "milestones": [5, 10], "gamma": 0.5},
    "restarted steps": {
        "type": "MultiStepRestartLR", "milestones": [5, 12], "gamma": 0.1, "restarts": [0, 9],
        "restart_weights": [1, 0.5],
    },
    "cosine": {"type": "CosineAnnealingLR", "T_max": 20, "eta_min": 1e-5},
    "restarted cosine": {
        "type": "CosineAnnealingRestartLR", "periods": [8, 20], "restart_weights": [1, 0.5], "eta_min": 1e-7,
    },
    "cycles": {
        "type": "CosineAnnealingRestartCyclicLR", "periods": [8, 20], "restart_weights": [1, 1],
        "eta_mins": [3e-4, 1e-6],
    },
}  # fmt: skip
END = 18
pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")  # no step is taken here


@pytest.fixture
def model(build):
    return build("train:optim_g={type: Adam, lr: 3e-4}")


def restart(model, lr: float, schedule: str) -> None:
    """Give the model the optimizer and schedule of a run with these options, before its first iteration."""
    model.opt["train"]["optim_g"]["lr"], model.opt["train"]["scheduler"] = lr, SCHEDULES[schedule]
    model.optimizers.clear()
    model.schedulers.clear()
    model.setup_optimizers()
    model.setup_schedulers()


def rates(model, iterations: range, warm_up: int) -> list[float]:
    found = []
    for i in iterations:
        model.update_learning_rate(i, warmup_iter=warm_up)
        found.append(model.get_current_learning_rate()[0])
    return found


def saved(model, at: int, path) -> dict:
    save_state(state.training_state(model, 0, at), path)
    return load_state(path)


@pytest.mark.parametrize("now", SCHEDULES)
@pytest.mark.parametrize("lr", [3e-4, 1e-4, 1e-5, 0.0])
@pytest.mark.parametrize("warm_up", [-1, 7])
def test_they_are_those_of_a_run_with_the_present_options(model, now, lr, warm_up, tmp_path):
    restart(model, lr, now)
    wanted = rates(model, range(1, END), warm_up)
    for before in SCHEDULES:
        for at in (4, 11):  # in the middle of the warm-up, and after it
            restart(model, 3e-4, before)
            rates(model, range(1, at + 1), warm_up)
            state = saved(model, at, tmp_path / "x.state")
            restart(model, lr, now)
            model.resume_training(state)
            found = rates(model, range(at + 1, END), warm_up)
            assert found == pytest.approx(wanted[at:], rel=1e-9, abs=1e-15), (before, at)
            assert model.optimizer_g.param_groups[0]["initial_lr"] == lr


def test_from_a_rate_of_zero(model, tmp_path):
    restart(model, 0.0, "cosine")
    rates(model, range(1, 5), -1)
    state = saved(model, 4, tmp_path / "x.state")
    restart(model, 3e-4, "cosine")
    wanted = rates(model, range(1, END), -1)[4:]
    restart(model, 3e-4, "cosine")
    model.resume_training(state)
    assert rates(model, range(5, END), -1) == pytest.approx(wanted)


def test_groups_of_a_derived_model_keep_rates_of_their_own(model, tmp_path):
    def two_groups(lr: float) -> None:
        restart(model, lr, "cosine")
        group = model.optimizer_g.param_groups[0]
        parameters = group["params"]
        group["params"] = parameters[:1]
        model.optimizer_g.add_param_group({"params": parameters[1:], "lr": lr / 10, "initial_lr": lr / 10})
        model.schedulers.clear()
        model.setup_schedulers()

    two_groups(3e-4)
    rates(model, range(1, 5), -1)
    state = saved(model, 4, tmp_path / "x.state")
    two_groups(1e-4)
    model.resume_training(state)
    assert [group["initial_lr"] for group in model.optimizer_g.param_groups] == [1e-4, 1e-5]
