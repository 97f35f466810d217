"""Learning-rate schedules: closed forms, resumption, names."""

from __future__ import annotations

import json
import logging
import math

import pytest
import torch

from dckd_basicsr.errors import ConfigError
from dckd_basicsr.training.schedules import build_schedule, schedule_state

RESTORMER = {
    "type": "CosineAnnealingRestartCyclicLR",
    "periods": [92, 208],
    "restart_weights": [1, 1],
    "eta_mins": [3e-4, 1e-6],
}


def optimizer(lr: float = 3e-4) -> torch.optim.Optimizer:
    return torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def rates(options: dict, steps: int, lr: float = 3e-4) -> list[float]:
    """Rate of iterations 1..steps, as BasicSR steps its schedulers: not before the first."""
    opt = optimizer(lr)
    schedule = build_schedule(opt, options)
    found = []
    for i in range(1, steps + 1):
        if i > 1:
            opt.step()
            schedule.step()
        found.append(opt.param_groups[0]["lr"])
    return found


def test_fixed_then_cosine():
    found = rates(RESTORMER, 330)
    assert found[:93] == pytest.approx([3e-4] * 93)
    assert found[92 + 104] == pytest.approx((3e-4 + 1e-6) / 2)
    assert found[92 + 52] == pytest.approx(1e-6 + (3e-4 - 1e-6) * (1 + math.cos(math.pi / 4)) / 2)
    assert found[300:] == pytest.approx([1e-6] * 30)
    assert all(a >= b - 1e-12 for a, b in zip(found, found[1:]))  # noqa: RUF007


def test_restart_weights_scale_a_cycle():
    options = {"type": RESTORMER["type"], "periods": [10, 10], "restart_weights": [1, 0.5], "eta_mins": [0, 0]}
    found = rates(options, 11, lr=1.0)
    assert found[0] == 1.0
    assert found[10] == pytest.approx(0.5)


def test_a_cycle_goes_from_the_rate_to_nothing_by_default():
    found = rates({"type": RESTORMER["type"], "periods": [10]}, 11, lr=2.0)
    assert found[0] == 2.0
    assert found[10] == pytest.approx(0.0, abs=1e-12)


def test_the_rate_is_restored():
    opt = optimizer()
    schedule = build_schedule(opt, RESTORMER)
    for _ in range(150):
        opt.step()
        schedule.step()
    other = optimizer()
    resumed = build_schedule(other, RESTORMER)
    other.load_state_dict(opt.state_dict())
    resumed.load_state_dict(schedule.state_dict())
    for one, two in ((opt, schedule), (other, resumed)):
        one.step()
        two.step()
    assert other.param_groups[0]["lr"] == opt.param_groups[0]["lr"] == pytest.approx(rates(RESTORMER, 152)[-1])


def test_nafnet_cosine():
    found = rates({"type": "CosineAnnealingLR", "T_max": 200, "eta_min": 1e-7}, 201, lr=1e-3)
    assert found[0] == 1e-3
    assert found[100] == pytest.approx((1e-3 + 1e-7) / 2, rel=1e-6)
    assert found[200] == pytest.approx(1e-7, rel=1e-6)


def test_the_options_stay_as_they_are():
    options = {"type": "MultiStepLR", "milestones": [2], "gamma": 0.1}
    assert rates(options, 4, lr=1.0) == pytest.approx([1, 1, 0.1, 0.1])
    assert options["type"] == "MultiStepLR"


def test_errors():
    with pytest.raises(ConfigError, match=r"unknown scheduler 'CosineAnealingLR'.*did you mean 'CosineAnnealingLR'"):
        build_schedule(optimizer(), {"type": "CosineAnealingLR"})
    with pytest.raises(ConfigError, match="one entry per cycle, got 2, 1 and 2"):
        build_schedule(optimizer(), {**RESTORMER, "restart_weights": [1]})


STEPS = {"type": "MultiStepLR", "milestones": [4, 8], "gamma": 0.5}
COSINE = {"type": "CosineAnnealingLR", "T_max": 12, "eta_min": 1e-6}


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (STEPS, {**STEPS, "milestones": [3, 10]}, ["milestones was [4, 8] when the run was saved and is [3, 10] now"]),
        (STEPS, {**STEPS, "gamma": 0.1}, ["gamma was 0.5 when"]),
        (STEPS, {**STEPS, "gamma": 0.1, "milestones": [8]}, ["milestones was [4, 8]", "gamma was 0.5"]),
        (STEPS, COSINE, ["train.scheduler.type was another when the run was saved and is CosineAnnealingLR now"]),
        (COSINE, {**COSINE, "T_max": 20}, ["T_max was 12"]),
        (RESTORMER, {**RESTORMER, "eta_mins": [3e-4, 1e-5]}, ["eta_mins was [0.0003, 1e-06]"]),
    ],
)
def test_a_changed_schedule_goes_on_as_if_it_had_always_been_there(before, now, told, caplog):
    opt = optimizer()
    schedule = build_schedule(opt, before)
    for _ in range(5):  # after iteration 6
        opt.step()
        schedule.step()
    logging.getLogger("basicsr").addHandler(caplog.handler)
    try:
        state = schedule_state(now, schedule.state_dict(), [3e-4])
    finally:
        logging.getLogger("basicsr").removeHandler(caplog.handler)
    messages = set(caplog.messages)  # twice, if nothing has set up BasicSR's logger before
    assert len(messages) == len(told)
    assert all(any(text in message for message in messages) for text in told)
    resumed, later = optimizer(), []
    schedule = build_schedule(resumed, now)
    schedule.load_state_dict(dict(state))
    for group, rate in zip(resumed.param_groups, schedule.get_last_lr(), strict=True):
        group["lr"] = rate
    for _ in range(8):
        later.append(resumed.param_groups[0]["lr"])
        resumed.step()
        schedule.step()
    assert later == rates(now, 13)[5:]


@pytest.mark.parametrize(
    "options", [STEPS, COSINE, RESTORMER, {**STEPS, "restarts": [0, 6], "restart_weights": [1, 0.5]}]
)
def test_an_unchanged_schedule_keeps_its_state(options):
    schedule = build_schedule(optimizer(), options)
    schedule.last_epoch = 5
    saved = json.loads(json.dumps(schedule.state_dict())) if "milestones" not in options else schedule.state_dict()
    assert schedule_state(options, saved, [3e-4]) is saved
