"""Weights as other programs want them, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import re

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from safetensors import safe_open

from dckd_basicsr.archs.facts import ArchFacts
from dckd_basicsr.errors import CheckpointError, ConfigError, DatasetError
from dckd_basicsr.inference.padding import run_padded
from dckd_basicsr.portable import (
    CardFacts,
    Measured,
    export_network,
    file_stem,
    open_network,
    register_with_spandrel,
)
from dckd_basicsr.portable.card_facts import _protocol
from dckd_basicsr.portable.checking import pictures_for
from tests.unit.portable.export_nets import RGB, opened

X = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("name", ["SPAN", "RCAN", "SwinIR", "NAFNet", "RRDBNet"])
def test_spandrel_loads_what_is_written(tmp_path, name):
    import spandrel

    source = opened(name)
    done = export_network(source, ["safetensors", "pth"], tmp_path / "out", name="net")
    want = run_padded(source.net, X.clone(), source.facts).clamp(0, 1)
    for (path,) in done.files.values():
        found = spandrel.ModelLoader().load_from_file(path).eval()
        assert (found.architecture.id, found.scale) == ({"RRDBNet": "ESRGAN"}.get(name, name), source.facts.scale)
        torch.testing.assert_close(found(X.clone()), want, rtol=0, atol=1e-5)
        again = open_network(path)
        torch.testing.assert_close(run_padded(again.net, X.clone(), again.facts).clamp(0, 1), want, rtol=0, atol=1e-5)
    with safe_open(done.files["safetensors"][0], "pt") as file:
        assert file.metadata()["format"] == "pt"
        keys = set(file.keys())
    if name == "RCAN":
        assert {"head.0.weight", "body.1.body.2.weight", "body.2.weight", "tail.0.0.bias", "sub_mean.bias"} <= keys
    if name == "SwinIR":
        assert {key.rpartition(".")[2] for key in keys} >= {"attn_mask", "relative_position_index"}
    sizes = {check.picture.split(", ")[1] for check in done.checks}
    assert len(sizes) == 2
    assert all(check.agrees for check in done.checks)


@pytest.mark.parametrize("name", ["EDSR", "Restormer"])
def test_networks_that_spandrel_does_not_know_come_back_through_us_and_the_card_says_so(tmp_path, name):
    source = opened(name)
    done = export_network(source, ["safetensors"], tmp_path, name="net")
    again = open_network(tmp_path / "net.safetensors")
    assert (again.name, again.guessed) == (name, False)
    assert torch.equal(again.net(X), source.net(X))
    text = done.card.read_text()
    assert f"do not know {name}: they refuse this weight file" in text
    assert {check.program for check in done.checks} == {"open_network"}


def test_half_precision_halves_the_file(tmp_path):
    sizes = {}
    for half in (False, True):
        done = export_network(opened("EDSR", num_feat=32), ["safetensors"], tmp_path / str(half), name="n", half=half)
        sizes[half] = done.files["safetensors"][0].stat().st_size
    assert sizes[True] < 0.6 * sizes[False]
    assert all(40 < check.psnr < 200 for check in done.checks)


def test_rcan_that_has_no_official_form_keeps_its_names_and_says_so(tmp_path):
    done = export_network(opened("RCAN", res_scale=0.5), ["safetensors"], tmp_path, name="net")
    assert "RCAN with another res_scale than 1" in done.card.read_text()
    assert open_network(tmp_path / "net.safetensors").options["res_scale"] == 0.5


def test_arguments_that_spandrel_does_not_look_for_keep_a_file_from_it_and_the_card_says_so(tmp_path):
    source = opened("RRDBNet", num_grow_ch=4)
    done = export_network(source, ["safetensors"], tmp_path, name="net")
    assert "those of a ESRGAN with other arguments, and fails on them" in done.card.read_text()
    assert {check.program for check in done.checks} == {"open_network"}
    again = open_network(tmp_path / "net.safetensors")
    assert torch.equal(again.net(X), source.net(X))


def test_tlc_is_switched_off_and_the_card_says_so(tmp_path):
    done = export_network(opened("NAFNet", tlc=16), ["safetensors"], tmp_path, name="net")
    assert "PSNR measured with TLC is not reproduced" in done.card.read_text()
    assert open_network(tmp_path / "net.safetensors").options["tlc"] == 16, "ours runs it as it was trained"


def test_a_file_that_answers_otherwise_is_not_written(tmp_path):
    with pytest.raises(CheckpointError, match=r"spandrel with net\.safetensors answers otherwise.*nothing was written"):
        export_network(opened("SwinIR", img_range=255.0), ["safetensors"], tmp_path / "a" / "b", name="net")
    assert not list(tmp_path.iterdir())


def test_a_network_that_fails_on_other_sizes_is_refused_in_words(tmp_path):
    with pytest.raises(CheckpointError, match=r"the network fails on 'chelsea', 1x3x96x128 \(The size of tensor"):
        export_network(opened("SwinIR", ape=True), ["safetensors"], tmp_path / "out", name="net")
    assert not list(tmp_path.iterdir())


def test_a_network_that_no_file_tells_is_not_written(tmp_path):
    source = opened("EDSR")
    source.net.more = torch.nn.Linear(2, 2)
    with pytest.raises(CheckpointError, match=r"nobody can tell from net\.pth alone which EDSR.*nothing was written"):
        export_network(source, ["pth"], tmp_path / "out", name="net")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_is_said_before_anything_is_written(tmp_path):
    def refused(error, match, source, formats, name="net", **more):
        with pytest.raises(error, match=match):
            export_network(source, formats, tmp_path / "out", name=name, **more)
        assert not (tmp_path / "out").exists()

    edsr = opened("EDSR")
    refused(ConfigError, "no format 'onx' to export to; did you mean 'onnx'", edsr, ["safetensors", "onx"])
    refused(ConfigError, "name at least one format", edsr, [])
    refused(ConfigError, r"cannot be called '\.\./x'", edsr, ["pth"], name="../x")
    refused(CheckpointError, "NAFNet.pth' cannot be exported to ncnn", opened("NAFNet"), ["ncnn"])
    refused(CheckpointError, "SwinIR is a transformer.*span-s", opened("SwinIR"), ["safetensors", "ncnn"])
    refused(DatasetError, "without photos", edsr, ["pth"], gt=[tmp_path / "gt.png"])
    pytest.importorskip("onnxscript")
    refused(ConfigError, "opset 3 cannot be written; give 13 to 23", edsr, ["onnx"], opset=3)
    refused(CheckpointError, "SwinIR does not compute in float16", opened("SwinIR"), ["onnx"], half=True)


def test_existing_files_stay_unless_they_are_to_go(tmp_path):
    edsr = opened("EDSR")
    (tmp_path / "config.json").write_text("mine")
    with pytest.raises(
        CheckpointError, match=r"config\.json' exists; choose another folder \(-o\) or pass --overwrite, which replaces"
    ):
        export_network(edsr, ["pth"], tmp_path, name="net")
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    export_network(edsr, ["pth"], tmp_path, name="net", overwrite=True)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"net.pth", "README.md", "config.json", "openmodeldb.json"}
    with pytest.raises(CheckpointError, match=r"net\.pth', README\.md, config\.json, openmodeldb\.json exist; choose"):
        export_network(edsr, ["pth"], tmp_path, name="net")


def test_files_that_a_new_card_would_not_tell_of_and_the_source_are_not_lost(tmp_path):
    edsr = opened("EDSR")
    export_network(edsr, ["pth"], tmp_path, name="net")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(CheckpointError, match=r"holds net\.pth of an earlier export, of which the new card"):
        export_network(edsr, ["safetensors"], tmp_path, name="net", overwrite=True)
    source = open_network(tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=r"net\.pth' is what is exported, and would be replaced"):
        export_network(source, ["pth"], tmp_path, name="net", half=True, overwrite=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    export_network(edsr, ["pth", "safetensors"], tmp_path, name="net", overwrite=True)


@pytest.mark.parametrize(
    ("text", "stem"),
    [("my net (1).x4", "my_net_1_.x4"), ("../a|b", "a_b"), ("网络", "network"), ("a" * 150, "a" * 100)],
)
def test_any_name_becomes_one_that_files_can_have(text, stem):
    assert file_stem(text) == stem


def test_answers_that_are_all_black_tell_little_and_the_card_says_so(tmp_path):
    source = opened("EDSR")
    assert export_network(source, ["safetensors"], tmp_path / "fine", name="net").notes[1:] == ()
    source.net.conv_last.bias.data.sub_(5 * 255)
    done = export_network(source, ["safetensors"], tmp_path / "black", name="net")
    assert any("that files agree tells little" in note for note in done.notes)
    assert "that files agree tells little" in done.card.read_text()


def test_photos_and_their_ground_truth(tmp_path):
    rng = np.random.default_rng(1)
    for name, side in (("lq/birdx2", 40), ("gt/bird", 80)):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir()
        cv2.imwrite(str(path), cv2.resize(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8), (side, side)))
    photos, gt = [tmp_path / "lq/birdx2.png"], [tmp_path / "gt/bird.png"]
    done = export_network(opened("EDSR"), ["pth"], tmp_path / "out", name="net", photos=photos, gt=gt)
    assert {check.picture for check in done.checks} == {"birdx2, 40x40"}
    small = tmp_path / "small.png"
    cv2.imwrite(str(small), np.zeros((4, 40, 3), np.uint8))
    with pytest.raises(DatasetError, match=r"'small' has 40x4 px, too few to compare answers on"):
        export_network(opened("EDSR"), ["pth"], tmp_path / "out2", name="net", photos=[small])
    assert all(check.network_psnr == check.file_psnr and check.network_psnr > 5 for check in done.checks)
    with pytest.raises(DatasetError, match="is not 2 times the 40x40 px"):
        export_network(opened("EDSR"), ["pth"], tmp_path / "o", name="net", photos=photos, gt=photos)
    with pytest.raises(DatasetError, match=r"has no ground truth: a file named birdx2\.\* or bird\.\*"):
        export_network(opened("EDSR"), ["pth"], tmp_path / "o", name="n", photos=photos, gt=[tmp_path / "gt/cat.png"])


def test_ground_truth_of_the_photo_s_own_name_comes_first(tmp_path):
    rng = np.random.default_rng(1)
    truths = {}
    for name, side in (("lq/a_x2", 40), ("gt/a", 80), ("gt/a_x2", 80)):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        truths[name] = cv2.resize(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8), (side, side))
        cv2.imwrite(str(path), truths[name])
    gt = [tmp_path / "gt/a.png", tmp_path / "gt/a_x2.png"]
    for given, name in ((gt, "gt/a_x2"), (gt[::-1], "gt/a_x2"), (gt[:1], "gt/a")):
        pictures, _ = pictures_for(ArchFacts(scale=2), 3, [tmp_path / "lq/a_x2.png"], given)
        want = torch.from_numpy(truths[name][..., ::-1].transpose(2, 0, 1).copy()).float()[None] / 255
        assert torch.equal(pictures[0].gt, want), name


def test_the_card_tells_programs_and_people(tmp_path):
    measured = Measured("Set5", "psnr", "Y channel, 2 px", 31.5, "basicsr test -opt set5.yml")
    about = CardFacts(
        title="Tiny", teacher="HAT", licence="CC-BY-4.0", metrics=(measured,), psnr_to_teacher=40.25, milliseconds=12.0
    )
    done = export_network(opened("SPAN"), ["safetensors"], tmp_path, name="tiny", about=about)
    told = json.loads((tmp_path / "config.json").read_text())
    assert (told["scale"], told["architecture"], told["files"]) == (2, "SPAN", {"safetensors": ["tiny.safetensors"]})
    listed = json.loads((tmp_path / "openmodeldb.json").read_text())
    weights = done.files["safetensors"][0].read_bytes()
    assert listed["id"] == "2x-tiny"
    assert listed["architecture"] == "span"
    assert listed["license"] == "CC-BY-4.0"
    (resource,) = listed["resources"]
    assert (resource["size"], resource["sha256"]) == (len(weights), hashlib.sha256(weights).hexdigest())
    text = done.card.read_text()
    for part in (
        "# Tiny",
        "HAT",
        "| PSNR (dB) | 31.50 ",
        "`basicsr test -opt set5.yml`",
        "40.25 dB",
        "not known: ask the author",
    ):
        assert part in text
    assert "chaiNNer (Load Model)" in text


def test_the_card_of_shipped_weights_says_what_is_known_of_them(tmp_path):
    done = export_network(open_network("builtin:edsr_x4_f64b16"), ["safetensors"], tmp_path, name="edsr_x4")
    text = done.card.read_text()
    assert re.search(r"\| these weights +\| Apache-2.0", text)
    assert re.search(r"\| training data +\| 376 photographs", text)
    assert "\n\nEDSR for super-resolution x4.\n\n" in text
    assert re.search(r"\| Set5 +\| PSNR \(dB\) +\| 31\.62 ", text)


def test_cards_of_other_channels_and_of_names_with_bars(tmp_path):
    about = CardFacts(data="a|b\nc", milliseconds=0.25, strips=("my strip.png",))
    done = export_network(
        opened("Compact", num_in_ch=1, num_out_ch=1), ["safetensors"], tmp_path, name="2x_my.net_v1", about=about
    )
    text = done.card.read_text()
    assert "1 channel, grey, values 0 to 1" in text
    assert "RGB, values" not in text
    assert "a\\|b c" in text
    assert "0.25 (not known" in text
    assert "](my%20strip.png)" in text
    assert json.loads((tmp_path / "config.json").read_text())["channel_order"] == "L"
    listed = json.loads((tmp_path / "openmodeldb.json").read_text())
    assert (listed["id"], listed["architecture"]) == ("2x-my-net-v1", "compact")


@pytest.mark.parametrize(
    ("block", "protocol"),
    [
        ({"type": "calculate_psnr", "crop_border": 4, "test_y_channel": True}, "calculate_psnr, Y channel, 4 px"),
        ({"type": "calculate_psnr", "crop_border": 0}, "calculate_psnr, RGB, 0 px"),
        ({"type": "calculate_psnr_y_rounded", "crop_border": 0}, "calculate_psnr_y_rounded, Y channel, rounded, 0 px"),
    ],
)
def test_protocols_in_words(block, protocol):
    assert _protocol(block) == f"{protocol} cropped at the border"


def test_edsr_can_be_added_to_spandrel(tmp_path, monkeypatch):
    import spandrel

    monkeypatch.setattr(spandrel, "MAIN_REGISTRY", spandrel.MAIN_REGISTRY.copy())  # other tests want it as it was
    source = opened("EDSR")
    export_network(source, ["safetensors"], tmp_path, name="net")
    before = [support.architecture.id for support in spandrel.MAIN_REGISTRY.architectures("detection")]
    register_with_spandrel()
    register_with_spandrel()
    after = [support.architecture.id for support in spandrel.MAIN_REGISTRY.architectures("detection")]
    assert sorted(after) == sorted({*before, "EDSR"})
    loader = spandrel.ModelLoader(registry=spandrel.MAIN_REGISTRY)
    found = loader.load_from_file(tmp_path / "net.safetensors").eval()
    assert (found.architecture.id, found.scale, found.input_channels) == ("EDSR", 2, 3)
    torch.testing.assert_close(found(X), source.net(X).clamp(0, 1))
    for name in ("SPAN", "RCAN", "NAFNet", "Compact"):
        assert spandrel.MAIN_REGISTRY.load(_state(tmp_path, name)).architecture.id == name
    with torch.device("meta"):  # 172 MB otherwise
        published = build_network({"type": "EDSR", **RGB, "num_feat": 256, "num_block": 32, "upscale": 2})
        large = spandrel.MAIN_REGISTRY.load(published.state_dict()).model
    assert {block.res_scale for block in large.body} == {0.1}, "as our own opener takes the published large EDSR"
    assert {block.res_scale for block in found.model.body} == {1}
    again = open_network(tmp_path / "net.safetensors")
    assert again.options is not None, "our own opener goes on as before"


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"img_range": 1.0}, "no weight tells img_range 1.0, which is taken for 255.0."),
        ({"res_scale": 0.1}, "no weight tells res_scale 0.1, which is taken for 1."),
        (
            {"rgb_mean": [0.5, 0.5, 0.5], "res_scale": 2},
            "no weight tells res_scale 2, which is taken for 1 and rgb_mean [0.5, 0.5, 0.5], which is taken for (0.44",
        ),
        ({"rgb_mean": [0.4488, 0.4371, 0.4040], "res_scale": 1.0}, None),
        ({}, None),
    ],
)
def test_the_card_advises_it_only_where_spandrel_would_answer_alike(tmp_path, monkeypatch, other, said):
    import spandrel

    source = opened("EDSR", **other)
    text = export_network(source, ["safetensors"], tmp_path, name="net").card.read_text()
    assert ("A Python program can add it: dckd_basicsr.portable.register" in text) == (said is None)
    assert f"register_with_spandrel() would have a Python program load it wrongly: {said}" in text or said is None
    monkeypatch.setattr(spandrel, "MAIN_REGISTRY", spandrel.MAIN_REGISTRY.copy())
    register_with_spandrel()
    loader = spandrel.ModelLoader(registry=spandrel.MAIN_REGISTRY)
    found = loader.load_from_file(tmp_path / "net.safetensors").eval()
    alike = torch.allclose(found(X), source.net(X).clamp(0, 1), atol=1e-4)
    assert alike == (said is None)


def _state(folder, name):
    from safetensors.torch import load_file

    export_network(opened(name), ["safetensors"], folder / name, name=name)
    return load_file(folder / name / f"{name}.safetensors")
