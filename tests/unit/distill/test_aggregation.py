"""Teachers made one by a network that trains: what is part of it, what is not, and what it gives."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from basicsr.archs import build_network

from dckd_basicsr.archs import ArchFacts, TeacherAggregation, outline
from dckd_basicsr.archs import build as build_net
from dckd_basicsr.archs.complexity import multiply_adds
from dckd_basicsr.archs.frozen import all_modules, holds_frozen
from dckd_basicsr.archs.swin.blocks import swin_blocks
from dckd_basicsr.config import apply_overrides, builtin_weights, option_problems, parse, parse_options
from dckd_basicsr.config.weights import weight_problems
from dckd_basicsr.distill.chunking import widest_layer
from dckd_basicsr.errors import CheckpointError, ConfigError
from tests.every_term import CONDITIONS, NETWORKS
from tests.models import BATCH, train
from tests.tiny import STUDENT, TEACHER, job_options

SMALL = {"upscale": 2, "embed_dim": 8, "depths": [2], "num_heads": [2], "window_size": 4, "img_size": 16}
OTHER = {**TEACHER, "num_feat": 6}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights of two teachers in the current folder; of the second, a state dict under a name of its own."""
    monkeypatch.chdir(tmp_path)
    torch.save({"params": build_network(TEACHER).state_dict()}, "teacher.pth")
    torch.save({"mine": build_network(OTHER).state_dict()}, "other.pth")
    return tmp_path


def blocks() -> list[dict[str, Any]]:
    return [{**TEACHER, "path": "teacher.pth"}, {**OTHER, "path": "other.pth", "param_key": "mine"}]


def made(**options: Any) -> TeacherAggregation:
    return TeacherAggregation(**{"teachers": blocks(), **SMALL, **options})


