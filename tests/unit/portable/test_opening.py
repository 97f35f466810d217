"""Whatever a user has becomes a network: runs, weight files of any make, files that ship, ONNX."""

from __future__ import annotations

import json
import logging

import pytest
import torch
import yaml
from basicsr.utils.registry import ARCH_REGISTRY
from safetensors.torch import save_file

from dckd_basicsr.archs import build
from dckd_basicsr.errors import CheckpointError, ConfigError
from dckd_basicsr.inference.padding import run_padded
from dckd_basicsr.portable import open_network
from tests.tiny import LAYOUT

EDSR = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1, "upscale": 2}
SPAN = {"type": "spandrel:SPAN", "num_in_ch": 3, "num_out_ch": 3, "feature_channels": 8, "upscale": 2}


class ScaleOfTheRun(torch.nn.Module):
    """A user's network, which states no facts."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, x):
        return torch.pixel_shuffle(self.conv(x), 2)


ARCH_REGISTRY._obj_map["ScaleOfTheRun"] = ScaleOfTheRun


def write_run(folder, options, values=(20.0, 22.0, 21.0), better="higher"):
    """A run of three checkpoints, each with weights and an average of its own."""
    (folder / "models").mkdir(parents=True)
    (folder / "training_states").mkdir()
    metrics = {"psnr": {"type": "calculate_psnr", "crop_border": 2, "better": better}}
    told = {"name": folder.name, "scale": 2, "network_g": options, "train": {"ema_decay": 0.9}}
    (folder / "options.yml").write_text(yaml.safe_dump({**told, "val": {"metrics": metrics}}))
    nets = {}
    for i, _ in enumerate(values, start=1):
        nets[i] = build(options).net
        average = build(options).net
        torch.save(
            {"params": nets[i].state_dict(), "params_ema": average.state_dict()}, folder / f"models/net_g_{i}.pth"
        )
        nets[i] = average
        (folder / f"training_states/{i}.state").write_bytes(b"x")
    entries = [{"iteration": i, "dataset": "held", "metrics": {"psnr": v}} for i, v in enumerate(values, start=1)]
    (folder / "validations.json").write_text(json.dumps(entries))
    return nets


def test_a_run_gives_its_moving_average_last_or_best(tmp_path):
    nets = write_run(tmp_path / "run", EDSR)
    x = torch.rand(1, 3, 8, 8)
    for which, iteration in (("last", 3), ("best", 2), ("1", 1)):
        opened = open_network(tmp_path / "run", which=which)
        assert (opened.iteration, opened.entry, opened.name, opened.facts.scale) == (iteration, "params_ema", "EDSR", 2)
        with torch.no_grad():
            assert torch.equal(opened.net(x), nets[iteration].eval()(x))
    write_run(tmp_path / "lower", EDSR, better="lower")
    assert open_network(tmp_path / "lower", which="best").iteration == 1


def test_a_run_without_what_is_asked_for_says_what_it_has(tmp_path):
    write_run(tmp_path / "run", EDSR)
    with pytest.raises(CheckpointError, match=r"no weights 'net_g_9\.pth'.*net_g_1\.pth, net_g_2\.pth, net_g_3\.pth"):
        open_network(tmp_path / "run", which="9")
    with pytest.raises(ConfigError, match="last, best, or an iteration, got 'newest'"):
        open_network(tmp_path / "run", which="newest")
    with pytest.raises(CheckpointError, match=r"no folder of a run.*options\.yml"):
        open_network(tmp_path)


def test_weight_files_of_every_make(tmp_path):
    x = torch.rand(1, 3, 8, 8)
    span, edsr = build(SPAN, frozen=True).net, build({**EDSR, "res_scale": 0.5}, frozen=True).net
    torch.save({"params_ema": span.state_dict()}, tmp_path / "span.pth")
    opened = open_network(tmp_path / "span.pth")
    assert (opened.name, opened.facts.scale, opened.guessed, opened.options) == ("SPAN", 2, False, None)
    assert set(opened.state) == set(span.state_dict())
    torch.testing.assert_close(opened.net(x), span(x))

    config = {"config": json.dumps({**EDSR, "res_scale": 0.5})}
    save_file(edsr.state_dict(), tmp_path / "edsr.safetensors", metadata=config)
    told = open_network(tmp_path / "edsr.safetensors")
    assert torch.equal(told.net(x), edsr(x))
    assert not told.guessed

    torch.save({"params": edsr.state_dict()}, tmp_path / "edsr.pth")
    seen = open_network(tmp_path / "edsr.pth")
    assert seen.guessed
    assert seen.options is not None
    assert {**EDSR, **seen.options} == {**EDSR}
    assert open_network("builtin:edsr_x4_f64b16").facts.scale == 4

    torch.save({"params": {"who.knows": torch.ones(3)}}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"no network known here or to spandrel.*who\.knows.*folder of its run"):
        open_network(tmp_path / "w.pth")


@pytest.mark.parametrize(
    "text", ["compact x2", "[1]", '"x"', '{"type": "compact"}', '{"type": 3}', '{"model": "EDSR"}']
)
def test_a_header_that_is_not_ours_is_passed_over(tmp_path, caplog, monkeypatch, text):
    monkeypatch.setattr(logging.getLogger("basicsr"), "propagate", True)
    edsr = build(EDSR, frozen=True).net
    save_file(edsr.state_dict(), tmp_path / "edsr.safetensors", metadata={"config": text})
    opened = open_network(tmp_path / "edsr.safetensors")
    assert (opened.name, opened.guessed) == ("EDSR", True)
    x = torch.rand(1, 3, 8, 8)
    assert torch.equal(opened.net(x), edsr(x))
    said = "names a network 'compact' in its header, which is not registered here" in caplog.text
    assert said == ("compact" in text and "type" in text), "it may be a network of the user's own"


def test_a_file_has_no_several_weights_to_choose_from(tmp_path):
    torch.save({"params": build(EDSR).net.state_dict()}, tmp_path / "c.pth")
    for source in (tmp_path / "c.pth", "builtin:edsr_x4_f64b16"):
        for which in ("best", "5000", "nonsense"):
            with pytest.raises(ConfigError, match=rf"no folder of a run, which has several.* '{which}'.*leave --which"):
                open_network(source, which=which)
    assert open_network(tmp_path / "c.pth", which="last").name == "EDSR"
    for name in ("d.pth", "d" * 300):
        with pytest.raises(CheckpointError, match=r"does not exist|cannot be read \(File name too long\)"):
            open_network(tmp_path / name, which="best")


@pytest.mark.parametrize(("channels", "said"), [((1, 1), "of 1 channel,"), ((3, 4), "of 4 channels,")])
@pytest.mark.parametrize("kind", ["EDSR", "RCAN"])
def test_networks_for_colours_alone_are_refused_with_other_channels(tmp_path, kind, channels, said):
    options = {"type": kind, "num_in_ch": channels[0], "num_out_ch": channels[1], "num_feat": 16, "num_block": 1}
    options |= {"upscale": 2} if kind == "EDSR" else {"upscale": 2, "num_group": 1, "squeeze_factor": 4}
    state = build(options).net.state_dict()
    torch.save({"params": state}, tmp_path / "c.pth")
    save_file(state, tmp_path / "c.safetensors", metadata={"config": json.dumps(options)})
    for name in ("c.pth", "c.safetensors"):
        with pytest.raises(CheckpointError, match=rf"{name}' is an {kind} {said} and BasicSR's {kind} takes and gives"):
            open_network(tmp_path / name)


def test_an_onnx_file_is_a_network_too(tmp_path):
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    shuffle = helper.make_node("DepthToSpace", ["x"], ["y"], blocksize=2, mode="CRD")
    graph = helper.make_graph(
        [shuffle],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 12, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3, "H", "W"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "net.onnx")
    opened = open_network(tmp_path / "net.onnx")
    assert opened.facts.scale == 2, "found by running it"
    x = torch.rand(1, 12, 5, 7)
    assert torch.equal(opened.net(x), torch.nn.functional.pixel_shuffle(x, 2))
    helper.set_model_props(model, {"scale": "2", "multiple_of": "8", "minimum": "16", "square": "1"})
    onnx.save(model, tmp_path / "told.onnx")
    facts = open_network(tmp_path / "told.onnx").facts
    assert (facts.scale, facts.multiple_of, facts.minimum, facts.square) == (2, 8, 16, True)
    (tmp_path / "bad.onnx").write_bytes(b"no onnx")
    with pytest.raises(CheckpointError, match="no ONNX file that onnxruntime runs"):
        open_network(tmp_path / "bad.onnx")


@pytest.mark.parametrize(
    ("options", "multiple"),
    [
        ({"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "scale": 2, "num_feat": 8, "num_block": 1}, 4),
        ({"type": "SRVGGNetCompact", "num_feat": 8, "num_conv": 1, "upscale": 2}, 1),
        ({"type": "ScaleOfTheRun"}, 1),
    ],
)
def test_a_run_of_a_network_of_basicsr_or_of_a_user_has_its_scale(tmp_path, options, multiple):
    write_run(tmp_path / "run", options)
    opened = open_network(tmp_path / "run")
    assert (opened.facts.scale, opened.facts.multiple_of) == (2, multiple)
    assert run_padded(opened.net, torch.rand(1, 3, 9, 11), opened.facts).shape == (1, 3, 18, 22)


def test_a_run_of_pretrained_weights_is_called_by_their_architecture(tmp_path):
    torch.save({"params": build(SPAN).net.state_dict()}, tmp_path / "span.pth")
    write_run(tmp_path / "run", {"type": "PretrainedNet", "path": str(tmp_path / "span.pth")})
    opened = open_network(tmp_path / "run")
    assert (opened.name, opened.facts.scale) == ("SPAN", 2)


def test_a_vqgan_is_opened_only_where_one_will_do(tmp_path):
    """It takes images in [-1, 1]: restored by it, they were dark; by its names spandrel took it for a RestoreFormer."""
    vqgan = {"type": "VQGAN", "ddconfig": LAYOUT, "n_embed": 16, "embed_dim": 6}
    write_run(run := tmp_path / "run", vqgan)
    told = run / "options.yml"
    told.write_text(told.read_text().replace("scale: 2", "scale: 1"))
    for source in (run, run / "models/net_g_1.pth", "builtin:vqgan_f16_ch32_n1024"):
        with pytest.raises(ConfigError, match=r"is a VQGAN, which reconstructs images and restores none"):
            open_network(source)
        assert open_network(source, autoencoders=True).name == "VQGAN"
