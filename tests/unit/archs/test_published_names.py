"""Weight files as they are published, whatever their names and wrappers: the same network, and the same names again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from dckd_basicsr.archs import PretrainedNet, WeightSource, build, likeness, other_values, recognize
from dckd_basicsr.archs.layouts import LAYOUTS, from_published, layout_of, to_published
from dckd_basicsr.errors import CheckpointError
from dckd_basicsr.inference.padding import run_padded
from dckd_basicsr.portable import export_network, open_network
from dckd_basicsr.weight_files import load_weights
from tests.published_nets import MEAN, ResidualNet, published_edsr, published_rcan

X = torch.rand(1, 3, 10, 12, generator=torch.Generator().manual_seed(4))
WINDOWS = torch.rand(1, 3, 28, 28, generator=torch.Generator().manual_seed(5))  # whole windows: padding differs
RGB = {"num_in_ch": 3, "num_out_ch": 3}
EDSR = {"type": "EDSR", **RGB, "num_feat": 8, "num_block": 2, "upscale": 2}
RCAN = {"type": "RCAN", **RGB, "num_feat": 8, "num_group": 2, "num_block": 2, "squeeze_factor": 4, "upscale": 2}
SWIN = {"type": "SwinIR", "window_size": 4, "embed_dim": 8, "depths": [2], "num_heads": [2], "mlp_ratio": 2}
RESTORMER = {"type": "Restormer", "dim": 4, "num_blocks": [1] * 4, "num_refinement_blocks": 1, "heads": [1, 1, 1, 2]}
OWN_NAMES: dict[str, dict[str, Any]] = {
    "EDSR": EDSR,
    "SwinIR": {**SWIN, "img_size": 16, "upscale": 2, "upsampler": "pixelshuffledirect"},
    "SwinIR-L": {**SWIN, "img_size": 8, "upscale": 4, "upsampler": "nearest+conv", "resi_connection": "3conv"},
    "SwinIR-JPEG": {**SWIN, "window_size": 7, "img_size": 21, "upscale": 1, "upsampler": "", "img_range": 255.0},
    "NAFNet": {"type": "NAFNet", "width": 4, "middle_blk_num": 1, "enc_blk_nums": [1], "dec_blk_nums": [1]},
    "Restormer": {**RESTORMER, "LayerNorm_type": "BiasFree", "ffn_expansion_factor": 2.0, "bias": True},
}


def behind(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


WRAPPERS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "bare": lambda state: state,
    "params_ema": lambda state: {"params": behind("", {k: v * 0 for k, v in state.items()}), "params_ema": state},
    "parallel": lambda state: {"epoch": 3, "state_dict": behind("module.", state)},
    "trainer": lambda state: {"model": {"state_dict": state}, "optimizer": {"lr": 0.1}},
    "adversarial": lambda state: {"generator": state, "discriminator": {"conv.weight": X}},
    "lightning": lambda state: {"state_dict": {**behind("netG.model.", state), "netD.conv.weight": X}},
    "ours": lambda state: {"params": behind("net_g.", state)},
}


def saved(folder, net: torch.nn.Module, wrapper: str = "bare", name: str = "weights.pt"):
    path = folder / name
    torch.save(WRAPPERS[wrapper](net.state_dict()), path)
    return path


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("make", [published_edsr, published_rcan])
def test_authors_names_open_as_the_same_network(tmp_path, make: Callable[..., ResidualNet], wrapper: str):
    net = make()
    opened = open_network(saved(tmp_path, net, wrapper))
    assert opened.name == ("EDSR" if make is published_edsr else "RCAN")
    torch.testing.assert_close(opened.net(X), net.answer(X), rtol=0, atol=1e-6)


@pytest.mark.parametrize("make", [published_edsr, published_rcan])
@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"rgb_range": 1}, {"img_range": 1.0}),
        ({"rgb_range": 1, "mean": (0.5, 0.4, 0.3)}, {"img_range": 1.0, "rgb_mean": [0.5, 0.4, 0.3]}),
        ({"mean": (0.5, 0.4, 0.3)}, {"rgb_mean": [0.5, 0.4, 0.3]}),
        ({"scale": 3}, {"upscale": 3}),
        ({"scale": 4, "blocks": 11}, {"upscale": 4, "num_block": 11}),
    ],
)
def test_range_mean_and_sizes_are_read_from_the_file(tmp_path, make, values, told):
    net = make(**values)
    opened = open_network(saved(tmp_path, net))
    assert opened.options is not None
    assert told.items() <= opened.options.items()
    torch.testing.assert_close(opened.net(X), net.answer(X), rtol=0, atol=2e-6)


@pytest.mark.parametrize("make", [published_edsr, published_rcan])
@pytest.mark.parametrize("rgb_range", [255, 1])
def test_reading_and_writing_are_inverses(make, rgb_range):
    state = make(blocks=3, rgb_range=rgb_range).state_dict()
    read = from_published(state)
    assert read is not None
    mean = torch.tensor(MEAN)
    again = to_published(read.layout, read.state, img_range=read.told["img_range"], rgb_mean=mean)
    assert again.keys() == state.keys()
    assert all(torch.equal(again[key], state[key]) for key in state)
    back = from_published(again)
    assert back is not None
    assert back.state.keys() == read.state.keys()
    assert all(torch.equal(back.state[key], read.state[key]) for key in read.state)


@pytest.mark.parametrize("options", [EDSR, RCAN])
def test_every_weight_of_ours_has_a_published_name_of_its_own(options):
    net = build(options).net
    layout = layout_of(options["type"])
    written = to_published(layout, net.state_dict())
    assert len(written) == len(net.state_dict())
    read = from_published(written)
    assert read is not None
    assert read.layout is layout
    assert list(read.state) == list(net.state_dict())
    with pytest.raises(KeyError):
        layout_of("NAFNet")
    with pytest.raises(KeyError):
        to_published(layout, {"more.weight": X})


def test_an_official_rcan_is_exported_under_the_names_it_came_with(tmp_path):
    net = published_rcan()
    export_network(open_network(saved(tmp_path, net)), ["pth"], tmp_path / "out", name="net")
    written = load_weights(tmp_path / "out/net.pth").state
    assert written.keys() == net.state_dict().keys()
    assert all(torch.equal(written[key], value) for key, value in net.state_dict().items())


@pytest.mark.parametrize(("make", "options"), [(published_edsr, EDSR), (published_rcan, RCAN)])
def test_a_network_with_options_takes_them_as_well_and_refuses_other_values(tmp_path, make, options):
    net = make()
    for wrapper in ("bare", "lightning"):
        source = WeightSource.named({"pretrain_network_g": saved(tmp_path, net, wrapper)}, "g")
        torch.testing.assert_close(build(options, weights=source, frozen=True).net(X), net.answer(X), rtol=0, atol=1e-6)
    other = make(rgb_range=1, mean=(0.5, 0.4, 0.3))
    source = WeightSource(saved(tmp_path, other))
    with pytest.raises(CheckpointError, match=r"img_range is 1\.0 in the file and 255.0 in the options; write img_ran"):
        build(options, weights=source)
    with pytest.raises(CheckpointError, match=r"another \w+: rgb_mean is \[0\.5, 0\.4, 0\.3\] in the file"):
        build({**options, "img_range": 1}, weights=source)
    said = {"img_range": 1, "rgb_mean": [0.5, 0.4, 0.3]}
    torch.testing.assert_close(build({**options, **said}, weights=source, frozen=True).net(X), other.answer(X))


@pytest.mark.parametrize("name", OWN_NAMES)
def test_networks_of_own_names_behind_wrappers_and_with_other_buffers(tmp_path, name):
    """Masks are of the size trained on, which an option file need not repeat; some files leave them out."""
    options = OWN_NAMES[name]
    net, facts = build(options, frozen=True)
    want = run_padded(net, WINDOWS, facts)
    size = {"img_size": 14 if options["window_size"] == 7 else 32} if options["type"] == "SwinIR" else {}
    stripped = {k: v for k, v in net.state_dict().items() if not k.endswith(("attn_mask", "position_index"))}
    for contents in (WRAPPERS["lightning"](net.state_dict()), WRAPPERS["trainer"](stripped)):
        torch.save(contents, tmp_path / "w.pth")
        source = WeightSource.named({"pretrain_network_teacher": tmp_path / "w.pth"}, "teacher")
        found = build({**options, **size}, weights=source, frozen=True)
        torch.testing.assert_close(run_padded(found.net, WINDOWS, found.facts), want, rtol=0, atol=1e-6)
        opened = open_network(tmp_path / "w.pth")
        torch.testing.assert_close(run_padded(opened.net, WINDOWS, opened.facts), want, rtol=0, atol=1e-6)


def test_what_no_file_tells_has_the_value_that_the_authors_trained_with():
    from dckd_basicsr.archs import outline, usual_options

    large = recognize(outline({**EDSR, "num_feat": 256, "num_block": 32}).net.state_dict())
    assert large is not None
    assert usual_options(large) == {"res_scale": 0.1}
    small = recognize(outline(EDSR).net.state_dict())
    assert small is not None
    assert usual_options(small) == {}


def test_files_without_mean_layers_are_of_networks_without_a_mean(tmp_path):
    net = published_edsr(mean=(0.0, 0.0, 0.0))
    bare = {k: v for k, v in net.state_dict().items() if "mean" not in k}
    torch.save(bare, tmp_path / "w.pt")
    opened = open_network(tmp_path / "w.pt")
    assert opened.options is not None
    assert opened.options["rgb_mean"] == [0, 0, 0]
    torch.testing.assert_close(opened.net(X), net.answer(X), rtol=0, atol=1e-6)
    build(EDSR, weights=WeightSource(tmp_path / "w.pt"))  # with options these count


def test_pretrained_net_is_refused_where_spandrel_takes_another_range(tmp_path):
    torch.testing.assert_close(
        PretrainedNet(str(saved(tmp_path, net := published_rcan(), "lightning"))).eval()(X).detach(), net.answer(X)
    )
    path = saved(tmp_path, published_rcan(rgb_range=1))
    with pytest.raises(CheckpointError, match=r"RCAN of range 1, which spandrel takes for 255; write .*range: 1\.0"):
        PretrainedNet(str(path))


def test_layers_that_do_more_than_add_a_mean_are_no_layout_of_ours():
    for change in ("sub_mean.weight", "add_mean.bias", "body.2.weight"):
        state = published_edsr().state_dict()
        if change == "body.2.weight":
            state["body.7.weight"] = state.pop(change)
        else:
            state[change] = state[change] * 0.5
        assert from_published(state) is None
        assert recognize(state) is None
    told = likeness({**published_edsr().state_dict(), "body.0.norm": X}, "model")
    assert told == (
        "21 tensors under 'model', first keys: sub_mean.weight, sub_mean.bias, add_mean.weight, ...; the nearest "
        "layout is EDSR as EDSR-PyTorch has it (14 of its 14 kinds of names, and 1 others)"
    )
    assert likeness({"a.b": X}) == "1 tensor without a wrapper, first keys: a.b; no known layout is near"


def test_a_file_that_holds_itself_ends(tmp_path):
    knot: dict[str, Any] = {}
    knot["params"] = knot
    torch.save(knot, tmp_path / "knot.pth")
    with pytest.raises(CheckpointError, match="holds no tensors"):
        load_weights(tmp_path / "knot.pth")
    assert len({(layout.network, layout.whose) for layout in LAYOUTS}) == len(LAYOUTS)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["nafnet", "restormer"])
@pytest.mark.parametrize("wrapper", ["bare", "lightning"])
def test_official_networks_open_from_their_weights_alone(golden, tmp_path, name, wrapper):
    """States, input and output of the official implementations."""
    tensors, _ = golden(name)
    state = {key.removeprefix("state."): value for key, value in tensors.items() if key.startswith("state.")}
    torch.save(WRAPPERS[wrapper](state), tmp_path / "w.pth")
    opened = open_network(tmp_path / "w.pth")
    with torch.no_grad():
        torch.testing.assert_close(
            run_padded(opened.net, tensors["input"], opened.facts), tensors["output"], rtol=1e-4, atol=1e-5
        )


def told(state: Mapping[str, Tensor]) -> dict[str, Any]:
    read = from_published(state)
    assert read is not None
    return {**read.told, "unusual": read.unusual}


def test_what_mean_layers_tell():
    usual = {"img_range": 255.0, "rgb_mean": [0.4488, 0.4371, 0.4040]}
    state = published_edsr().state_dict()
    assert told(state) == {**usual, "unusual": {}}
    assert told({key: value.half() for key, value in state.items()}) == {**usual, "unusual": {}}
    one = {"img_range": 1.0}
    assert told(published_edsr(rgb_range=1).state_dict()) == {**usual, **one, "unusual": one}
    half = {"img_range": pytest.approx(127.5)}
    assert told(published_edsr(rgb_range=127.5).state_dict()) == {**usual, **half, "unusual": half}
    black = {"rgb_mean": [0.0, 0.0, 0.0]}
    assert told(published_edsr(mean=(0.0, 0.0, 0.0)).state_dict()) == {**black, "unusual": black}
    green = {"rgb_mean": [0.0, 0.5, 0.0]}
    assert told(published_edsr(mean=(0.0, 0.5, 0.0)).state_dict()) == {**usual, **green, "unusual": green}


def test_options_agree_with_a_file_up_to_what_16_bits_lose():
    mean = [0.4488, 0.4371, 0.4040]
    assert other_values(EDSR, {"img_range": 255.0, "rgb_mean": mean}) == ""
    assert other_values({**EDSR, "rgb_mean": [value * 1.001 for value in mean]}, {"rgb_mean": mean}) == ""
    for other in ([mean[0] * 1.003, *mean[1:]], [*mean[:2], 0.5], mean[:2], 0.4488):
        assert "rgb_mean is" in other_values({**EDSR, "rgb_mean": other}, {"rgb_mean": mean})
    assert other_values(EDSR, {}) == ""
