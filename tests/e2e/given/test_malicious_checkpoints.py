"""Weights and training states made to harm: nothing in them is run, no memory or time is lost on them, and the message
is the usual one."""

from __future__ import annotations

import json
import os
import pickle
import resource
import shutil
import struct
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dckd_basicsr.cli import main
from dckd_basicsr.errors import CheckpointError
from dckd_basicsr.portable.foreign_pickle import read_foreign_checkpoint
from dckd_basicsr.weight_files import load_weights
from tests.refusal import refused

# --- checkpoints that would run something


class System:
    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


class Execute:
    def __reduce__(self) -> Any:
        return exec, ("open('ran', 'w')",)


class Touch:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("ran"),)


def _old_format(content: Any, path: str) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


WRITERS = {
    "zip": torch.save,
    "old format": _old_format,
    "plain pickle": lambda content, path: Path(path).write_bytes(pickle.dumps(content)),
}
PLACES = {
    "teacher": ["train", "-opt", "job.yml", "--force_yml", "path:pretrain_network_teacher=evil.pth"],
    "student": ["train", "-opt", "job.yml", "--force_yml", "path:pretrain_network_g=evil.pth"],
    "vqgan": ["train", "-opt", "job.yml", "--force_yml", "path:pretrain_network_vqgan=evil.pth"],
    "resume state": ["train", "-opt", "job.yml", "--force_yml", "path:resume_state=evil.pth"],
    "detected": ["train", "-opt", "job.yml", "--force_yml", "network_teacher={type: PretrainedNet, path: evil.pth}"],
    "named safetensors": ["train", "-opt", "job.yml", "--force_yml", "path:pretrain_network_g=evil.safetensors"],
    "convert": ["convert", "vqgan", "evil.pth", "out.safetensors"],
}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("payload", [System, Execute, Touch])
def test_code_in_a_checkpoint_is_not_run(job: Path, capsys: Any, payload: type, writer: str, place: str) -> None:
    content = {"params": {"conv.weight": torch.zeros(1)}, "iter": 1, "epoch": 1, "evil": payload()}
    WRITERS[writer](content, "evil.pth")
    shutil.copy("evil.pth", "evil.safetensors")
    assert "evil." in refused(capsys, *PLACES[place])
    assert not Path("out.safetensors").exists()


def test_auto_resume_runs_no_code(job: Path, capsys: Any) -> None:
    Path("experiments/tiny/training_states").mkdir(parents=True)
    torch.save(
        {"iter": 1, "epoch": 1, "optimizers": [Touch()], "schedulers": []}, "experiments/tiny/training_states/1.state"
    )
    assert main(["train", "-opt", "job.yml", "--auto_resume"]) == 1
    assert "1.state' was refused" in capsys.readouterr().err
    assert not Path("ran").exists()


def test_conversion_takes_the_tensors_and_leaves_the_rest(job: Path) -> None:
    state = torch.load("vqgan.pth", weights_only=True)["state_dict"]
    torch.save({"state_dict": state, "callbacks": [System(), Execute(), Touch()], "key": {Touch: 1}}, "last.ckpt")
    assert main(["convert", "vqgan", "last.ckpt", "out.safetensors"]) == 0
    assert not Path("ran").exists()
    converted = load_weights("out.safetensors").state
    assert torch.equal(converted["quant_conv.weight"], state["quant_conv.weight"])


# --- files that lie about sizes

REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


def storage(count: int, key: str = "0") -> bytes:
    """The pickle of a persistent id: a float storage of so many numbers."""
    number = pickle.dumps(count, 2)[2:-1]  # without the header and the final dot
    return (
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX"
        + struct.pack("<I", len(key))
        + key.encode()
        + (b"X\x03\x00\x00\x00cpu" + number + b"tQ")
    )


def tensor(size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0, count: int = 4, key: str = "0") -> bytes:
    numbers = b"".join(pickle.dumps(value, 2)[2:-1] for value in (offset, size, stride))
    return REBUILD + b"(" + storage(count, key) + numbers + b"\x89}tR"