def mean(net: TeacherAggregation, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return torch.stack([teacher(x) for teacher in net.teachers]).mean(0)


def correct(net: TeacherAggregation) -> None:
    """Let the last layer, which starts with zeros, say something."""
    torch.nn.init.normal_(net.body.conv_last.weight, std=0.05)


# --- what it gives


@pytest.mark.parametrize("unshuffle", [None, 1])
@pytest.mark.parametrize("size", [(16, 16), (13, 9), (1, 2)])
def test_it_starts_from_the_mean_of_its_teachers_at_any_size(folder, size, unshuffle):
    net, x = made(unshuffle=unshuffle).eval(), torch.rand(2, 3, *size)
    with torch.no_grad():
        torch.testing.assert_close(net(x), mean(net, x))
        correct(net)
        assert (net(x) - mean(net, x)).abs().min() > 0


def test_the_image_is_the_mean_of_the_refined_outputs(folder):
    """The residual by hand: what the Swin network adds to all six channels, three of each teacher, averaged."""
    net, x = made(unshuffle=1).eval(), torch.rand(1, 3, 8, 8)
    correct(net)
    with torch.no_grad():
        outputs = torch.cat([teacher(x) for teacher in net.teachers], 1)
        refined = net.body(outputs)
        torch.testing.assert_close(net(x), (refined[:, :3] + refined[:, 3:]) / 2)
        unshuffled = made().eval()
        correct(unshuffled)
        cells = torch.nn.functional.pixel_unshuffle(torch.cat([t(x) for t in unshuffled.teachers], 1), 2)
        refined = torch.nn.functional.pixel_shuffle(unshuffled.body(cells), 2)
        torch.testing.assert_close(unshuffled(x), (refined[:, :3] + refined[:, 3:]) / 2)


def test_padding_reaches_whole_windows_and_no_further(folder):
    """A size that is none pads by reflection, so that what lies inside is that of the reflected image."""
    net = made(unshuffle=1).eval()
    correct(net)
    x = torch.rand(1, 3, 7, 7)  # 14, padded to 16
    with torch.no_grad():
        outputs = torch.cat([teacher(x) for teacher in net.teachers], 1)
        padded = torch.nn.functional.pad(outputs, (0, 2, 0, 2), mode="reflect")
        wanted = net.body(padded)[..., :14, :14]
        torch.testing.assert_close(net(x), (wanted[:, :3] + wanted[:, 3:]) / 2)


def test_facts_hold_for_all_teachers(folder):
    swinir = {"type": "SwinIR", "upscale": 2, "window_size": 6, "img_size": 12, "embed_dim": 8, "depths": [1],
              "num_heads": [2], "upsampler": "pixelshuffledirect"}  # fmt: skip
    wide = {**swinir, "window_size": 4, "img_size": 8}
    three = [{**swinir, "path": None}, {**wide, "path": None}, {"type": "Bicubic", "upscale": 2}]
    assert made(teachers=three).facts == ArchFacts(scale=2, multiple_of=12, minimum=6)
    assert made().facts == ArchFacts(scale=2)


# --- what is part of it


def test_teachers_are_no_part_of_it(folder):
    net = made()
    assert all(key == "fingerprint" or key.startswith("body.") for key in net.state_dict())
    assert not any("attn_mask" in key for key in net.state_dict())
    own, frozen = set(net.parameters()), {p for teacher in net.teachers for p in teacher.parameters()}
    assert own == set(net.body.parameters())
    assert all(p.requires_grad for p in own)
    assert frozen
    assert not any(p.requires_grad for p in frozen)
    net.train()
    net(torch.rand(1, 3, 8, 8)).sum().backward()
    assert all(p.grad is not None for p in own)
    assert all(p.grad is None for p in frozen)
    assert not any(module.training for teacher in net.teachers for module in teacher.modules())
    modules = set(all_modules(net))
    assert all(module in modules for teacher in net.teachers for module in teacher.modules())
    assert holds_frozen(torch.nn.Sequential(net))
    assert not holds_frozen(net.body)


def test_options_shape_the_body(folder):
    asked = {**SMALL, "embed_dim": 12, "depths": [1, 3], "num_heads": [2, 3], "mlp_ratio": 1.5, "drop_path_rate": 0.3}
    body = made(**asked, unshuffle=2).body
    blocks = [block for layer in body.layers for block in layer.residual_group.blocks]
    assert [len(layer.residual_group.blocks) for layer in body.layers] == [1, 3]
    assert [block.num_heads for block in blocks] == [2, 3, 3, 3]
    assert {(block.dim, block.window_size, block.mlp.fc1.out_features) for block in blocks} == {(12, 4, 18)}
    assert blocks[-1].drop_path.drop_prob == pytest.approx(0.3)
    assert (body.conv_first.in_channels, body.conv_last.out_channels) == (24, 24)
    assert tuple(made(img_size=17).body.patches_resolution) == (20, 20)  # whole windows
    plain = TeacherAggregation([{"type": "Bicubic", "upscale": 4}]).body  # by default as published
    assert [len(layer.residual_group.blocks) for layer in plain.layers] == [4, 4]
    assert {layer.residual_group.blocks[1].attn_mask.shape for layer in plain.layers} == {(64, 64, 64)}
    assert (plain.embed_dim, plain.mlp_ratio, plain.conv_first.in_channels) == (96, 2, 3 * 16)


def test_teachers_have_the_weights_of_their_files(folder):
    for teacher, file, key in zip(made().teachers, ("teacher.pth", "other.pth"), ("params", "mine")):
        wanted = torch.load(file, weights_only=True)[key]
        assert all(torch.equal(value, wanted[name]) for name, value in teacher.state_dict().items())


def test_teachers_move_with_it_and_copies_share_them(folder):
    net = made().eval()
    copied = copy.deepcopy(net)
    assert all(a is b for a, b in zip(net.teachers, copied.teachers, strict=True))
    assert not {id(p) for p in net.parameters()} & {id(p) for p in copied.parameters()}
    x = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(copied(x), net(x))
    torch.testing.assert_close(pickle.loads(pickle.dumps(net))(x), net(x))
    torch.nn.Sequential(net).double()
    assert {p.dtype for teacher in net.teachers for p in teacher.parameters()} == {torch.float64}
    assert net(x.double()).dtype == torch.float64


def test_sizes_without_values_see_the_teachers(folder):
    """What an image costs counts its teachers, and leaves them as they were."""
    net, x = made().eval(), torch.rand(1, 3, 16, 16)
    before = net(x)
    alone = sum(multiply_adds(teacher, (1, 3, 16, 16)) for teacher in net.teachers)
    body = multiply_adds(net.body, (1, 24, 16, 16))
    assert multiply_adds(net, (1, 3, 16, 16)) == alone + body
    assert widest_layer(net, 16) == max(widest_layer(net.body, 16, 24), *(widest_layer(t, 16) for t in net.teachers))
    torch.testing.assert_close(net(x), before, rtol=0, atol=0)


def test_weights_load_at_another_patch_size(folder):
    net, x = made().eval(), torch.rand(1, 3, 16, 12)
    correct(net)
    other = made(img_size=8).eval()
    other.load_state_dict(net.state_dict())
    torch.testing.assert_close(other(x), net(x))


def test_weights_for_other_teachers_are_named(folder, said):
    state, path = made().state_dict(), folder / "aggregation.pth"
    torch.save({"params": state}, path)
    torch.save({"mine": build_network(OTHER).state_dict()}, "other.pth")
    changed = made()
    own = changed.fingerprint.clone()
    changed.load_state_dict(state)
    (text,) = [text for text in said if "not the weights that were there" in text]
    assert text.startswith("TeacherAggregation: teachers[1]: ")
    assert torch.equal(changed.fingerprint, own)
    assert not torch.equal(own, state["fingerprint"])
    made().load_state_dict(changed.state_dict())
    assert len([text for text in said if "not the weights that were there" in text]) == 1


# --- errors


def test_clear_errors(folder):
    with pytest.raises(ValueError, match="teachers is empty"):
        made(teachers=[])
    with pytest.raises(ValueError, match=r"teachers\[0\] must be a block with a type"):
        made(teachers=["EDSR"])
    with pytest.raises(ValueError, match=r"teachers\[1\] \(EDSR\) names no weights; give its file as path"):
        made(teachers=[blocks()[0], TEACHER])
    with pytest.raises(ConfigError, match=r"teachers\[0\] \(EDSR\) upscales by 2, but scale is 4"):
        made(upscale=4)
    with pytest.raises(CheckpointError, match=r"'none.pth' does not exist"):
        made(teachers=[{**TEACHER, "path": "none.pth"}])
    with pytest.raises(CheckpointError, match="do not fit EDSR"):
        made(teachers=[{**TEACHER, "path": "other.pth", "param_key": "mine"}])


def problems(*overrides: str) -> list[str]:
    block = {"type": "TeacherAggregation", "teachers": blocks(), **SMALL}
    opt = job_options() | {"model_type": "RestorationModel", "network_g": block}
    for key in ("network_teacher", "network_vqgan"):
        del opt[key]
    opt["path"] = {}
    opt["train"] = {key: opt["train"][key] for key in ("optim_g", "scheduler", "total_iter", "pixel_opt")}
    opt = apply_overrides(opt, overrides)
    return [*option_problems(opt), *weight_problems(opt, True, set())]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("network_g:teachers=[{type: EDSR, num_in_ch: 3, num_out_ch: 3, num_fet: 3, path: teacher.pth}]",
         "unknown key 'num_fet' in network_g.teachers[0] (EDSR); did you mean 'num_feat'?"),
        ("network_g:teachers=[{type: EDSR, num_in_ch: 3, num_out_ch: 3}]",
         "missing key 'path' in network_g.teachers[0], the file of its weights; null for"),
        ("network_g:teachers=[{type: EDSSR, path: teacher.pth}]", "unknown network 'EDSSR' in network_g.teachers[0]"),
        ("network_g:teachers=[{type: PretrainedNet, path: x.pth}]", "network_g.teachers[0].path: 'x.pth' does not"),
        ("network_g:teachers=[{type: EDSR, num_in_ch: 3, num_out_ch: 3, path: EDSR.pth}]",
         "network_g.teachers[0].path: 'EDSR.pth' does not exist; published EDSR weights"),
        ("network_g:teachers=[{type: EDSR, num_in_ch: 3, num_out_ch: 3, path: 'builtin:edsr'}]",
         "network_g.teachers[0].path: unknown weights 'builtin:edsr'"),
        ("network_g:teachers=[{type: EDSR, num_in_ch: 3, num_out_ch: 3, upscale: 2, path: teacher.pth}]",
         "network_g (TeacherAggregation): the weights in 'teacher.pth' do not fit EDSR"),
        ("network_g:teachers=[{type: Bicubic, upscale: 3}]",
         "network_g (TeacherAggregation): teachers[0] (Bicubic) upscales by 3, but scale is 2"),
        ("network_g:teachers=[]", "network_g (TeacherAggregation) cannot be built with these options: ValueError: tea"),
        ("network_g:upscale=many", "'upscale' in network_g (TeacherAggregation) must be an integer, got 'many'"),
        ("datasets:train:color=y", "datasets.train.color is y, one channel, but network_g (TeacherAggregation) has nu"),
    ],
)  # fmt: skip
def test_an_option_file_is_checked_down_to_its_teachers(folder, override, message):
    assert problems() == []
    assert message in "\n".join(problems(override))


