"""Reading weights safely, writing them atomically."""

from __future__ import annotations

import logging
import os
import pickle
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from dckd_basicsr.errors import CheckpointError
from dckd_basicsr.weight_files import (
    atomic_write,
    load_into,
    load_state,
    load_training_state,
    load_weights,
    misfits,
    save_state,
    write_safetensors,
)

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


# --- what is read, and what is said where it cannot be


def test_files_are_read_to_the_cpu_and_never_with_code(tmp_path, monkeypatch):
    (tmp_path / "w.pth").write_bytes(bytes(4096))  # no tensor is believed to be larger than its file
    asked = []
    monkeypatch.setattr(torch, "load", lambda path, **options: asked.append(options) or {"params": STATE})
    load_weights(tmp_path / "w.pth")
    assert asked == [{"map_location": "cpu", "weights_only": True}]


@pytest.mark.parametrize(("numbers", "fits"), [(200, True), (201, False)])
def test_tensors_may_be_eight_times_their_file(tmp_path, monkeypatch, numbers, fits):
    (tmp_path / "w.pth").write_bytes(bytes(100))
    monkeypatch.setattr(torch, "load", lambda path, **options: {"params": {"a": torch.zeros(1).expand(numbers)}})
    if fits:  # 800 bytes: tied weights share memory
        assert load_weights(tmp_path / "w.pth").state["a"].shape == (numbers,)
        return
    with pytest.raises(CheckpointError, match="has 100 bytes and describes tensors of 804"):
        load_weights(tmp_path / "w.pth")


def test_a_refused_object_is_named(tmp_path, monkeypatch):
    torch.save({"params": _Evil()}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match=r"or holds the Python object [\w.]+\. Only tensors"):
        load_weights(tmp_path / "evil.pth")

    def refuse(path, **options):
        raise pickle.UnpicklingError("Weights only load failed. Unsupported operand 118")

    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(CheckpointError, match="or holds something other than tensors"):
        load_weights(tmp_path / "evil.pth")


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("[enforce fail at inline_container.cc:1] . no central directory. See our page\nmore", "no central directory"),
        ("cut short", "cut short"),
        ("", "OSError"),
    ],
)
def test_the_reason_for_damage_is_one_sentence(tmp_path, monkeypatch, reason, said):
    def fail(path, **options):
        raise OSError(reason)

    (tmp_path / "w.pth").write_bytes(b"x")
    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(CheckpointError, match=rf"^weight file .* is damaged or not a PyTorch file \({said}\); copy"):
        load_weights(tmp_path / "w.pth")


def test_a_file_of_one_byte_is_not_empty(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"damaged|refused"):
        load_weights(tmp_path / "w.pth")


def test_what_is_no_state_dict_is_named(tmp_path):
    for content, message in (([1], "holds a list"), ({"params": {"a": 1}}, "holds no tensors")):
        torch.save(content, tmp_path / "w.pth")
        with pytest.raises(CheckpointError, match=message):
            load_weights(tmp_path / "w.pth")
    torch.save({"g": 3, "params": STATE}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="entry 'g' is a int, a state dict was expected"):
        load_weights(tmp_path / "w.pth", "g")
    torch.save({"steps": 3, "epoch": torch.ones(1)}, tmp_path / "w.pth")
    assert list(load_weights(tmp_path / "w.pth").state) == ["epoch"]


def test_the_entry_asked_for_wins(tmp_path):
    torch.save({"params": {"a": torch.zeros(1)}, "mine": {"a": torch.ones(1)}}, tmp_path / "w.pth")
    assert load_weights(tmp_path / "w.pth", "mine").state["a"] == 1
    assert load_weights(tmp_path / "w.pth").state["a"] == 0


def test_safetensors_without_configuration(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "w.safetensors")
    assert load_weights(tmp_path / "w.safetensors").config is None
    save_file({"a": torch.ones(2)}, tmp_path / "w.safetensors", {"format": "pt"})
    assert load_weights(tmp_path / "w.safetensors").config is None


@pytest.mark.parametrize("text", ["compact x2", "[1]", '"x"', "3", "null", "", "[" * 100_000, "{"])
def test_what_other_programs_call_config_is_none(tmp_path, text):
    save_file({"a": torch.ones(2)}, tmp_path / "w.safetensors", {"config": text})
    weights = load_weights(tmp_path / "w.safetensors")
    assert weights.config is None
    assert weights.state["a"].tolist() == [1, 1]


@pytest.mark.parametrize(
    "state",
    [
        [1],
        {"iter": 1, "epoch": 0, "optimizers": []},
        {"iter": "1", "epoch": 0, "optimizers": [], "schedulers": []},
    ],
)
def test_a_training_state_has_its_keys(tmp_path, state):
    with pytest.raises(CheckpointError, match=r"^training state .* does not exist"):
        load_training_state(tmp_path / "1.state")
    torch.save(state, tmp_path / "1.state")
    with pytest.raises(CheckpointError, match="not a BasicSR training state"):
        load_training_state(tmp_path / "1.state")


