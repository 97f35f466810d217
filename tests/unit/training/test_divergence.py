"""Steps with values that are not finite are left out exactly, named, kept, and end the run when they go on."""

from __future__ import annotations

import logging

import pytest
import torch

from dckd_basicsr.errors import TrainingDiverged
from dckd_basicsr.training.divergence import DivergenceGuard, DivergenceSettings, gradient_norm, non_finite
from dckd_basicsr.weight_files import load_state

NAN = float("nan")


@pytest.fixture
def log(caplog):
    logging.getLogger("basicsr").addHandler(caplog.handler)
    yield caplog
    logging.getLogger("basicsr").removeHandler(caplog.handler)


def setup(tmp_path, **settings):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight], lr=0.1)
    return weight, optimizer, DivergenceGuard(DivergenceSettings(**settings), tmp_path, rank=1)


def step(weight, optimizer, guard, iteration: int, gradient: float, loss: float = 1.0) -> None:
    weight.grad = torch.full((3,), gradient)
    losses = {"l_pix": torch.tensor(0.5), "l_contrast": torch.tensor(loss)}
    guard.step(optimizer, iteration, losses, gradient_norm([weight]), {"lq": torch.full((1, 2), float(iteration))})


def test_the_norm_is_that_of_all_gradients():
    a, b, unused = (torch.nn.Parameter(torch.zeros(n)) for n in (2, 1, 4))
    a.grad, b.grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    assert gradient_norm([a, b, unused]) == 5.0


def test_a_bad_step_changes_nothing_and_is_named(tmp_path, log):
    weight, optimizer, guard = setup(tmp_path)
    step(weight, optimizer, guard, 1, 1.0)
    before, moments = weight.clone(), optimizer.state[weight]["exp_avg"].clone()
    step(weight, optimizer, guard, 2, NAN, loss=float("inf"))
    assert torch.equal(weight, before)
    assert torch.equal(optimizer.state[weight]["exp_avg"], moments)
    assert optimizer.state[weight]["step"] == 1
    assert "iteration 2: l_contrast is inf, gradient norm is nan; the step was left out" in log.text
    assert "(1 of at most 5 within 1000 iterations)" in log.text
    step(weight, optimizer, guard, 3, 1.0)
    assert not torch.equal(weight, before)


def test_the_batch_is_kept(tmp_path):
    weight, optimizer, guard = setup(tmp_path)
    step(weight, optimizer, guard, 7, NAN)
    kept = load_state(tmp_path / "iteration_7_rank_1.pth")
    assert kept["iteration"] == 7
    assert torch.equal(kept["lq"], torch.full((1, 2), 7.0))
    assert kept["values"]["l_pix"] == 0.5


def test_one_more_than_allowed_stops_the_run(tmp_path):
    weight, optimizer, guard = setup(tmp_path, max_skipped=2, save_batch=False)
    step(weight, optimizer, guard, 1, NAN)
    step(weight, optimizer, guard, 2, 1.0)
    step(weight, optimizer, guard, 3, float("inf"))
    with pytest.raises(TrainingDiverged, match=r"iteration 4: gradient norm is nan.*makes 3 within 1000 .*pped is 2"):
        step(weight, optimizer, guard, 4, NAN)
    assert weight.isfinite().all()
    assert not list(tmp_path.iterdir())


def test_a_few_bad_batches_do_not_stop_a_long_run(tmp_path):
    weight, optimizer, guard = setup(tmp_path, max_skipped=2, window=10, save_batch=False)
    for iteration in (1, 6, 11, 16, 21, 250_000):
        step(weight, optimizer, guard, iteration, NAN)
    step(weight, optimizer, guard, 250_001, NAN)
    resumed = setup(tmp_path, max_skipped=2, window=10, save_batch=False)[2]
    resumed.load_training_state(guard.training_state())
    with pytest.raises(TrainingDiverged, match=r"iteration 250009: .*makes 3 within 10 iterations"):
        step(weight, optimizer, resumed, 250_009, NAN)
    with pytest.raises(TrainingDiverged):
        step(weight, optimizer, guard, 250_009, NAN)


def test_two_optimizers_that_skip_one_batch_count_it_once(tmp_path, log):
    weight, optimizer, guard = setup(tmp_path, max_skipped=2)
    for iteration in (1, 2):
        step(weight, optimizer, guard, iteration, NAN)
        step(weight, optimizer, guard, iteration, NAN, loss=2.0)
    assert guard.training_state() == [1, 2]
    assert load_state(tmp_path / "iteration_2_rank_1.pth")["values"]["l_contrast"] == 1.0  # of the first
    assert "iteration 2: l_contrast is" not in log.text
    assert "iteration 2: gradient norm is nan; the step was left out (2 of at most 2 within" in log.text
    with pytest.raises(TrainingDiverged, match="That makes 3 within"):
        step(weight, optimizer, guard, 3, NAN)


def test_a_state_of_version_0_1_is_read(tmp_path):
    """It held how many steps a run had ever left out."""
    weight, optimizer, guard = setup(tmp_path, max_skipped=2, save_batch=False)
    guard.load_training_state(5)
    for iteration in (101, 102):
        step(weight, optimizer, guard, iteration, NAN)
    assert guard.training_state() == [101, 102]


def test_a_fused_optimizer_skips_on_the_device():
    """What the guard relies on where it does not wait for the device: ``found_inf`` makes a fused step a no-op."""
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight], lr=0.1, fused=True)
    assert optimizer._step_supports_amp_scaling
    for gradient, bad in ((1.0, 0.0), (NAN, 1.0)):
        weight.grad, optimizer.found_inf = torch.full((3,), gradient), torch.tensor(bad)
        before = weight.clone()
        optimizer.step()
        assert torch.equal(weight, before) == bool(bad)
    assert optimizer.state[weight]["step"] == 1


def test_non_finite_tensors_are_named():
    tensors = {"a": torch.ones(2), "b": torch.tensor([1.0, NAN]), "n": torch.tensor(3), "c": torch.tensor(float("inf"))}
    assert non_finite(tensors) == ["b", "c"]
    assert non_finite({"n": torch.tensor(1)}) == []


def test_settings_out_of_range():
    with pytest.raises(ValueError, match="max_skipped must be at least 0"):
        DivergenceSettings(max_skipped=-1)
    with pytest.raises(ValueError, match="window must be at least 1"):
        DivergenceSettings(window=0)
    assert DivergenceSettings(max_skipped=0, window=1).window == 1