def state(size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """What a tensor's ``__setstate__`` takes for its storage, offset, size and strides."""
    return b"(" + tensor((4,), (1,)) + b"".join(pickle.dumps(value, 2)[2:-1] for value in (0, size, stride)) + b"t"


A = b"}X\x01\x00\x00\x00a"  # a dictionary, and a key to put something under
DOUBLE = b"q\x000(h\x00K\x01\x86h\x00K\x02\x86\x91"  # of the last value x the frozenset {(x, 1), (x, 2)}

CRAFTED: dict[str, bytes] = {
    "one number repeated to terabytes": b"}X\x01\x00\x00\x00a" + tensor((2**40,), (0,)) + b"s.",
    "a size that overflows": b"}X\x01\x00\x00\x00a" + tensor((2**62, 2**62), (0, 0)) + b"s.",
    "negative size": b"}X\x01\x00\x00\x00a" + tensor((-1,), (1,)) + b"s.",
    "two negative sizes": b"}X\x01\x00\x00\x00a" + tensor((-1, -2), (1, 1)) + b"s.",
    "offset past the end": b"}X\x01\x00\x00\x00a" + tensor((4,), (1,), offset=1000) + b"s.",
    "stride past the end": b"}X\x01\x00\x00\x00a" + tensor((4,), (2**40,)) + b"s.",
    "a count of terabytes": b"}X\x01\x00\x00\x00a" + tensor((4,), (1,), count=2**40) + b"s.",
    "a negative count": b"}X\x01\x00\x00\x00a" + tensor((4,), (1,), count=-4) + b"s.",
    "a record outside": b"}X\x01\x00\x00\x00a" + tensor((4,), (1,), key="../../etc/passwd") + b"s.",
    "a record that is not there": b"}X\x01\x00\x00\x00a" + tensor((4,), (1,), key="7") + b"s.",
    "text of terabytes": b"\x8d" + struct.pack("<Q", 2**60) + b"abc.",
    "bytes of negative length": b"T" + struct.pack("<i", -1) + b".",
    "tuples without end": b"}" + b")" + b"\x85" * 1_000_000 + b"K\x01s.",
    "tuples that double ninety times": b"}N" + b"2\x86" * 90 + b"K\x01s.",
    "tuples and frozensets that double": b"}N" + DOUBLE * 60 + tensor((4,), (1,)) + b"s.",
    "a size that is a long integer": b"}X\x01\x00\x00\x00a" + tensor((2**64,), (1,)) + b"s.",
    "a tensor told to be of gigabytes": A + tensor((4,), (1,)) + state((2**29,), (1,)) + b"bs.",
    "a tensor told to be of gigabytes, as a Variable": A
    + tensor((4,), (1,))
    + b"("
    + tensor((4,), (1,))
    + b"NN\x89Ntbs.",
    "a tensor told to forget": A + tensor((4,), (1,)) + b"\x89NN\x87bs.",
    "a tensor as a dictionary": b"]" + tensor((4,), (1,)) + b"K\x00K\x07sa.",
    "a tensor as several entries of a dictionary": b"]" + tensor((4,), (1,)) + b"(K\x00K\x07ua.",
    "a tensor as a list": b"]" + tensor((4,), (1,)) + b"(K\x00ea.",
    "a tensor as a set": b"]" + tensor((4,), (1,)) + b"(" + tensor((4,), (1,)) + b"\x90a.",
    "a tensor as the arguments": b"cmodule\nname\n" + tensor((2**21, 0), (1, 1)) + b"R.",
    "a dictionary of a tensor": b"ccollections\nOrderedDict\n" + tensor((2**21, 0), (1, 1)) + b"\x85R.",
    "a size that is a tensor": b"]"
    + REBUILD
    + b"("
    + storage(4)
    + b"K\x00"
    + tensor((2**21, 0), (1, 1))
    + b"K\x01\x85tRa.",
    "a storage that is a tensor": tensor((2**21, 0), (1, 1)) + b"Q.",
    "bytes of gigabytes": b"\x96" + struct.pack("<Q", 2**31) + b"abc.",
    "a function told its arguments": REBUILD[:-10] + b"parameter\nN}X\x0c\x00\x00\x00__defaults__)s\x86b.",
    "an extension code": b"\x82\x01.",
    "the end of the stack": b"0" * 50 + b".",
    "no end": b"}" * 1000,
}


def write_checkpoint(path: str, pickled: bytes, how: int = zipfile.ZIP_STORED, numbers: int = 4) -> None:
    with zipfile.ZipFile(path, "w", how) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + pickled)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/data/0", np.arange(1, 1 + numbers, dtype="<f4").tobytes())


