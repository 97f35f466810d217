"""Reading weights safely, writing them atomically."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dckd_basicsr.checkpoint import atomic_write, load_into, load_state, load_weights, save_state
from dckd_basicsr.errors import CheckpointError

STATE = {"a.weight": torch.arange(4.0).half(), "count": torch.tensor(3)}


@pytest.mark.parametrize("wrapper", ["params", "params_ema", "state_dict", None])
def test_wrapped_or_bare_half_weights_load_as_float32(tmp_path, wrapper):
    torch.save({wrapper: STATE} if wrapper else STATE, tmp_path / "w.pth")
    state = load_weights(tmp_path / "w.pth").state
    assert state["a.weight"].dtype == torch.float32
    assert state["count"].dtype == torch.int64
    assert state["a.weight"].tolist() == [0, 1, 2, 3]


def test_module_prefix_is_removed(tmp_path):
    torch.save({"params": {"module.a": torch.ones(1)}}, tmp_path / "w.pth")
    assert list(load_weights(tmp_path / "w.pth").state) == ["a"]


def test_param_key_falls_back_to_params_only(tmp_path):
    torch.save({"params": STATE}, tmp_path / "w.pth")
    assert load_weights(tmp_path / "w.pth", "params_ema").state
    torch.save({"generator": STATE}, tmp_path / "g.pth")
    with pytest.raises(CheckpointError, match=r"no entry 'generater'; did you mean 'generator'\?"):
        load_weights(tmp_path / "g.pth", "generater")


def test_safetensors_with_configuration(tmp_path):
    save_file({"a": torch.ones(2).half()}, tmp_path / "w.safetensors", {"config": '{"type": "EDSR"}'})
    weights = load_weights(tmp_path / "w.safetensors")
    assert weights.config == {"type": "EDSR"}
    assert weights.state["a"].dtype == torch.float32


class _Evil:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"params": _Evil()}, "evil.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(_Evil()))
    for name in ("evil.pth", "plain.pth"):
        with pytest.raises(CheckpointError, match=r"refused|damaged"):
            load_weights(tmp_path / name)
    assert not Path("executed").exists()


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_missing_truncated_and_foreign_files(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(CheckpointError, match="does not exist"):
        load_weights(path)
    if name.endswith("pth"):
        torch.save({"params": {"a": torch.rand(1000)}}, path)
    else:
        save_file({"a": torch.rand(1000)}, path)
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(CheckpointError, match="again"):
        load_weights(path)
    path.write_text("hello")
    with pytest.raises(CheckpointError, match="again"):
        load_weights(path)
    path.write_text("")
    with pytest.raises(CheckpointError, match="is empty"):
        load_weights(path)
    with pytest.raises(CheckpointError, match="is a folder"):
        load_weights(tmp_path)
    with pytest.raises(CheckpointError, match="File name too long"):
        load_weights(tmp_path / ("x" * 300 + path.suffix))


def test_misfits_are_listed(tmp_path):
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    state = {"0.weight": torch.zeros(4, 2), "0.bias": torch.zeros(3), "extra": torch.zeros(1)}
    with pytest.raises(CheckpointError) as caught:
        load_into(net, state, "teacher.pth")
    message = str(caught.value)
    assert "teacher.pth" in message
    assert "2 missing: 1.weight, 1.bias" in message
    assert "1 not in the network: extra" in message
    assert "0.weight is (4, 2) in the file and (3, 2) in the network" in message


def test_not_strict_loads_what_fits():
    net = nn.Linear(2, 3)
    load_into(net, {"bias": torch.ones(3), "weight": torch.ones(9, 9)}, "x", strict=False)
    assert net.bias.tolist() == [1, 1, 1]


def test_a_failed_write_raises_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "w.pth"
    save_state({"a": torch.ones(1)}, path)

    def fail(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise OSError("No space left on device")

    with pytest.raises(CheckpointError, match=r"w\.pth' cannot be written \(No space left on device; \d+ MiB free"):
        atomic_write(path, fail)
    assert load_state(path)["a"].item() == 1
    assert [p.name for p in tmp_path.iterdir()] == ["w.pth"]
