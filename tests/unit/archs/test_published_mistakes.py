"""Weight files that could be taken for something else: none may load and answer wrongly without a word."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from basicsr.archs.edsr_arch import EDSR as EDSRNet
from safetensors.torch import save_file
from torch import nn

from dckd_basicsr.archs import PretrainedNet, WeightSource, build
from dckd_basicsr.archs.fitting import left_out
from dckd_basicsr.archs.layouts import from_published
from dckd_basicsr.errors import CheckpointError
from dckd_basicsr.portable import open_network
from dckd_basicsr.training.stock import load_network
from dckd_basicsr.weight_files import load_weights
from tests.published_nets import published_edsr, published_rcan

X = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(4))
EDSR = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 2, "upscale": 2}
SWIN = {"type": "SwinIR", "window_size": 8, "embed_dim": 8, "depths": [2], "num_heads": [2], "mlp_ratio": 2}
SWIN |= {"upscale": 2, "upsampler": "pixelshuffledirect"}


def saved(folder: Path, contents: Any, name: str = "w.pth") -> Path:
    torch.save(contents, folder / name)
    return folder / name


def behind(prefix: str, net: nn.Module) -> dict[str, torch.Tensor]:
    return {prefix + key: value for key, value in net.state_dict().items()}


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize(
    ("own", "average"),
    [("model", "model_ema"), ("state_dict", "state_dict_ema"), ("generator", "generator_ema"), ("model", "ema")],
)
def test_an_average_comes_first_in_whatever_entry(tmp_path, own, average):
    net, averaged = published_edsr(), published_edsr()
    path = saved(tmp_path, {own: net.state_dict(), average: averaged.state_dict(), "epoch": 3})
    assert torch.equal(open_network(path).net(X), open_network(saved(tmp_path, averaged.state_dict())).net(X))


@pytest.mark.parametrize(
    ("own", "average"), [("generator", "generator_ema"), ("net_g", "net_g_ema"), ("model", "ema_model.module")]
)
def test_an_average_comes_first_behind_whatever_prefix(tmp_path, own, average):
    net, averaged = published_edsr(), published_edsr()
    both = {**behind(f"{own}.", net), **behind(f"{average}.", averaged), "netD.weight": X}
    path = saved(tmp_path, {"state_dict": both})
    built = build(EDSR, weights=WeightSource(path), frozen=True).net
    torch.testing.assert_close(built(X), averaged.answer(X), rtol=0, atol=1e-5)


def test_an_average_without_weights_is_passed_over(tmp_path):
    state = published_edsr().state_dict()
    counted = {"decay": 0.999, "updates": torch.tensor(3)}
    found = load_weights(saved(tmp_path, {"model": state, "ema": counted, "model_ema": {"options": {"a": 1}}}))
    assert found.entry == "model"
    assert found.state.keys() == state.keys()


def test_a_mean_of_zero_in_the_file_contradicts_options_of_another(tmp_path):
    path = saved(tmp_path, (net := published_edsr(mean=(0.0, 0.0, 0.0))).state_dict())
    with pytest.raises(CheckpointError, match=r"write rgb_mean: \[0\.0, 0\.0, 0\.0\]$"):
        build(EDSR, weights=WeightSource(path))
    for found in (build({**EDSR, "rgb_mean": [0, 0, 0]}, weights=WeightSource(path), frozen=True), open_network(path)):
        torch.testing.assert_close(found.net(X), net.answer(X), rtol=0, atol=1e-5)


def test_a_mean_that_is_no_colour_is_of_no_range_known():
    assert from_published(published_edsr(rgb_range=1023, mean=(0.5, 0.5, 0.5)).state_dict()) is None
    assert from_published(published_edsr(rgb_range=-1, mean=(0.5, 0.5, 0.5)).state_dict()) is None


def test_windows_that_are_shifted_and_windows_that_are_not_are_two_networks(tmp_path):
    """One window is the whole image of 8: nothing is shifted, whatever is larger that it is run on."""
    pictures = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    whole, shifted = (build({**SWIN, "img_size": size}, frozen=True).net for size in (8, 32))
    of_whole, of_shifted = saved(tmp_path, whole.state_dict()), saved(tmp_path, shifted.state_dict(), "s.pth")
    with pytest.raises(CheckpointError, match=r"1 missing: layers\.0\.residual_group\.blocks\.1\.attn_mask"):
        build({**SWIN, "img_size": 32}, weights=WeightSource(of_whole))
    with pytest.raises(CheckpointError, match=r"1 not in the network: layers\.0\.residual_group\.blocks\.1\.attn_mask"):
        build({**SWIN, "img_size": 8}, weights=WeightSource(of_shifted))
    assert torch.equal(open_network(of_whole).net(pictures), whole(pictures))
    torch.testing.assert_close(open_network(of_shifted).net(pictures), shifted(pictures))
    with pytest.raises(CheckpointError, match=r"(?s)those of a SwinIR, and fails on them.*attn_mask"):
        PretrainedNet(str(of_whole))


def test_a_network_of_grey_goes_to_spandrel_which_has_it(tmp_path):
    from spandrel.architectures.RCAN import RCAN

    net = RCAN(scale=2, n_resgroups=2, n_resblocks=2, n_colors=1, norm=False, n_feats=8, reduction=4).eval()
    opened = open_network(saved(tmp_path, net.state_dict()))
    assert opened.facts.input_channels == 1
    grey = X[:, :1]
    assert torch.equal(opened.net(grey), net(grey.clone()))


def test_another_network_altogether_is_told_as_such(tmp_path):
    path = saved(tmp_path, published_edsr().state_dict())
    with pytest.raises(CheckpointError, match="do not fit SwinIR"):
        build({**SWIN, "img_size": 32}, weights=WeightSource(path))


def test_what_fits_is_loaded_from_behind_a_prefix_too(tmp_path):
    net = build(EDSR).net
    path = saved(tmp_path, {"state_dict": behind("module.model.", net)})
    larger = build({**EDSR, "upscale": 4}, weights=WeightSource(path, strict=False)).net.state_dict()
    assert larger.keys() - net.state_dict().keys() == {"upsample.2.weight", "upsample.2.bias"}
    assert all(torch.equal(larger[key], value) for key, value in net.state_dict().items())
    with pytest.raises(CheckpointError, match=r"fit EDSR:\n  - 2 missing: upsample\.2\.weight, upsample\.2\.bias\nCh"):
        build({**EDSR, "upscale": 4}, weights=WeightSource(path))


def test_basicsr_s_own_models_refuse_another_range_too(tmp_path):
    model: Any = SimpleNamespace(get_bare_model=lambda net: net)
    path = saved(tmp_path, {"params": (published := published_edsr(rgb_range=1)).state_dict()})
    with pytest.raises(CheckpointError, match=r"write img_range: 1\.0$"):
        load_network(model, EDSRNet(3, 3, 8, 2, 2), str(path))
    load_network(model, net := EDSRNet(3, 3, 8, 2, 2, img_range=1.0), str(path))
    torch.testing.assert_close(net(X).detach(), published.answer(X))


@pytest.mark.parametrize(
    "options",
    [
        {"type": "PretrainedNet", "path": "other.pth"},
        {"type": "SpyNet", "load_path": "other.pth"},
        {"type": "TeacherAggregation", "teachers": [{"type": "PretrainedNet", "path": "other.pth"}]},
    ],
)
def test_a_weight_file_has_no_other_file_read(tmp_path, monkeypatch, options):
    """A run of a PretrainedNet writes the first; the second would unpickle what it names before PyTorch 2.6."""
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, published_rcan().state_dict(), "other.pth")
    told = {"config": json.dumps(options)}
    save_file({"a.weight": torch.ones(3)}, "stranger.safetensors", metadata=told)
    with pytest.raises(CheckpointError, match=r"'stranger\.safetensors' holds the weights of no network known"):
        open_network("stranger.safetensors")
    save_file(behind("net.", net := published_rcan()), "own.safetensors", metadata=told)
    torch.testing.assert_close(open_network("own.safetensors").net(X), net.answer(X), rtol=0, atol=1e-5)


def test_what_no_file_tells_and_the_options_leave_out_is_said():
    large = {**EDSR, "num_feat": 256, "num_block": 32}
    assert left_out(large) == (
        "published weights of this size were trained with res_scale 0.1, which no file tells, and the options leave it "
        "at 1; write res_scale: 0.1, or res_scale: 1 if these are others"
    )
    for options in (EDSR, {**large, "res_scale": 1}, SWIN, {"type": "NAFNet"}, {**SWIN, "img_range": 1.0}):
        assert left_out(options) == ""
    jpeg = {**SWIN, "window_size": 7, "upsampler": ""}
    assert "img_range 255, which no file tells, and the options leave it at 1; write img_range: 255" in left_out(jpeg)
    assert left_out({**jpeg, "img_range": 1.0}) == ""


def test_it_is_said_when_the_weights_are_loaded(tmp_path, caplog):
    jpeg = {**SWIN, "window_size": 7, "img_size": 21, "upscale": 1, "upsampler": ""}
    path = saved(tmp_path, build(jpeg).net.state_dict())
    with caplog.at_level(logging.WARNING, "basicsr"):
        build({**jpeg, "img_range": 255.0}, weights=WeightSource(path))
        assert not warned(caplog)
        build(jpeg, weights=WeightSource(path))
    (message,) = warned(caplog)
    assert message.startswith(f"SwinIR from {path}: published weights of this size were trained with img_range 255")


def test_params_instead_of_the_entry_named_is_said(tmp_path, caplog):
    path = saved(tmp_path, {"params": build(EDSR).net.state_dict()})
    for paths, messages in (
        ({"param_key_teacher": "params_emma"}, [f"'{path}' has no entry 'params_emma': its 'params' is loaded"]),
        ({"param_key_teacher": "params"}, []),
        ({}, []),
    ):
        caplog.clear()
        source = WeightSource.named({"pretrain_network_teacher": path, **paths}, "teacher")
        with caplog.at_level(logging.WARNING, "basicsr"):
            build(EDSR, weights=source)
        assert warned(caplog) == messages


@pytest.mark.parametrize("own_names", [False, True])
def test_what_is_left_out_of_a_file_is_counted(tmp_path, caplog, own_names):
    net = build(EDSR).net if own_names else published_edsr()
    for contents, told in (
        (behind("netG.", net), ""),
        (behind("netG.", net) | {"netD.0.weight": X, "netD.0.bias": X}, ", without the 2 other tensors of the file"),
    ):
        path = saved(tmp_path, contents)
        caplog.clear()
        with caplog.at_level(logging.INFO, "basicsr"):
            build(EDSR, weights=WeightSource(path))
        assert f"Loaded EDSR from {path}{told}" in [record.getMessage() for record in caplog.records]