@pytest.mark.parametrize("kind", CRAFTED)
def test_crafted_checkpoints_fail_at_once(job: Path, capsys: Any, kind: str) -> None:
    write_checkpoint("evil.ckpt", CRAFTED[kind])
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(CheckpointError, match=r"evil\.ckpt"):
        read_foreign_checkpoint("evil.ckpt")
    assert "evil.ckpt" in refused(capsys, "convert", "vqgan", "evil.ckpt", "out.safetensors")
    assert time.monotonic() - started < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB


def test_a_tensor_that_is_added_to_takes_no_memory(job: Path) -> None:
    count = 2**14
    column, row = (tensor(size, (1, 1), count=count) for size in ((count, 1), (1, count)))
    write_checkpoint("evil.ckpt", column + b"(" + row + b"\x90.", numbers=count)  # a gigabyte of sums
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match="a Tensor is changed as no checkpoint"):
        read_foreign_checkpoint("evil.ckpt")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB


def test_an_index_that_claims_more_than_the_file_holds(job: Path) -> None:
    write_checkpoint("evil.ckpt", b"]" + (tensor((2**18,), (1,), count=2**18) + b"a") * 200 + b".", numbers=2**18)
    data = Path("evil.ckpt").read_bytes()
    entry = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 4)  # of archive/version, which nothing reads
    Path("evil.ckpt").write_bytes(data[: entry + 20] + struct.pack("<II", 2**31, 2**31) + data[entry + 28 :])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match="is larger than what the file holds"):
        read_foreign_checkpoint("evil.ckpt")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_one_record_named_very_often(job: Path) -> None:
    many = (tensor((2**18,), (1,), count=2**18) + b"a") * 20_000
    write_checkpoint("evil.ckpt", b"]" + many + b".", numbers=2**18)  # a megabyte, and 20 gigabytes of copies
    with pytest.raises(CheckpointError, match="is larger than what the file holds"):
        read_foreign_checkpoint("evil.ckpt")


