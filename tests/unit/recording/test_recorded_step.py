"""The recorded step: replays compute what the step computes, on memory that stays, and draw on."""

from __future__ import annotations

import logging
import weakref

import pytest
import torch

from dckd_basicsr.distill import Sources
from dckd_basicsr.models.arranging import recorded_step
from dckd_basicsr.weight_files import load_state
from tests.models import BATCH, tensors, train
from tests.recording import record_operations

SGD = "train:optim_g={type: SGD, lr: 1e-3}"


def recorded(model, record=record_operations):
    """Give a CPU's model a recorded step."""
    model.runner.recorded = recorded_step(model, record)
    return model


def batches(count, sides=(16,)):
    for i in range(count):
        side = sides[min(i, len(sides) - 1)]
        yield {"lq": torch.rand(2, 3, side, side), "gt": torch.rand(2, 3, 2 * side, 2 * side)}


def run(model, data):
    logs = []
    for i, batch in enumerate(data, start=1):
        model.feed_data(batch)
        model.optimize_parameters(i)
        logs.append(model.get_current_log())
    return logs


SIZES = "train:negatives={degradation: {resize: {prob: 1}, blur: {prob: 0.5}}}"
"""Degradations that draw sizes, which a recording cannot."""
LATE_NEGATIVES = (
    *("train:contrastive_opt=~", "train:distribution_opt=~", "train:consistency_opt=~"),
    "train:losses=[{type: augkd}, {type: contrast, weight: 0.1, "
    "loss: {type: ContrastiveLoss, weights: [0.125, 0.25, 1.0]}}]",
)
"""A term that draws comes before the one with negatives."""


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("train:accumulate=2",),
        ("train:clip_grad_norm=0.01", "train:ema_decay=0"),
        (SIZES,),
        (SIZES, "train:accumulate=2"),
        (SIZES, "train:accumulate=2", "train:consistency_opt=~"),
        (SIZES, *LATE_NEGATIVES),
    ],
)
def test_replays_equal_the_step(build, options):
    """With updates of the history model in between, on new data each time; noise goes on as it would."""
    data = list(batches(5))
    torch.manual_seed(0)
    plain = build(SGD, *options)
    torch.manual_seed(0)
    replayed = recorded(build(SGD, *options))
    wanted, found = run(plain, data), run(replayed, data)
    assert replayed.runner.recorded is not None
    for a, b in zip(wanted, found, strict=True):
        assert b == pytest.approx(a, rel=1e-5)
    assert len({row["l_pix"] for row in found}) == 5
    for a, b in zip(plain.net_g.parameters(), replayed.net_g.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)
    one, two = (model.generators.training_state() for model in (plain, replayed))
    assert torch.equal(one["devices"]["cpu"], two["devices"]["cpu"])
    assert torch.equal(one["host"], two["host"])


def test_what_python_does_once_is_not_seen_again(build):
    """The stand-in itself: a recorded step must not follow what only Python changes."""
    model = recorded(build(SGD, "train:consistency_opt=~"))
    data = next(iter(batches(1)))
    model.feed_data(data)
    model.optimize_parameters(1)
    passes = []
    model.net_g.register_forward_hook(lambda *_: passes.append(1))
    model.optimize_parameters(2)
    assert passes == []


def test_another_size_is_recorded_anew(build):
    data = list(batches(4, sides=(16, 16, 24, 24)))
    torch.manual_seed(0)
    plain = build(SGD)
    torch.manual_seed(0)
    replayed = recorded(build(SGD))
    for a, b in zip(run(plain, data), run(replayed, data), strict=True):
        assert b == pytest.approx(a, rel=1e-5)


def test_degradations_that_draw_shapes_are_drawn_before(build):
    model = recorded(build(SGD, SIZES))
    logs = run(model, [BATCH] * 4)
    assert model.runner.recorded is not None
    assert len({row["d_negative"] for row in logs}) == 4


