"""The models without the pipelines: state, resume, what is built, and what a GPU must not change."""

from __future__ import annotations

import logging

import pytest
import torch

from dckd_basicsr.archs import ArchFacts
from dckd_basicsr.config import parse
from dckd_basicsr.errors import CheckpointError, ConfigError
from dckd_basicsr.training.compiling import can_compile
from dckd_basicsr.weight_files import load_state
from tests.models import BATCH, tensors, train

needs_compiler = pytest.mark.skipif(not can_compile(torch.device("cpu")), reason="no C++ compiler")


def test_a_resumed_model_goes_on_exactly(build, tmp_path):
    straight = build()
    train(straight, range(1, 4))
    straight.save(0, 3)
    wanted = train(straight, range(4, 7))

    state = load_state(tmp_path / "experiments/tiny/training_states/3.state")
    resumed = build(f"path:pretrain_network_g={tmp_path / 'experiments/tiny/models/net_g_3.pth'}")
    resumed.resume_training(state)
    assert resumed.history.updates == 1
    assert train(resumed, range(4, 7)) == wanted
    for a, b in zip(tensors(resumed), tensors(straight), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    "runtime",
    [
        "{channels_last: true, recompute: true}",
        "{precision: {student: bf16, frozen: bf16}, channels_last: auto}",
        "{precision: {student: fp16, frozen: fp16}}",
        pytest.param("{compile: true, channels_last: auto}", marks=needs_compiler),
    ],
)
def test_a_resumed_model_goes_on_exactly_with_runtime_options(build, tmp_path, runtime):
    options = (f"train:runtime={runtime}", "network_g:num_block=2")
    straight = build(*options)
    train(straight, range(1, 4))
    straight.save(0, 3)
    wanted = train(straight, range(4, 7))
    resumed = build(*options, f"path:pretrain_network_g={tmp_path / 'experiments/tiny/models/net_g_3.pth'}")
    resumed.resume_training(load_state(tmp_path / "experiments/tiny/training_states/3.state"))
    assert train(resumed, range(4, 7)) == wanted
    assert all(torch.equal(a, b) for a, b in zip(tensors(resumed), tensors(straight), strict=True))


def test_runtime_options_stay_near_the_plain_run(build):
    def first(*overrides):
        torch.manual_seed(1)
        return train(build("network_g:num_block=2", *overrides), [1])[0]

    plain = first()
    exact = first("train:runtime={channels_last: true, recompute: true}")
    assert exact == pytest.approx(plain, rel=2e-4)
    for kind in ("bf16", "fp16"):
        mixed = first(f"train:runtime={{precision: {{student: {kind}, frozen: {kind}}}}}")
        assert mixed != plain
        assert mixed == pytest.approx(plain, rel=0.05)


def test_a_stock_state_resumes_with_a_fresh_history(build, tmp_path, caplog):
    model = build()
    train(model, range(1, 3))
    model.save(0, 2)
    state = load_state(tmp_path / "experiments/tiny/training_states/2.state")
    del state["dckd"]
    logging.getLogger("basicsr").addHandler(caplog.handler)  # BasicSR's logger does not propagate
    try:
        resumed = build()
        resumed.resume_training(state)
    finally:
        logging.getLogger("basicsr").removeHandler(caplog.handler)
    assert "written by stock BasicSR" in caplog.text
    assert resumed.history.updates == 0


def test_a_state_of_version_0_1_resumes(build, tmp_path):
    """It counted skipped steps over the whole run, and kept the count."""
    model = build()
    train(model, range(1, 3))
    model.save(0, 2)
    state = load_state(tmp_path / "experiments/tiny/training_states/2.state")
    state["dckd"]["skipped"] = 5
    resumed = build()
    resumed.resume_training(state)
    assert resumed.guard.skipped == 0
    train(resumed, [3])


def test_same_seed_same_run(build):
    def fresh():
        torch.manual_seed(1)
        return train(build(), range(1, 4))

    assert fresh() == fresh()


def test_chunks_change_nothing(build):
    def losses(*overrides):
        torch.manual_seed(1)
        model = build(*overrides)
        # At the very start the history model *is* the student, and |S - H(LQ)| has no gradient but its rounding's.
        for p in model.history.net.parameters():
            p.data.add_(torch.randn_like(p), alpha=0.05)
        return train(model, range(1, 4))

    whole = losses()
    chunked = losses("train:negatives={chunk: 3}", "train:encoder={chunk: 5}")
    for a, b in zip(whole, chunked, strict=True):
        assert b == pytest.approx(a, rel=2e-4)