def test_a_memo_index_takes_no_memory(job: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    write_checkpoint("odd.ckpt", b"}r\xff\xff\xff\x7f.")  # "remember this under number 2**31 - 1"
    assert read_foreign_checkpoint("odd.ckpt") == {}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB


def test_arguments_of_a_class_are_left_alone(job: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    write_checkpoint("odd.ckpt", b"}X\x01\x00\x00\x00acmodule\nname\n" + tensor((2**21, 0), (1, 1)) + b"\x81s.")
    assert list(read_foreign_checkpoint("odd.ckpt")) == ["a"]  # and two million tensors were not made of one
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB


def test_a_sound_checkpoint_of_that_make_is_read(job: Path) -> None:
    """Otherwise the crafted ones might fail for the wrong reason."""
    write_checkpoint("good.ckpt", b"}X\x01\x00\x00\x00a" + tensor((2, 2), (2, 1)) + b"s.")
    assert read_foreign_checkpoint("good.ckpt")["a"].tolist() == [[1, 2], [3, 4]]


def test_what_torch_save_writes_of_tensors_is_read(job: Path) -> None:
    base = torch.arange(12.0).view(3, 4)
    content = {
        "scalar": torch.tensor(3.5),
        "empty": torch.empty(0, 5),
        "transposed": base.t(),
        "part": base[1:, ::2],
        "half": base.half(),
        "counter": torch.tensor(7),
        "parameter": torch.nn.Parameter(base),
        "flags": base > 3,
    }
    module = torch.nn.BatchNorm2d(2)
    torch.save({**content, "net": module.state_dict(), "bytes": bytearray(b"abc"), "keys": {(2, 3): 1}}, "good.ckpt")
    found = read_foreign_checkpoint("good.ckpt")
    for key, value in content.items():
        assert found[key].dtype == value.dtype
        assert torch.equal(found[key], value)
    assert list(found["net"]) == list(module.state_dict())
    assert found["keys"] == {(2, 3): 1}


def test_compressed_bombs_are_not_unpacked(job: Path) -> None:
    write_checkpoint("evil.ckpt", b"}" + b"N0" * 30_000_000 + b".", zipfile.ZIP_DEFLATED)
    assert Path("evil.ckpt").stat().st_size < 200_000
    started = time.monotonic()
    with pytest.raises(CheckpointError, match=r"is compressed, which torch\.save never does"):
        read_foreign_checkpoint("evil.ckpt")
    assert time.monotonic() - started < 1


def test_weights_that_repeat_one_number_to_gigabytes(job: Path, capsys: Any) -> None:
    torch.save({"params": {"conv.weight": torch.ones(1).half().expand(2**28)}}, "evil.pth")
    assert Path("evil.pth").stat().st_size < 2000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match=r"evil\.pth' has \d+ bytes and describes tensors of 1073741824"):
        load_weights("evil.pth")
    assert "evil.pth" in refused(capsys, *PLACES["student"])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB


def test_archives_that_unpack_to_gigabytes(job: Path, capsys: Any) -> None:
    torch.save({"params": {"conv.weight": torch.zeros(2**26)}}, "large.pth")
    with zipfile.ZipFile("large.pth") as large, zipfile.ZipFile("evil.pth", "w", zipfile.ZIP_DEFLATED) as evil:
        for name in large.namelist():
            evil.writestr(name, large.read(name))
    Path("large.pth").unlink()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for place in ("student", "resume state"):
        assert "evil.pth' has" in (told := refused(capsys, *PLACES[place]))
        assert "bytes and unpacks to 26843" in told
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_small_numbers_and_training_states_take_no_more_either(job: Path, capsys: Any) -> None:
    eighths = torch.zeros(50_000).to(torch.float8_e4m3fn)  # of which float32 is four times as large
    torch.save({f"{i}.weight": eighths for i in range(7)}, "evil.pth")
    with pytest.raises(CheckpointError, match=r"evil\.pth' has \d+ bytes and describes tensors of 1400000"):
        load_weights("evil.pth")
    torch.save({f"{i}.weight": eighths for i in range(2)}, "sound.pth")
    assert load_weights("sound.pth").state["0.weight"].dtype == torch.float32

    moments = {"state": {0: {"exp_avg": torch.ones(1).half().expand(2**28)}}, "param_groups": []}
    moments["again"] = moments
    torch.save({"iter": 1, "epoch": 0, "optimizers": [moments], "schedulers": []}, "evil.pth")
    assert "training state 'evil.pth' has" in (told := refused(capsys, *PLACES["resume state"]))
    assert "describes tensors of 1073741824" in told


def safetensors(header: Any, data: bytes = bytes(16), size: int | None = None) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


LIES = {
    "header longer than the file": safetensors({}, size=2**62),
    "header of gigabytes": safetensors({}, size=2**31),
    "offsets past the end": safetensors({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 2**40]}}),
    "offsets backwards": safetensors({"a": {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]}}),
    "negative offsets": safetensors({"a": {"dtype": "F32", "shape": [4], "data_offsets": [-16, 0]}}),
    "shape of terabytes": safetensors({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 16]}}),
    "shape that overflows": safetensors({"a": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 16]}}),
    "negative shape": safetensors({"a": {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]}}),
    "unknown type": safetensors({"a": {"dtype": "PYTHON", "shape": [4], "data_offsets": [0, 16]}}),
    "no JSON": struct.pack("<Q", 8) + b"\xff" * 8,
}


@pytest.mark.parametrize("kind", LIES)
def test_safetensors_that_lie(job: Path, capsys: Any, kind: str) -> None:
    Path("evil.safetensors").write_bytes(LIES[kind])
    with pytest.raises(CheckpointError, match=r"evil\.safetensors' is not a readable safetensors file"):
        load_weights("evil.safetensors")
    message = refused(capsys, "train", "-opt", "job.yml", "--force_yml", "path:pretrain_network_g=evil.safetensors")
    assert "path.pretrain_network_g: weight file 'evil.safetensors'" in message