def test_parts_are_degraded_one_at_a_time(build, monkeypatch):
    """Accumulation is there to bound memory."""
    model = recorded(build(SGD, SIZES, "train:accumulate=4"))
    drawn: list[weakref.ref] = []
    alive = []

    def draw(parts, lq, draw=Sources.negative_inputs):
        degraded = draw(parts, lq)
        alive.append(sum(one() is not None for one in drawn))
        drawn.append(weakref.ref(degraded))
        return degraded

    data = {"lq": torch.rand(4, 3, 16, 16), "gt": torch.rand(4, 3, 32, 32)}
    run(model, [data])
    monkeypatch.setattr(Sources, "negative_inputs", draw)
    run(model, [data])
    assert alive == [0, 0, 0, 0]


def test_a_resumed_run_replays_exactly(build, tmp_path):
    straight = recorded(build())
    train(straight, range(1, 4))
    straight.save(0, 3)
    wanted = train(straight, range(4, 7))
    resumed = recorded(build(f"path:pretrain_network_g={tmp_path / 'experiments/tiny/models/net_g_3.pth'}"))
    resumed.resume_training(load_state(tmp_path / "experiments/tiny/training_states/3.state"))
    assert train(resumed, range(4, 7)) == wanted
    assert all(torch.equal(a, b) for a, b in zip(tensors(resumed), tensors(straight), strict=True))


@pytest.mark.parametrize("options", [(), (SIZES,)])
def test_a_step_that_cannot_be_recorded_runs_without(build, caplog, options):
    def refuse(run, generators):
        run()
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    torch.manual_seed(0)
    plain = build(SGD, *options)
    torch.manual_seed(0)
    failing = recorded(build(SGD, *options), refuse)
    logger = logging.getLogger("basicsr")
    logger.addHandler(caplog.handler)  # BasicSR's logger does not propagate
    try:
        found = train(failing, range(1, 4))
    finally:
        logger.removeHandler(caplog.handler)
    assert found == train(plain, range(1, 4))  # the tries left nothing behind, of randomness neither
    assert caplog.text.count("cannot be recorded as a CUDA graph and runs without: operation not permitted") == 1


def test_the_stand_in_refuses_what_a_gpu_refuses(build):
    values = torch.rand(3)
    with pytest.raises(RuntimeError, match="not permitted"):
        record_operations(lambda: values.sum().item(), [])
    with pytest.raises(RuntimeError, match="not announced"):
        record_operations(lambda: torch.rand(3, generator=torch.Generator()), [])


@pytest.mark.gpu
@pytest.mark.parametrize("options", [(), ("train:accumulate=2",)])
def test_a_cuda_graph_equals_the_step(build, options):
    data = list(batches(5))
    found = []
    for graph in ("false", "true"):
        torch.manual_seed(0)
        model = build(SGD, f"train:runtime={{cuda_graph: {graph}, precision: {{student: fp32, frozen: fp32}}}}",
                      *options, device=1)  # fmt: skip
        found.append(run(model, data))
        assert (model.runner.recorded is not None) == (graph == "true")  # it was recorded, and not given up
    for a, b in zip(*found, strict=True):
        assert b == pytest.approx(a, rel=1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("when", ["waiting", "recording"])
def test_on_a_gpu_a_step_that_cannot_be_recorded_runs_without(build, when):
    """Found in the last warm-up, or by a recording that fails; the random streams of both kinds draw on."""
    torch.manual_seed(0)
    plain = build(SGD, device=1)
    torch.manual_seed(0)
    failing = build(SGD, "train:runtime={cuda_graph: true}", device=1)
    stream, compute, calls = torch.cuda.current_stream(), failing.runner.recorded._compute, []

    def wait(*inputs):
        calls.append(torch.cuda.is_current_stream_capturing())
        if when == "waiting" or calls[-1]:
            torch.rand(3, device="cuda").sum().item()
        return compute(*inputs)

    failing.runner.recorded._compute = wait
    wanted, found = train(plain, range(1, 4)), train(failing, range(1, 4))
    assert failing.runner.recorded is None
    assert calls == [False] * 3 + [True] * (when == "recording")
    assert torch.cuda.current_stream() == stream
    for a, b in zip(wanted, found, strict=True):
        assert b == pytest.approx(a, rel=1e-3)