def test_patches_that_a_teacher_does_not_take(folder):
    swinir = "{type: SwinIR, upscale: 2, window_size: 12, img_size: 24, path: ~, upsampler: pixelshuffle}"
    (found,) = problems(f"network_g:teachers=[{swinir}]")
    assert "gives LQ patches of 16 px, but network_g (TeacherAggregation) takes multiples of 12" in found


def test_builtin_weights_are_found_inside(folder, monkeypatch):
    monkeypatch.setattr(parse, "check_options", lambda *args, **kwargs: None)
    opt = job_options()
    inner = [
        {"type": "EDSR", "path": "builtin:edsr_x4_f64b16"},
        {"type": "PretrainedNet", "path": "~/a.pth"},
        dict(TEACHER),
    ]
    opt["network_teacher"] = {"type": "TeacherAggregation", "teachers": inner}
    (folder / "job.yml").write_text(yaml.safe_dump(opt))
    found, _ = parse_options(folder, argv=["-opt", "job.yml"])
    paths = [block.get("path") for block in found["network_teacher"]["teachers"]]
    assert paths == [str(builtin_weights()["edsr_x4_f64b16"]), str(Path.home() / "a.pth"), None]


def test_an_outline_has_names_and_facts_alone(folder):
    found = outline({"type": "TeacherAggregation", "teachers": blocks(), **SMALL}, scale=2)
    real = made()
    assert found.facts == real.facts
    assert {k: v.shape for k, v in found.net.state_dict().items()} == {k: v.shape for k, v in real.state_dict().items()}
    assert found.net.body.conv_first.weight.is_meta


