"""Learning-rate schedules: closed forms, resumption, names."""

from __future__ import annotations

import math

import pytest
import torch

from dckd_basicsr.errors import ConfigError
from dckd_basicsr.runtime.schedules import build_schedule

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
