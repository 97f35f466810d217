"""The guard where it does not wait for the device: a stand-in for a GPU's events, fused steps on the CPU."""

from __future__ import annotations

import dataclasses
import logging

import pytest
import torch

from dckd_basicsr.errors import TrainingDiverged
from dckd_basicsr.training.divergence import DivergenceGuard, DivergenceSettings, gradient_norm

NAN = float("nan")


class Event:
    """Values are here when the test says so, or when somebody waits."""

    def __init__(self) -> None:
        self.here = False
        self.waits = 0

    def query(self) -> bool:
        return self.here

    def synchronize(self) -> None:
        self.here, self.waits = True, self.waits + 1


class Deferred:
    """A guard whose values take their time, over one fused parameter."""

    def __init__(self, monkeypatch, folder, fused: bool = True, **settings) -> None:
        self.weight = torch.nn.Parameter(torch.ones(3))
        self.optimizer = torch.optim.Adam([self.weight], lr=0.1, fused=fused)
        self.guard = DivergenceGuard(DivergenceSettings(**settings), folder)
        self.events: list[Event] = []
        report = self.guard._report

        def later(*args):
            self.events.append(Event())
            return dataclasses.replace(report(*args), arrived=self.events[-1])

        monkeypatch.setattr(self.guard, "_report", later)

    def step(self, iteration: int, gradient: float = 1.0) -> bool:
        """Take a step; return whether the weight moved."""
        before = self.weight.detach().clone()
        self.weight.grad = torch.full((3,), gradient)
        losses = {"l_pix": torch.tensor(0.5)}
        self.guard.step(self.optimizer, iteration, losses, gradient_norm([self.weight]), {"lq": torch.ones(1)})
        return not torch.equal(self.weight, before)


@pytest.fixture
def log(caplog):
    """What the run's log says; BasicSR's logger does not propagate."""
    logging.getLogger("basicsr").addHandler(caplog.handler)
    yield caplog
    logging.getLogger("basicsr").removeHandler(caplog.handler)


def test_bad_steps_are_skipped_at_once_and_counted_when_their_values_come(monkeypatch, tmp_path, log):
    run = Deferred(monkeypatch, tmp_path)
    assert run.step(1)
    assert run.events[0].waits == 1  # a fused optimizer without state is waited for
    assert run.step(2)
    assert not run.step(3, NAN)
    assert run.step(4)
    assert [event.waits for event in run.events[1:]] == [0, 0, 0]
    assert run.guard.skipped == 0
    for event in run.events[1:3]:
        event.here = True
    assert run.step(5)
    assert run.guard.skipped == 1
    kept = tmp_path / "iteration_3_rank_0.pth"
    assert f"iteration 3: gradient norm is nan; the step was left out and its batch kept in '{kept}'" in log.text
    assert kept.is_file()
    assert [event.waits for event in run.events[1:]] == [0] * 4


def test_values_are_read_in_their_order(monkeypatch, tmp_path):
    run = Deferred(monkeypatch, tmp_path)
    run.step(1)
    run.step(2, NAN)
    run.step(3, NAN)
    run.events[2].here = True  # the later one first: it waits for the earlier one
    run.step(4)
    assert run.guard.skipped == 0


def test_settling_waits_for_all_and_stops_a_run_that_has_diverged(monkeypatch, tmp_path):
    run = Deferred(monkeypatch, tmp_path, max_skipped=1)
    run.step(1)
    run.step(2, NAN)
    run.guard.settle()
    assert run.guard.skipped == 1
    assert run.events[1].waits == 1
    run.step(3, NAN)
    with pytest.raises(TrainingDiverged, match="iteration 3"):
        run.guard.settle()
    assert not Deferred(monkeypatch, tmp_path).guard.skipped


@pytest.mark.parametrize("case", ["not fused", "one group of two", "a kind that cannot skip"])
def test_optimizers_that_cannot_skip_are_waited_for(monkeypatch, tmp_path, case):
    run = Deferred(monkeypatch, tmp_path, fused=case != "not fused")
    if case == "one group of two":
        other = torch.nn.Parameter(torch.ones(1))
        run.optimizer.add_param_group({"params": [other], "fused": False})
    if case == "a kind that cannot skip":
        del run.optimizer._step_supports_amp_scaling
    for i in (1, 2):
        assert run.step(i)
    assert not run.step(3, NAN)
    assert [event.waits for event in run.events] == [1, 1, 1]
    assert run.guard.skipped == 1


def test_the_check_is_on_and_a_run_may_allow_no_step_to_be_left_out(monkeypatch, tmp_path):
    assert DivergenceSettings(max_skipped=0).check
    run = Deferred(monkeypatch, tmp_path, max_skipped=0)
    run.step(1)
    run.step(2, NAN)
    with pytest.raises(TrainingDiverged):
        run.guard.settle()


@pytest.mark.parametrize(("scale", "skipped"), [(2.0, 0), (1.0, 1), (0.5, 1)])
def test_above_a_loss_scale_of_one_it_is_an_overflow(tmp_path, said, scale, skipped):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    guard = DivergenceGuard(DivergenceSettings(), tmp_path)
    weight.grad = torch.full((3,), NAN)
    losses = {"l_pix": torch.tensor(0.5)}
    guard.step(optimizer, 4, losses, gradient_norm([weight]), {"lq": torch.ones(1)}, torch.tensor(scale))
    assert weight.tolist() == [1, 1, 1]
    assert guard.skipped == skipped
    assert ("iteration 4: gradient norm is nan at loss scale 2, which is halved" in said) == (not skipped)
