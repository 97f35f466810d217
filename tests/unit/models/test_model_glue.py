"""What a model hands to its parts: seeds, settings, averages, processes, files. Its steps: test_model_training."""

from __future__ import annotations

import contextlib

import pytest
import torch

from dckd_basicsr.archs import ArchFacts
from dckd_basicsr.config import parse
from dckd_basicsr.distill import ConsistencySettings, Need, NegativesSettings
from dckd_basicsr.errors import ConfigError
from dckd_basicsr.models import base, dckd_model, restoration_model
from dckd_basicsr.weight_files import load_state
from tests.models import BATCH, train
from tests.tiny import LAYOUT

ALONE = tuple(f"train:{term}=~" for term in ("logits_opt", "contrastive_opt", "distribution_opt", "consistency_opt"))


# --- what is built


def test_every_process_draws_its_own_and_one_keeps_the_record(build):
    model = build(*ALONE)
    assert model.generators.seed == 3
    assert model.record.path.name == "validations.json"
    assert model.sources.generators is model.generators
    model.opt["rank"] = 2
    model.init_training_settings()
    assert model.generators.seed == 3 + 2 * 1_000_003
    assert model.record.path is None
    assert model.guard.rank == 2


def test_settings_reach_the_parts(build):
    model = build(
        "train:negatives={num: 3, chunk: 2}", "train:consistency={prob: 0.25}", "train:encoder={input_range: [0, 1]}"
    )
    assert model.sources.negatives == NegativesSettings(num=3, chunk=2)
    assert model.sources.consistency == ConsistencySettings(prob=0.25)
    assert model.sources.encoder.settings.input_range == (0, 1)
    assert model.sources.generators is model.generators
    teacher = model.sources.teachers["teacher"]
    assert not any(p.requires_grad for net in (teacher, model.net_g_ema) for p in net.parameters())
    assert not teacher.training


def test_frozen_networks_run_in_their_own_precision(build):
    mixed = build("train:runtime={precision: {student: fp32, frozen: bf16}}")
    with mixed.sources.frozen_region():
        assert torch.is_autocast_enabled("cpu")
    with build().sources.frozen_region():
        assert not torch.is_autocast_enabled("cpu")