def test_a_training_state_of_nothing_else_is_one(tmp_path):
    state = {"iter": 1, "epoch": 0, "optimizers": [], "schedulers": []}
    torch.save(state, tmp_path / "1.state")
    assert load_training_state(tmp_path / "1.state") == state


# --- into a network


def test_four_of_each_kind_are_listed():
    net = nn.Sequential(*(nn.Linear(1, 1, bias=False) for _ in range(5)))
    assert misfits(net, {}) == ["5 missing: 0.weight, 1.weight, 2.weight, 3.weight, ..."]
    four = {"4.weight": torch.zeros(1, 1)}
    assert misfits(net, four) == ["4 missing: 0.weight, 1.weight, 2.weight, 3.weight"]
    assert misfits(net, net.state_dict()) == []


def test_where_nothing_fits_no_part_is_loaded():
    net = nn.Linear(2, 1)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"'w\.pth' do not fit Linear:\n.*1 missing: weight\n.*1 not in.*: other"):
        load_into(net, {"other": torch.ones(1), "bias": torch.ones(2)}, "w.pth", strict=False)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_a_part_is_loaded_where_that_is_asked_for_and_said(caplog):
    logger = logging.getLogger("basicsr")
    logger.addHandler(caplog.handler)
    try:
        net = nn.Linear(2, 1)
        with pytest.raises(CheckpointError, match="do not fit Linear"):
            load_into(net, {"bias": torch.ones(1)}, "w.pth")
        load_into(net, {"bias": torch.full((1,), 7.0), "other": torch.ones(1)}, "w.pth", strict=False)
        assert net.bias.item() == 7
        assert "Linear loaded in part from w.pth: 1 missing: weight; 1 not in the network: other" in caplog.text
        caplog.clear()
        load_into(net, {"bias": torch.full((1,), 8.0), "weight": torch.ones(1, 2)}, "w.pth", strict=False)
        assert net.bias.item() == 8
        assert caplog.text == ""
    finally:
        logger.removeHandler(caplog.handler)


# --- what is written


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no list of open files")
def test_a_file_and_its_name_are_on_disk_and_nothing_stays_open(tmp_path, monkeypatch):
    flushed, fsync, numbers = [], os.fsync, Path("/proc/self/fd")

    def watch(number: int) -> None:
        flushed.append((numbers / str(number)).readlink())
        fsync(number)

    monkeypatch.setattr(os, "fsync", watch)
    before = len(list(numbers.iterdir()))
    save_state({"a": 1}, tmp_path / "new" / "folder" / "w.pth")
    assert len(list(numbers.iterdir())) == before
    file, folder = flushed
    assert re.fullmatch(r"\.dckd\.tmp-[^.]+", file.name)
    assert folder == tmp_path / "new" / "folder"
    assert load_state(tmp_path / "new" / "folder" / "w.pth") == {"a": 1}


def test_a_failed_write_says_how_much_room_there_is(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=(5 << 20) + 1))
    (tmp_path / "file").write_text("in the way")

    def fail(temporary):
        raise OSError("full\nmore")

    with pytest.raises(CheckpointError, match=r"\(full; 5 MiB free there\)"):
        atomic_write(tmp_path / "w.pth", fail)
    with pytest.raises(CheckpointError, match=r"; 0 MiB free there\)"):
        atomic_write(tmp_path / "file" / "w.pth", fail)


TOLD = {"format": "pt", "config": '{"type": "EDSR"}', "producer": "né \n", "architecture": "EDSR", "a": "", "z": "1"}


def test_equal_weights_are_equal_files(tmp_path):
    """The library's own order of the metadata differs from call to call, as it does from process to process."""
    state = {"z": torch.arange(3.0), "a.b": torch.ones(2, 2).half(), "n": torch.tensor(3)}
    told = [dict(sorted(TOLD.items(), reverse=i % 2 == 1)) for i in range(20)]
    for i, each in enumerate(told):
        write_safetensors(state, tmp_path / str(i), each)
    assert len({(tmp_path / str(i)).read_bytes() for i in range(20)}) == 1
    with safe_open(tmp_path / "0", framework="pt") as file:
        assert file.metadata() == TOLD
        assert set(file.keys()) == set(state)
        for key, value in state.items():
            assert file.get_tensor(key).dtype == value.dtype
            assert torch.equal(file.get_tensor(key), value)
    header = int.from_bytes((tmp_path / "0").read_bytes()[:8], "little")
    assert header % 8 == 0, "values are aligned"
