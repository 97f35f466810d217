"""Converting a pickled training checkpoint: tensors come through, code does not run."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch

from dckd_basicsr.archs import VQGAN
from dckd_basicsr.cli import main
from dckd_basicsr.commands.convert import convert_vqgan
from dckd_basicsr.errors import CheckpointError
from dckd_basicsr.portable.foreign_pickle import read_foreign_checkpoint
from dckd_basicsr.weight_files import load_weights
from tests.tiny import LAYOUT


class Callback:
    """What a training framework leaves in its checkpoints."""

    def __init__(self) -> None:
        self.best = {"score": [1, 2]}


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


@pytest.fixture
def checkpoint(tmp_path, monkeypatch) -> Path:
    """A VQGAN in the official layout among callbacks, a loss network and an object that would run code."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    state = VQGAN(LAYOUT, n_embed=16, embed_dim=6).state_dict()
    state["loss.discriminator.weight"] = torch.rand(3)
    state["transposed"] = torch.arange(6.0).view(2, 3).t()
    torch.save(
        {"epoch": 3, "callbacks": {Callback: Callback()}, "state_dict": state, "evil": Evil(), "kept": [Callback()]},
        "last.ckpt",
    )
    return tmp_path / "last.ckpt"


def test_the_official_form_is_refused_by_the_ordinary_reader(checkpoint):
    with pytest.raises(CheckpointError, match="refused"):
        load_weights(checkpoint)


def test_tensors_and_containers_come_through(checkpoint):
    loaded = read_foreign_checkpoint(checkpoint)
    assert loaded["epoch"] == 3
    assert torch.equal(loaded["state_dict"]["transposed"], torch.arange(6.0).view(2, 3).t())
    assert not Path("executed").exists()


def test_conversion_keeps_what_distillation_uses(checkpoint, capsys):
    assert main(["convert", "vqgan", "last.ckpt", "out/vqgan.safetensors"]) == 0
    assert "3 levels, 16 codes of length 6" in capsys.readouterr().out
    weights = load_weights("out/vqgan.safetensors")
    assert {k.split(".")[0] for k in weights.state} == {"encoder", "quant_conv", "quantize"}
    options = {k: v for k, v in weights.config.items() if k != "type"}
    net = VQGAN(**options)
    net.load_state_dict(weights.state)
    torch.manual_seed(0)
    original = VQGAN(LAYOUT, n_embed=16, embed_dim=6)
    x = torch.rand(1, 3, 16, 16)
    assert torch.equal(net.eval().encode(x), original.eval().encode(x))
    assert not Path("executed").exists()


def test_the_decoder_on_request(checkpoint):
    assert convert_vqgan(checkpoint, Path("full.safetensors"), decoder=True)["decoder"] is True
    assert any(k.startswith("decoder.") for k in load_weights("full.safetensors").state)


def test_safetensors_are_converted_too_and_float16_has_to_hold_them(checkpoint):
    convert_vqgan(checkpoint, Path("full.safetensors"), decoder=True)
    convert_vqgan(Path("full.safetensors"), Path("half.safetensors"), half=True)
    whole, half = (load_weights(f"{name}.safetensors").state for name in ("full", "half"))
    assert all(torch.equal(half[name], whole[name].half().float()) for name in half)
    assert not any(name.startswith("decoder.") for name in half)
    state = VQGAN(LAYOUT, n_embed=16, embed_dim=6).state_dict()
    state["quantize.embedding.weight"][3, 2] = 1e5  # float16 ends at 65,504
    torch.save({"params": state}, "large.pth")
    with pytest.raises(CheckpointError, match=r"beyond float16 \(quantize.embedding.weight\); leave out --half"):
        convert_vqgan(Path("large.pth"), Path("large.safetensors"), half=True)
    assert not Path("large.safetensors").exists()


def test_errors_leave_nothing(checkpoint, capsys):
    target = Path("v.safetensors")
    torch.save({"state_dict": {"conv.weight": torch.ones(1)}}, "other.ckpt")
    Path("old.ckpt").write_bytes(b"\x80\x02junk")
    with zipfile.ZipFile("zip.ckpt", "w") as archive:
        archive.writestr("readme", "hello")
    for name, message in (
        ("none.ckpt", "does not exist"),
        ("other.ckpt", "not a VQGAN's"),
        ("old.ckpt", "PyTorch 1.5 or earlier"),
        ("zip.ckpt", "not one that torch.save wrote"),
    ):
        assert main(["convert", "vqgan", name, str(target)]) == 1
        assert message in capsys.readouterr().err
        assert not target.exists()
    target.write_text("mine")
    assert main(["convert", "vqgan", "last.ckpt", str(target)]) == 1
    assert "exists" in capsys.readouterr().err
    assert target.read_text() == "mine"