def test_the_vqgan_of_given_options_or_of_those_its_weights_tell(build):
    told = build()
    given = build(f"network_vqgan={{type: VQGAN, ddconfig: {LAYOUT}, n_embed: 16, embed_dim: 6}}".replace("'", ""))
    for a, b in zip(told.sources.encoder.parameters(), given.sources.encoder.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not hasattr(given.sources.encoder.vqgan, "decoder")


def test_the_vqgan_has_its_weights_and_as_many_levels_as_weights(build, model_job, monkeypatch):
    saved = torch.load(model_job / "vqgan.pth", weights_only=True)["state_dict"]
    found = build().sources.encoder.vqgan.state_dict()
    assert "quantize.embedding.weight" in found
    assert all(torch.equal(value, saved[key]) for key, value in found.items())
    monkeypatch.setattr(parse, "check_options", lambda *args, **kwargs: None)  # the model looks itself too
    with pytest.raises(ConfigError, match=r"weights with 2 entries, but the VQGAN has 3 levels"):
        build("train:contrastive_opt:weights=[1.0, 1.0]")


def test_a_network_of_another_scale_is_refused(build, monkeypatch):
    monkeypatch.setattr(parse, "check_options", lambda *args, **kwargs: None)  # the models refuse them too
    with pytest.raises(ConfigError, match=r"network_g \(EDSR\) upscales by 4, but scale is 2"):
        build("network_g:upscale=4", *ALONE)
    with pytest.raises(ConfigError, match=r"network_teacher \(EDSR\) upscales by 4, but scale is 2"):
        build("network_teacher:upscale=4", "path:pretrain_network_teacher=~")


def test_without_a_scale_images_keep_their_size(build, monkeypatch):
    opt, asked, inner = build(*(each for each in ALONE if "logits" not in each)).opt, [], base.build
    del opt["scale"]

    def unscaled(options, *, scale=None, **rest):
        asked.append(scale)
        return inner(options, **rest)._replace(facts=ArchFacts(scale=1))

    for module in (base, dckd_model):
        monkeypatch.setattr(module, "build", unscaled)
    dckd_model.DCKDModel(opt)
    assert asked == [None, None, 1]  # the student and its average take any, the teacher's has to be the run's


def test_patches_are_checked_for_both_networks(build, monkeypatch):
    asked = []
    monkeypatch.setattr(
        restoration_model.RestorationModel,
        "check_patches",
        lambda self, name, facts, *_: asked.append((name, facts.scale)),
    )
    build()
    assert sorted(asked) == [("network_g", 2), ("network_teacher", 2)]


def test_progressive_patches_are_checked_too_and_unsized_ones_are_not(build):
    model = build(*ALONE)
    facts = ArchFacts(scale=2, multiple_of=8)
    train_set = model.opt["datasets"]["train"]
    train_set["progressive"] = [[2, 16, 2], [9, 24, 2]]
    with pytest.raises(ConfigError, match=r"gt_size 24 in datasets\.train gives LQ patches of 12 px"):
        model.check_patches("network_g", facts)
    del train_set["progressive"], train_set["gt_size"]
    model.check_patches("network_g", facts)


def test_the_example_has_the_patches_size_or_one_that_the_student_takes(build):
    model = build(*ALONE)
    assert model.lq_side() == model.opt["datasets"]["train"]["gt_size"] // model.scale
    model.opt["datasets"]["train"]["gt_size"] = None
    assert model.lq_side() == 64
    model.facts = ArchFacts(scale=2, multiple_of=7)
    assert model.lq_side() == 70


def test_a_teacherless_model_says_what_it_cannot_do(build, monkeypatch):
    monkeypatch.setattr(parse, "check_options", lambda *args, **kwargs: None)
    with pytest.raises(ConfigError, match="RestorationModel trains without a teacher, but train asks for"):
        build("model_type=RestorationModel")
    model = build("model_type=RestorationModel", *ALONE)
    assert set(train(model, [1])[0]) == {"l_pix", "l_total"}


def test_on_a_gpu_optimizers_are_fused_where_they_can_be(build):
    model = build(*ALONE)
    found = []
    for device, options in (
        ("cpu", {"type": "Adam"}),
        ("cuda", {"type": "Adam"}),
        ("cuda", {"type": "AdamW", "foreach": True}),
        ("cuda", {"type": "AdamW", "fused": False}),
        ("cuda", {"type": "RMSprop"}),
    ):
        model.device = torch.device(device)
        model.opt["train"]["optim_g"] = {**options, "lr": 1e-3}
        model.setup_optimizers()
        found.append(model.optimizer_g.defaults.get("fused"))
        assert model.optimizers[-1] is model.optimizer_g
    assert found == [None, True, None, False, None]


def test_only_parameters_that_train_are_optimised(build):
    model = build(*ALONE)
    frozen = next(model.net_g.parameters()).requires_grad_(False)
    model.setup_optimizers()
    held = {id(p) for p in model.optimizer_g.param_groups[0]["params"]}
    assert held == {id(p) for p in model.net_g.parameters()} - {id(frozen)}


# --- the moving average


def test_the_average_starts_as_the_student_and_follows_its_buffers(build):
    model = build(*ALONE)
    for a, b in zip(model.net_g_ema.state_dict().values(), model.net_g.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert not model.net_g_ema.training
    for net in (model.net_g, model.net_g_ema):
        net.register_buffer("counted", torch.zeros(2))
    model.net_g.counted.fill_(7.0)
    with torch.no_grad():
        for p in model.net_g.parameters():
            p.add_(1.0)
    before = [p.clone() for p in model.net_g_ema.parameters()]
    model.model_ema()  # 0.999, as in BasicSR
    assert model.net_g_ema.counted.tolist() == [7, 7]
    for old, new in zip(before, model.net_g_ema.parameters(), strict=True):
        torch.testing.assert_close(new - old, torch.full_like(old, 0.001), rtol=0, atol=1e-5)


def test_without_an_average_there_is_none(build):
    model = build("train:ema_decay=~", *ALONE)
    train(model, [1])
    assert model.ema_decay == 0
    assert not hasattr(model, "net_g_ema")


# --- a step


def test_gradients_are_gone_before_a_step(build, monkeypatch):
    model = build(*ALONE)
    train(model, [1])
    seen, inner = [], model._forward_backward
    monkeypatch.setattr(
        model, "_forward_backward", lambda: seen.extend(p.grad for p in model.net_g.parameters()) or inner()
    )
    train(model, [2])
    assert seen
    assert all(gradient is None for gradient in seen)


def test_the_backward_pass_knows_whether_it_goes_through_the_encoder(build, monkeypatch):
    asked, inner = [], restoration_model.backward_region
    monkeypatch.setattr(
        restoration_model, "backward_region", lambda *a, **options: asked.append(options) or inner(*a, **options)
    )
    for overrides in ((), ALONE):
        train(build(*overrides), [1])
    assert asked == [{"encoder": True}, {"encoder": False}]


def test_batches_of_a_new_size_are_said_once(build, said):
    model = build(*ALONE)
    train(model, range(1, 3))
    model.feed_data({"lq": torch.rand(1, 3, 12, 20), "gt": torch.rand(1, 3, 24, 40)})
    model.optimize_parameters(3)
    assert [text for text in said if "LQ patches" in text] == [
        "From iteration 1: batches of 2 LQ patches of 16x16 px", "From iteration 3: batches of 1 LQ patches of 20x12 px"
    ]  # fmt: skip


def test_processes_average_gradients_once_and_the_log_always(build, monkeypatch):
    model = build("train:accumulate=2", "train:divergence:check=false", *ALONE)
    parts = []

    @contextlib.contextmanager
    def no_sync():
        parts.append("alone")
        yield

    monkeypatch.setattr(model.distiller, "no_sync", no_sync, raising=False)
    alone = train(model, [1])[0]
    assert parts == []
    model.opt |= {"dist": True, "world_size": 2}
    model.runner.shared, model.runner.alone = True, model._without_exchange
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda values: values.mul_(4))
    assert model.get_current_log() == pytest.approx({name: 2 * value for name, value in alone.items()})
    train(model, [2])
    assert parts == ["alone"]  # the first of two


def test_a_recorded_step_is_told_of_other_processes(build):
    model, told = build(*ALONE), []
    model.runner.recorded = lambda inputs, shared, variant: (
        told.append((shared, variant)) or [model.compute(*part) for part in inputs]
    )
    for dist in (False, True):
        model.runner.shared = dist
        model.feed_data(BATCH)
        model._forward_backward()
    variant = (("l_pix",), frozenset({Need.GT}))
    assert told == [(False, variant), (True, variant)]


def test_without_a_check_every_step_is_taken(build):
    model = build(
        "train:divergence:check=false", "train:optim_g={type: SGD, lr: 1.0}", "train:clip_grad_norm=0.01", *ALONE
    )
    before = tensors_of(model)
    model.feed_data({"lq": BATCH["lq"], "gt": 100 * BATCH["gt"]})
    model.optimize_parameters(1)
    moved = torch.cat([(a - b).flatten() for a, b in zip(tensors_of(model), before, strict=True)])
    assert moved.norm().item() == pytest.approx(0.01, rel=1e-3)  # clipped


def tensors_of(model) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.net_g.parameters()]


