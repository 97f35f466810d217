"""The one builder of networks: what it loads, what it tells, what it refuses; and that an outline agrees with it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from basicsr.archs import build_network

from dckd_basicsr.archs import VQGAN, ArchFacts, WeightSource, build, build_encoder, encoder_block, outline
from dckd_basicsr.errors import CheckpointError, ConfigError
from tests.tiny import LAYOUT, STUDENT


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    state = build_network(dict(STUDENT)).state_dict()
    torch.save({"params": state, "params_ema": {k: v + 1 for k, v in state.items()}}, tmp_path / "net.pth")
    return tmp_path / "net.pth"


@pytest.fixture
def vqgan(tmp_path: Path) -> Path:
    torch.save({"state_dict": VQGAN(LAYOUT, n_embed=16, embed_dim=6).state_dict()}, tmp_path / "vqgan.pth")
    return tmp_path / "vqgan.pth"


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("key", ["params", "params_ema"])
def test_the_named_entry_is_loaded_and_said(weights: Path, key: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="basicsr"):
        net, facts = build(STUDENT, weights=WeightSource(weights, key), scale=2)
    assert same(net.state_dict(), torch.load(weights, weights_only=True)[key])
    assert (facts.scale, facts.multiple_of) == (2, 1)
    assert net.training
    assert all(p.requires_grad for p in net.parameters())
    assert caplog.messages[-2:] == ["Network [EDSR] is created.", f"Loaded EDSR from {weights}"]


def test_without_weights_a_network_is_what_its_constructor_draws() -> None:
    torch.manual_seed(1)
    drawn = build(STUDENT).net.state_dict()
    torch.manual_seed(1)
    assert same(drawn, build_network(dict(STUDENT)).state_dict())


def test_frozen_on_a_device(weights: Path) -> None:
    net = build(STUDENT, weights=WeightSource(weights), device="meta", frozen=True).net
    assert not net.training
    assert {(p.device.type, p.requires_grad) for p in net.parameters()} == {("meta", False)}


def test_the_options_stay_as_they_were() -> None:
    options = dict(STUDENT)
    build(options)
    assert options == STUDENT


def test_weights_that_do_not_fit(weights: Path, caplog: pytest.LogCaptureFixture) -> None:
    wider = {**STUDENT, "num_feat": 12}
    with pytest.raises(CheckpointError, match=r"do not fit EDSR:\n.*of another shape"):
        build(wider, weights=WeightSource(weights))
    with caplog.at_level(logging.WARNING, logger="basicsr"):
        net = build(wider, weights=WeightSource(weights, strict=False)).net
    assert "EDSR loaded in part from" in caplog.text
    assert torch.equal(net.conv_last.bias, torch.load(weights, weights_only=True)["params_ema"]["conv_last.bias"])


def test_another_scale_is_refused_by_the_name_of_the_block() -> None:
    with pytest.raises(ConfigError, match=r"network_teacher \(EDSR\) upscales by 2, but scale is 4; make the two"):
        build(STUDENT, scale=4, where="network_teacher")
    assert build(STUDENT).facts.scale == 2


def test_a_stranger_has_the_scale_of_the_run() -> None:
    from basicsr.utils.registry import ARCH_REGISTRY

    class Stranger(torch.nn.Conv2d):
        def __init__(self) -> None:
            super().__init__(3, 3, 1)

    ARCH_REGISTRY._obj_map["Stranger"] = Stranger
    ARCH_REGISTRY._obj_map["make_stranger"] = lambda: Stranger()
    try:
        assert isinstance(outline({"type": "make_stranger"}, state={}).net, Stranger)
        assert build({"type": "Stranger"}, scale=3).facts == ArchFacts(scale=3)
        assert outline({"type": "Stranger"}, scale=3).facts == ArchFacts(scale=3)
        assert build({"type": "Stranger"}).facts == ArchFacts(scale=1)
    finally:
        del ARCH_REGISTRY._obj_map["Stranger"], ARCH_REGISTRY._obj_map["make_stranger"]


@pytest.mark.parametrize("strict", [True, False])
def test_an_encoder_has_the_layout_of_its_weights_and_no_decoder(vqgan: Path, strict: bool) -> None:
    net = build_encoder({"type": "VQGAN"}, WeightSource(vqgan, strict=strict))
    assert (net.config.ch_mult, net.num_taps) == ((1, 1, 2), 3)
    assert not net.training
    assert not any(p.requires_grad for p in net.parameters())
    assert not hasattr(net, "decoder")
    whole = torch.load(vqgan, weights_only=True)["state_dict"]
    assert same(net.state_dict(), {k: v for k, v in whole.items() if not k.startswith(("decoder", "post_quant"))})
    with pytest.raises(CheckpointError, match="do not fit VQGAN"):
        build_encoder({"type": "VQGAN", "ddconfig": LAYOUT, "n_embed": 8}, WeightSource(vqgan, strict=strict))


def test_a_whole_vqgan_has_the_layout_of_its_weights_too(vqgan: Path) -> None:
    net = build({"type": "VQGAN"}, weights=WeightSource(vqgan)).net
    assert same(net.state_dict(), torch.load(vqgan, weights_only=True)["state_dict"])


def test_weights_of_something_else_are_no_encoder(weights: Path) -> None:
    with pytest.raises(CheckpointError, match="not a VQGAN's in the official layout"):
        build_encoder({"type": "VQGAN"}, WeightSource(weights))


def test_an_outline_has_names_shapes_and_facts_of_the_real_thing(vqgan: Path) -> None:
    state = torch.load(vqgan, weights_only=True)["state_dict"]
    for drawn, real in (
        (outline(STUDENT), build(STUDENT)),
        (outline({"type": "VQGAN"}, state=state), build({"type": "VQGAN"}, weights=WeightSource(vqgan))),
        (outline(encoder_block({}), state=state), build(encoder_block({}), weights=WeightSource(vqgan))),
    ):
        assert drawn.facts == real.facts
        assert {p.device.type for p in drawn.net.parameters()} == {"meta"}
        assert {k: v.shape for k, v in drawn.net.state_dict().items()} == {
            k: v.shape for k, v in real.net.state_dict().items()
        }


@pytest.mark.parametrize(
    ("paths", "label", "expected"),
    [
        ({}, "g", None),
        ({"pretrain_network_g": None}, "g", None),
        ({"pretrain_network_g": "a.pth"}, "g", WeightSource("a.pth", "params", True, search=True)),
        ({"pretrain_network_g": "a.pth", "param_key_g": None}, "g", WeightSource("a.pth", None, True)),
        (
            {"pretrain_network_t2": "a.pth", "param_key_t2": "params_ema", "strict_load_t2": False},
            "t2",
            WeightSource("a.pth", "params_ema", False),
        ),
        ({"pretrain_network_teacher": "a.pth", "param_key_g": "x"}, "teacher", WeightSource("a.pth", None, True)),
    ],
)
def test_weights_as_the_block_path_names_them(paths: dict[str, Any], label: str, expected: WeightSource | None) -> None:
    assert WeightSource.named(paths, label) == expected
