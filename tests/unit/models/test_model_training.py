"""A model's step and its state: reads, accumulation, divergence, learning rates, files."""

from __future__ import annotations

import math

import pytest
import torch

from dckd_basicsr.errors import CheckpointError, TrainingDiverged
from dckd_basicsr.weight_files import load_state, load_weights
from tests.models import BATCH, tensors, train


def test_terms_stay_on_the_device_until_they_are_read(build, monkeypatch):
    # Adam keeps its step count on the host and reads it there, and so does the divergence guard on a CPU
    model = build("train:optim_g={type: SGD, lr: 1e-3}", "train:divergence:check=false")
    model.feed_data(BATCH)
    monkeypatch.setattr(torch.Tensor, "item", lambda self: pytest.fail("a tensor was read in the step"))
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: pytest.fail("a tensor was read in the step"))
    monkeypatch.setattr(torch.Tensor, "numpy", lambda self: pytest.fail("a tensor was read in the step"))
    monkeypatch.setattr("dckd_basicsr.distill.generators.Generators.uniform", lambda self, low, high: low)
    model.optimize_parameters(1)
    assert model.values is not None


def test_the_divergence_guard_reads_once_a_step(build, monkeypatch):
    model = build("train:optim_g={type: SGD, lr: 1e-3}")
    model.feed_data(BATCH)
    reads, tolist = [], torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "item", lambda self: pytest.fail("a tensor was read in the step"))
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: reads.append(self.shape) or tolist(self))
    monkeypatch.setattr("dckd_basicsr.distill.generators.Generators.uniform", lambda self, low, high: low)
    model.optimize_parameters(1)
    assert reads == [(6,)]  # five terms and the gradient norm, together


def test_parts_of_a_batch_give_the_gradient_of_the_whole(build):
    """Terms that are means over the batch; contrast is a ratio of such means, and noise is drawn for each part."""
    off = [f"train:{term}=~" for term in ("contrastive_opt", "consistency_opt")]
    batch = {"lq": torch.rand(6, 3, 16, 16), "gt": torch.rand(6, 3, 32, 32)}
    found = []
    for parts in (1, 3):
        torch.manual_seed(4)
        model = build("train:optim_g={type: SGD, lr: 1.0}", f"train:accumulate={parts}", *off)
        model.feed_data(batch)
        model.optimize_parameters(1)
        found.append(([p.grad.clone() for p in model.net_g.parameters()], model.get_current_log()))
    for a, b in zip(found[0][0], found[1][0], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-5)


def test_an_infinite_loss_with_finite_derivatives_is_skipped(build):
    model = build("train:accumulate=2")
    before = tensors(model)[0]
    model.feed_data({"lq": BATCH["lq"], "gt": torch.full((2, 3, 32, 32), float("inf"))})
    model.optimize_parameters(1)
    assert model.guard.skipped == 1
    assert torch.equal(tensors(model)[0], before)
    kept = load_state(next(model.guard.folder.glob("iteration_1_rank_0.pth")))
    assert kept["values"]["l_pix"] == float("inf")


def test_weights_that_are_not_finite_are_not_written(build, tmp_path):
    model = build()
    model.save(0, 1)
    good = (tmp_path / "experiments/tiny/models/net_g_1.pth").read_bytes()
    with torch.no_grad():
        next(model.net_g.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingDiverged, match=r"no longer finite \(conv_first.weight\)"):
        model.save(0, 1)
    assert (tmp_path / "experiments/tiny/models/net_g_1.pth").read_bytes() == good


def test_warm_up_reaches_the_scheduled_rate(build):
    model = build("train:scheduler={type: MultiStepLR, milestones: [6], gamma: 0.5}")
    rates = []
    for i in range(1, 9):
        model.update_learning_rate(i, warmup_iter=4)
        rates.append(model.get_current_learning_rate()[0])
    assert rates == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3, 1e-3, 5e-4, 5e-4])


def test_cosine_with_warm_up_follows_its_formula_and_resumes(build, tmp_path):
    options = ["train:scheduler={type: CosineAnnealingLR, T_max: 8, eta_min: 1e-5}"]

    def formula(i: int) -> float:
        return (1e-5 + (1e-3 - 1e-5) * 0.5 * (1 + math.cos(math.pi * (i - 1) / 8))) * min(1.0, i / 4)

    model = build(*options)
    for i in range(1, 4):
        model.update_learning_rate(i, warmup_iter=4)
        assert model.get_current_learning_rate()[0] == pytest.approx(formula(i))
    model.save(0, 3)  # in the middle of the warm-up
    resumed = build(*options)
    resumed.resume_training(load_state(tmp_path / "experiments/tiny/training_states/3.state"))
    for i in range(4, 10):
        resumed.update_learning_rate(i, warmup_iter=4)
        assert resumed.get_current_learning_rate()[0] == pytest.approx(formula(i))


def test_weights_also_as_safetensors(build, tmp_path):
    model = build("logger:safetensors=true")
    train(model, [1])
    model.save(0, 1)
    found = load_weights(tmp_path / "experiments/tiny/models/net_g_1.safetensors")
    assert all(torch.equal(found.state[k], v) for k, v in model.net_g_ema.state_dict().items())
    assert found.config["num_feat"] == 8