# --- state and files


def test_the_best_weights_with_and_without_an_average(build, tmp_path):
    best = tmp_path / "experiments/tiny/models/net_g_best.pth"
    model = build(*ALONE)
    model.save_best()
    saved = load_state(best)
    assert all(torch.equal(v, saved["params_ema"][k]) for k, v in model.net_g_ema.state_dict().items())
    assert all(torch.equal(v, saved["params"][k]) for k, v in model.net_g.state_dict().items())
    build("train:ema_decay=0", *ALONE).save_best()
    assert list(load_state(best)) == ["params"]


def test_a_save_waits_for_values_on_their_way(build, monkeypatch):
    model, order = build(*ALONE), []
    monkeypatch.setattr(model.guard, "settle", lambda: order.append("settle"))
    monkeypatch.setattr(model, "save_network", lambda *args, **kwargs: order.append("weights"))
    model.save(0, -1)
    assert order == ["settle", "weights"]
    train(model, [1])
    assert order == ["settle", "weights", "settle"]  # the log, too


def test_a_state_is_taken_up_whole(build, tmp_path, said):
    model = build("train:runtime={precision: {student: fp16, frozen: fp32}}")
    train(model, range(1, 5))
    model.guard.load_training_state([3, 4])
    model.scaler.load_state_dict({**model.scaler.state_dict(), "scale": 512.0})
    model.record.add(3, "held_out", {"psnr": 20.0})
    model.save(1, 4)
    state = load_state(tmp_path / "experiments/tiny/training_states/4.state")
    assert set(state["dckd"]) == {"generators", "validations", "skipped", "loss_scale", "history", "total_iter"}

    resumed = build("train:runtime={precision: {student: fp16, frozen: fp32}}")
    said.clear()
    resumed.resume_training(state)
    assert resumed.guard.training_state() == [3, 4]
    assert resumed.scaler.get_scale() == 512.0
    assert resumed.record.has(3, "held_out")
    assert resumed.history.updates == model.history.updates == 2
    assert all(torch.equal(a, b) for a, b in zip(resumed.history.parameters(), model.history.parameters(), strict=True))
    draws = [each.generators.uniform(0.0, 1.0) for each in (model, resumed)]
    assert draws[0] == draws[1]
    assert not any("stock BasicSR" in text for text in said)

    plain = build()
    plain.resume_training(state)  # of another precision: its scale is not asked for
    assert plain.scaler is None
    fresh = build("train:runtime={precision: {student: fp16, frozen: fp32}}")
    del state["dckd"]["loss_scale"], state["dckd"]["history"]
    fresh.resume_training(state)
    assert (fresh.scaler.get_scale(), fresh.scaler.get_growth_interval()) == (2.0**20, 500)
    assert fresh.history.updates == 0
    assert "the training state holds no history model: it starts as a copy of the resumed student" in said