# --- in a model


def test_it_trains_as_any_network(build, model_job):
    """Its moving average shares its teachers, and its optimizer moves its own parameters alone."""
    one = {**TEACHER, "path": str(model_job / "teacher.pth")}
    block = {"type": "TeacherAggregation", "teachers": [one, {"type": "Bicubic", "upscale": 2}], **SMALL}
    off = {"network_teacher": None, "network_vqgan": None, "model_type": "RestorationModel"}
    terms = ("logits_opt", "contrastive_opt", "distribution_opt", "consistency_opt")
    model = build(train=dict.fromkeys(terms), network_g=block, **off)
    assert all(a is b for a, b in zip(model.net_g.teachers, model.net_g_ema.teachers, strict=True))
    teacher = [p.clone() for p in next(iter(model.net_g.teachers)).parameters()]
    moved = {id(p) for group in model.optimizer_g.param_groups for p in group["params"]}
    assert moved == {id(p) for p in model.net_g.body.parameters()}
    before = mean(model.net_g, BATCH["lq"])
    first, *_, last = train(model, range(1, 9))
    assert first["l_pix"] == pytest.approx((before - BATCH["gt"]).abs().mean().item(), rel=1e-5)
    assert last["l_pix"] < first["l_pix"]
    assert all(torch.equal(a, b) for a, b in zip(teacher, next(iter(model.net_g.teachers)).parameters()))