@pytest.mark.parametrize(
    ("off", "teacher", "history", "encoder"),
    [
        (("logits_opt", "contrastive_opt", "distribution_opt", "consistency_opt"), False, False, False),
        (("contrastive_opt", "distribution_opt", "consistency_opt"), True, False, False),
        (("contrastive_opt",), True, False, True),
        (("distribution_opt",), True, True, True),
    ],
)
def test_only_what_the_terms_need_is_built(build, off, teacher, history, encoder):
    model = build(*(f"train:{term}=~" for term in off))
    assert bool(model.sources.teachers) == teacher
    assert (model.history is not None) == history
    assert (model.sources.encoder is not None) == encoder
    assert "history" not in model.extra_training_state() or history
    assert set(train(model, [1])[0]) >= {"l_pix", "l_total"}


def test_history_follows_the_average_or_the_student(build):
    average, student = build(), build("train:history:source=student")
    assert average.followed() is average.net_g_ema
    assert student.followed() is student.net_g
    without = build("train:ema_decay=0")
    assert without.followed() is without.net_g
    train(without, range(1, 3))
    assert without.history.updates == 1


def test_moving_average_by_hand(build):
    model = build("train:ema_decay=0.75")
    before = [p.clone() for p in model.net_g_ema.parameters()]
    train(model, [1])
    for old, new, now in zip(before, model.net_g_ema.parameters(), model.net_g.parameters(), strict=True):
        torch.testing.assert_close(new, 0.75 * old + 0.25 * now)


def write_entries(net, path):
    entries = {"params": 1, "params_ema": 2, "tuned": 3}
    file = {
        name: {k: torch.full_like(v, value) for k, v in net.state_dict().items()} for name, value in entries.items()
    }
    torch.save(file, path)


@pytest.mark.parametrize(
    ("key", "student", "average"),
    [(None, 1, 2), ("params", 1, 1), ("params_ema", 2, 2), ("tuned", 3, 3), ("~", 2, 2)],
)
def test_student_and_average_start_from_the_entry_that_is_named(build, tmp_path, key, student, average):
    write_entries(build().net_g, tmp_path / "file.pth")
    keys = () if key is None else (f"path:param_key_g={key}",)
    model = build(f"path:pretrain_network_g={tmp_path / 'file.pth'}", *keys)
    for network, wanted in ((model.net_g, student), (model.net_g_ema, average), (model.history.net, average)):
        assert all((p == wanted).all() for p in network.parameters())


def test_a_resumed_average_is_its_own(build, tmp_path):
    """A resume sets ``param_key_g``, since training goes on with the weights."""
    model = build()
    train(model, range(1, 4))
    model.save(0, 3)
    state = tmp_path / "experiments/tiny/training_states/3.state"
    again = build(
        f"path:pretrain_network_g={tmp_path / 'experiments/tiny/models/net_g_3.pth'}",
        "path:param_key_g=params",
        f"path:resume_state={state}",
    )
    for ours, theirs in ((again.net_g, model.net_g), (again.net_g_ema, model.net_g_ema)):
        assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert not torch.equal(next(again.net_g.parameters()), next(again.net_g_ema.parameters()))


@pytest.mark.parametrize(("key", "average"), [("params", 1), (None, 2)])
def test_a_resume_that_ignores_the_student_takes_its_average_from_the_same_file(build, tmp_path, key, average):
    model = build()
    model.save(0, 3)
    write_entries(model.net_g, tmp_path / "file.pth")
    again = build(
        f"path:pretrain_network_g={tmp_path / 'file.pth'}",
        f"path:resume_state={tmp_path / 'experiments/tiny/training_states/3.state'}",
        "path:ignore_resume_networks=[network_g]",
        *(["path:param_key_g=params"] if key else []),
    )
    for network, wanted in ((again.net_g, 1), (again.net_g_ema, average)):
        assert all((p == wanted).all() for p in network.parameters())