def test_a_lower_rate_wins_over_the_state(build, tmp_path):
    model = build("train:scheduler={type: MultiStepLR, milestones: [6], gamma: 0.5}")
    train(model, range(1, 4))
    model.save(0, 3)
    resumed = build("train:scheduler={type: MultiStepLR, milestones: [6], gamma: 0.5}", "train:optim_g:lr=1e-5")
    resumed.resume_training(load_state(tmp_path / "experiments/tiny/training_states/3.state"))
    rates = []
    for i in range(4, 9):
        resumed.update_learning_rate(i)
        rates.append(resumed.get_current_learning_rate()[0])
    assert rates == pytest.approx([1e-5, 1e-5, 1e-5, 5e-6, 5e-6])


def test_a_changed_schedule_wins_over_the_state(build, tmp_path):
    steps = "train:scheduler={type: MultiStepLR, milestones: [6], gamma: 0.5}"
    model = build(steps)
    train(model, range(1, 4))
    model.save(0, 3)
    other = steps.replace("[6]", "[2, 7]").replace("0.5", "0.1")
    resumed = build(other, "train:optim_g:lr=1e-2")  # both at once
    resumed.resume_training(load_state(tmp_path / "experiments/tiny/training_states/3.state"))
    rates = []
    for i in range(4, 10):
        resumed.update_learning_rate(i)
        rates.append(resumed.get_current_learning_rate()[0])
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 1e-3, 1e-4, 1e-4])


def test_a_state_of_another_optimizer_implementation_goes_on(build, tmp_path):
    model = build("train:optim_g:foreach=true")
    train(model, range(1, 3))
    model.save(0, 2)
    resumed = build("train:optim_g:fused=true")
    resumed.resume_training(load_state(tmp_path / "experiments/tiny/training_states/2.state"))
    group = resumed.optimizer_g.param_groups[0]
    assert (group["fused"], group.get("foreach")) == (True, None)
    resumed.optimizer_g.found_inf = torch.tensor(0.0)  # what the guard sets on a GPU
    train(resumed, [3])
    assert resumed.optimizer_g.state[group["params"][0]]["step"] == 3


def test_optimizers_and_schedulers_by_name(build):
    model = build(
        "train:optim_g={type: AdamW, lr: 1e-3, weight_decay: 0.1}",
        "train:scheduler={type: CosineAnnealingLR, T_max: 10, eta_min: 1e-6}",
    )
    assert isinstance(model.optimizer_g, torch.optim.AdamW)
    train(model, range(1, 4))
    assert 1e-6 < model.get_current_learning_rate()[0] < 1e-3
    assert model.opt["train"]["optim_g"]["type"] == "AdamW"  # the options are left as they were


def test_a_failed_save_raises(build, tmp_path):
    model = build()
    folder = tmp_path / "experiments/tiny/models"
    folder.rmdir()
    folder.write_text("in the way")
    with pytest.raises(CheckpointError, match=r"net_g_1\.pth' cannot be written"):
        model.save(0, 1)


FP16 = "train:runtime={precision: {student: fp16, frozen: fp16}}"


@pytest.mark.parametrize("check", [True, False])
def test_float16_that_overflows_lowers_its_scale_and_is_no_divergence(build, check):
    model = build(FP16, f"train:divergence:check={check}", "train:divergence:max_skipped=0")
    model.scaler.load_state_dict({**model.scaler.state_dict(), "scale": 2.0**100})
    before = tensors(model)[0]
    train(model, [1])
    assert torch.equal(tensors(model)[0], before)
    assert (model.guard.skipped, model.scaler.get_scale()) == (0, 2.0**99)
    model.scaler.load_state_dict({**model.scaler.state_dict(), "scale": 2.0**10})
    train(model, [2])
    assert not torch.equal(tensors(model)[0], before)
    assert model.scaler.get_scale() == 2.0**10


def test_float16_gradients_come_out_unscaled(build):
    """What clipping, the log and the optimizer see is the gradient, not 65536 times it."""
    found = []
    for options in ((), (FP16,)):
        torch.manual_seed(5)
        model = build("train:optim_g={type: SGD, lr: 0.0}", *options)
        model.feed_data(BATCH)
        model.optimize_parameters(1)
        found.append(torch.cat([p.grad.flatten() for p in model.net_g.parameters()]).norm().item())
    assert found[1] == pytest.approx(found[0], rel=0.1)


def test_float16_counts_divergence_once_the_scale_has_come_down(build):
    """By the averaged gradient and the scale alone, which all processes share; losses are each process's own."""
    model = build(FP16)
    model.scaler.load_state_dict({**model.scaler.state_dict(), "scale": 2.0})
    model.feed_data({"lq": BATCH["lq"], "gt": torch.full((2, 3, 32, 32), float("inf"))})
    before = tensors(model)[0]
    counts = []
    for i in range(1, 4):
        model.optimize_parameters(i)
        counts.append((model.guard.skipped, model.scaler.get_scale()))
    assert counts == [(0, 1.0), (1, 0.5), (2, 0.25)]
    assert torch.equal(tensors(model)[0], before)


def test_nothing_was_measured_before_the_first_step(build):
    assert build().get_current_log() == {}