@pytest.mark.parametrize("way", CONDITIONS)
def test_it_trains_and_teaches_in_every_way(monkeypatch, way):
    """In mixed precision, accumulated, recorded, compiled, resumed: as student and as teacher."""
    inner = [{**STUDENT, "path": None}, {"type": "Bicubic", "upscale": 2}]
    block = {
        "type": "TeacherAggregation",
        "teachers": inner,
        **SMALL,
        "depths": [1, 1],
        "num_heads": [2, 2],
        "drop_path_rate": 0.0,
    }
    monkeypatch.setitem(NETWORKS, "TeacherAggregation", (block, {**block, "embed_dim": 12}))
    CONDITIONS[way]("mtkd", "TeacherAggregation")


def test_teachers_that_copies_share_keep_the_attention_they_were_given(build):
    """The moving average asks for none of its own; what it restores is what the networks as written do, to rounding."""
    swin = {"type": "SwinIR", "upscale": 2, "img_size": 8, "window_size": 4, "depths": [2], "embed_dim": 8,
            "num_heads": [2], "mlp_ratio": 1, "upsampler": "pixelshuffledirect", "path": None}  # fmt: skip
    block = {"type": "TeacherAggregation", "teachers": [swin], **SMALL}
    model = build("train:runtime={attention: sdpa}", network_g=block)
    (teacher,) = model.net_g.teachers
    assert all({"forward"} <= vars(each).keys() & vars(each.attn).keys() for each in swin_blocks(teacher))
    train(model, range(1, 3))
    model.feed_data(BATCH)
    model.test()
    restored = model.output
    for module in all_modules(model.net_g_ema):
        vars(module).pop("forward", None)
    model.test()
    torch.testing.assert_close(restored, model.output, rtol=1e-5, atol=1e-5)
    assert not torch.equal(restored, model.output)


def test_it_teaches(folder, build, model_job):
    block = {"type": "TeacherAggregation", "teachers": [{**STUDENT, "path": None}, {**TEACHER, "path": None}], **SMALL}
    trained = build_net(block, scale=2).net
    correct(trained)
    torch.save({"params": trained.state_dict()}, folder / "aggregation.pth")
    for i, teacher in enumerate(trained.teachers):
        torch.save(teacher.state_dict(), folder / f"inner{i}.pth")
    inner = [{**options, "path": str(folder / f"inner{i}.pth")} for i, options in enumerate((STUDENT, TEACHER))]
    train_opt = {**dict.fromkeys(("contrastive_opt", "distribution_opt", "consistency_opt", "logits_opt")),
                 "losses": [{"type": "mtkd"}]}  # fmt: skip
    probe = build()
    paths = {**probe.opt["path"], "pretrain_network_teacher": str(folder / "aggregation.pth")}
    model = build(train=train_opt, network_teacher={**block, "teachers": inner}, path=paths)
    values = model.distiller(BATCH["lq"], BATCH["gt"])
    with torch.no_grad():
        wanted = (model.net_g(BATCH["lq"]) - trained.eval()(BATCH["lq"])).abs().mean()
    torch.testing.assert_close(values["l_mtkd"].detach(), wanted)