def test_an_average_starts_as_the_student_where_a_file_fits_in_part(build, tmp_path):
    states = build().net_g.state_dict()
    torch.save({"params": {k: v for k, v in states.items() if "conv_last" not in k}}, tmp_path / "part.pth")
    model = build(f"path:pretrain_network_g={tmp_path / 'part.pth'}", "path:strict_load_g=false")
    for a, b in zip(model.net_g.parameters(), model.net_g_ema.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_teacher_is_frozen_and_loaded(build, model_job):
    model = build()
    saved = torch.load(model_job / "teacher.pth", weights_only=True)["params"]
    train(model, range(1, 4))
    assert not any(p.requires_grad for p in model.sources.teachers["teacher"].parameters())
    assert all(torch.equal(v, saved[k]) for k, v in model.sources.teachers["teacher"].state_dict().items())
    trained = {id(p) for group in model.optimizer_g.param_groups for p in group["params"]}
    assert trained == {id(p) for p in model.net_g.parameters()}


def test_distribution_forms_and_input_ranges_change_the_terms(build):
    def first(*overrides):
        torch.manual_seed(1)
        return train(build(*overrides), [1])[0]

    paper, released = first(), first("train:distribution_opt:form=released")
    assert paper["l_pix"] == released["l_pix"]
    assert paper["l_dist"] != released["l_dist"]
    plain = first("train:encoder={input_range: [0, 1]}")
    assert plain["l_contrast"] != paper["l_contrast"]


def test_weights_per_tap_are_checked_against_the_vqgan(build):
    with pytest.raises(ConfigError, match=r"weights has 2 entries, but the VQGAN has 3 levels"):
        build("train:contrastive_opt:weights=[1.0, 1.0]")
    with pytest.raises(ConfigError, match=r"5 entries, but the VQGAN has 3 levels"):
        build("train:contrastive_opt={type: ContrastiveLoss}")


def test_the_model_checks_the_weights_per_tap_itself(build, monkeypatch):
    monkeypatch.setattr(parse, "check_options", lambda *args, **kwargs: None)
    with pytest.raises(ConfigError, match=r"weights with 5 entries, but the VQGAN has 3 levels; give one"):
        build("train:contrastive_opt={type: ContrastiveLoss}")


def test_patches_must_fit_rules_that_only_a_weight_file_tells(build):
    model = build()
    model.check_patches("network_teacher", ArchFacts(scale=2, multiple_of=8, minimum=16))  # 16 px fit
    with pytest.raises(ConfigError, match=r"patches of 16 px, but network_teacher \(EDSR\) takes multiples of 12"):
        model.check_patches("network_teacher", ArchFacts(scale=2, multiple_of=12))
    with pytest.raises(ConfigError, match="at least 32"):
        model.check_patches("network_teacher", ArchFacts(scale=2, minimum=32))
    model.check_patches("network_teacher", ArchFacts(scale=2, input_channels=3, output_channels=3))
    with pytest.raises(ConfigError, match=r"images of 3 channels, but network_teacher \(EDSR\) has output_channels: 1"):
        model.check_patches("network_teacher", ArchFacts(scale=2, input_channels=3, output_channels=1))


def test_a_student_that_does_not_fit_its_weights(build, model_job, monkeypatch):
    with pytest.raises(ConfigError, match="do not fit EDSR"):
        build(f"path:pretrain_network_g={model_job / 'teacher.pth'}")
    monkeypatch.setattr(parse, "check_options", lambda *args, **kwargs: None)  # the model refuses them itself too
    with pytest.raises(CheckpointError, match="do not fit EDSR"):
        build(f"path:pretrain_network_g={model_job / 'teacher.pth'}")


@pytest.mark.gpu
def test_on_a_gpu_the_terms_equal_the_cpus(build):
    """With a past that is not the present: where S equals a negative, the contrast divides by rounding."""
    exact = ("train:runtime={precision: {student: fp32, frozen: fp32}}",)
    off = ("train:consistency_opt=~", "train:negatives={degradation: {noise: {prob: 0}}}")
    losses = []
    for device in (0, 1):
        torch.manual_seed(1)
        model = build(*exact, *off, device=device)
        for parameter in model.history.net.parameters():
            parameter.data.mul_(0.9)
        losses.append(train(model, range(1, 4)))
    for cpu, gpu in zip(*losses, strict=True):
        assert gpu == pytest.approx(cpu, rel=2e-3)


@pytest.mark.gpu
def test_on_a_gpu_a_step_does_not_synchronise(build):
    model = build(device=1)
    train(model, range(1, 3))
    model.feed_data(BATCH)
    torch.cuda.set_sync_debug_mode("error")
    try:
        model.optimize_parameters(3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.isfinite(v) for v in model.values.values())


@pytest.mark.gpu
def test_on_a_gpu_a_resumed_model_has_its_noise(build, tmp_path):
    model = build(device=1)
    train(model, range(1, 4))
    model.save(0, 3)
    state = load_state(tmp_path / "experiments/tiny/training_states/3.state")
    assert set(state["dckd"]["generators"][0]["devices"]) == {"cuda"}
    resumed = build(device=1)
    resumed.resume_training(state)
    wanted = torch.rand(5, generator=model.generators.on("cuda"), device="cuda")
    assert torch.equal(torch.rand(5, generator=resumed.generators.on("cuda"), device="cuda"), wanted)


@pytest.mark.gpu
def test_on_a_gpu_a_fused_optimizer_skips_without_waiting(build):
    """Nothing is kept of the batch: where the values arrive at once, keeping it is what waits."""
    model = build("train:divergence:save_batch=false", device=1)
    assert model.optimizer_g.defaults["fused"]
    train(model, [1])
    before = tensors(model)[0]
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        model.gt = torch.full_like(model.gt, float("nan"))
        model.optimize_parameters(2)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    model.guard.settle()
    assert model.guard.skipped == 1
    assert torch.equal(tensors(model)[0], before)


@pytest.mark.gpu
def test_on_a_gpu_the_batch_of_a_skipped_step_is_kept(build):
    model = build(device=1)
    train(model, [1])
    model.gt = torch.full_like(model.gt, float("nan"))
    model.optimize_parameters(2)
    model.guard.settle()
    assert (model.guard.folder / "iteration_2_rank_0.pth").is_file()