def test_a_state_of_a_run_with_history_goes_on_without(build, tmp_path):
    model = build()
    train(model, [1])
    model.save(0, 1)
    state = load_state(tmp_path / "experiments/tiny/training_states/1.state")
    assert "history" in state["dckd"]
    without = build(*ALONE)
    without.resume_training(state)
    assert without.history is None
    assert "history" not in without.extra_training_state()["dckd"]


def test_only_a_run_that_goes_on_in_its_folder_reads_the_record_there(build, tmp_path, monkeypatch):
    model, taken = build(*ALONE), []
    train(model, [1])
    model.save(0, 1)
    state = load_state(tmp_path / "experiments/tiny/training_states/1.state")
    for place in (True, False):
        resumed = build(*ALONE)
        monkeypatch.setattr(base, "goes_on_in_place", lambda opt, place=place: place)
        monkeypatch.setattr(resumed.record, "resume", lambda *args, **kwargs: taken.append((args, kwargs)))
        resumed.resume_training(state)
    assert taken == [((1, []), {"with_file": True}), ((1, []), {"with_file": False})]


def test_updates_of_the_history_model_are_said(build, said):
    model = build()
    train(model, range(1, 5))
    assert [text for text in said if "History model updated" in text] == [
        "History model updated at iteration 2 (update 1)",
        "History model updated at iteration 4 (update 2)",
    ]


# --- testing


@pytest.mark.parametrize("average", [True, False])
def test_the_average_is_tested_if_there_is_one(build, average):
    model = build(*(() if average else ("train:ema_decay=0",)), *ALONE)
    with torch.no_grad():
        next(model.net_g.parameters()).add_(1.0)
    model.lq = BATCH["lq"]
    model.test()
    with torch.no_grad():
        wanted = (model.net_g_ema if average else model.net_g)(model.lq)
    torch.testing.assert_close(model.output, wanted)
    assert model.net_g.training


def test_val_says_how_images_are_restored(build, monkeypatch):
    model, asked = build(*ALONE), []
    monkeypatch.setattr(base, "restorer", lambda net, facts, val: asked.append((net.training, val)) or net)
    model.lq = BATCH["lq"]
    model.test()
    assert asked == [(False, model.opt["val"])]
    del model.opt["val"]
    model.test()
    assert asked[1] == (False, {})


def test_both_ways_of_validating_are_one(build, monkeypatch):
    model, asked = build(*ALONE), []
    monkeypatch.setattr(base, "validate", lambda *args: asked.append(args))
    model.nondist_validation("loader", 1, None, True)
    model.dist_validation("loader", 2, None, False)
    assert asked == [(model, "loader", 1, None, True), (model, "loader", 2, None, False)]
