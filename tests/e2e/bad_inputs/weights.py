"""Weight files and checkpoints to convert."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from basicsr.archs import build_network
from safetensors.torch import save_file

from dckd_basicsr.archs.layouts import layout_of, to_published

from .row import TRAIN, BadInput, forced

__all__ = ["WEIGHTS"]

_CONVERT = "convert vqgan last.ckpt vqgan.safetensors"
_SAFE = f"{TRAIN} --force_yml path:pretrain_network_teacher=teacher.safetensors"


class _Callback:
    """What training frameworks leave in their checkpoints."""


def _cut(path: str, size: int) -> Callable[[], object]:
    return lambda: Path(path).write_bytes(Path(path).read_bytes()[:size])


def _compact() -> None:
    net = build_network({"type": "SRVGGNetCompact_basicsr", "num_feat": 8, "num_conv": 2, "upscale": 2})
    torch.save({"params": net.state_dict()}, "compact.pth")


def _corrupt() -> None:
    data = bytearray(Path("teacher.pth").read_bytes())
    data[200:400] = bytes(200)
    Path("teacher.pth").write_bytes(data)


def _no_torch_zip(path: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")


def _safetensors(change: Callable[[bytes], bytes]) -> Callable[[], object]:
    def spoil() -> None:
        save_file({"conv.weight": torch.zeros(8, 3, 3, 3)}, "teacher.safetensors")
        path = Path("teacher.safetensors")
        path.write_bytes(change(path.read_bytes()))

    return spoil


def _published() -> None:
    state = torch.load("teacher.pth", weights_only=True)["params"]
    mean = torch.tensor([0.4488, 0.4371, 0.4040])
    torch.save(to_published(layout_of("EDSR"), state, img_range=1.0, rgb_mean=mean), "edsr.pt")


def _normalised() -> None:
    """EDSR-PyTorch's names with batch normalisation between them, which no EDSR here has."""
    _published()
    state = torch.load("edsr.pt", weights_only=True)
    names = ("weight", "bias", "running_mean", "running_var")
    torch.save({"model": {**state, **{f"body.0.body.1.{name}": torch.zeros(12) for name in names}}}, "edsr.pt")


def _swap() -> None:
    Path("vqgan.pth").write_bytes(Path("teacher.pth").read_bytes())


def _misshape() -> None:
    state = torch.load("vqgan.pth", weights_only=True)["state_dict"]
    torch.save({"state_dict": {**state, "quantize.embedding.weight": torch.zeros(16)}}, "vqgan.pth")


WEIGHTS = (
    BadInput(
        "detected teacher of other channels than the images",
        f"{TRAIN} --force_yml datasets:train:color=y datasets:val:color=y network_g:num_in_ch=1 network_g:num_out_ch=1 "
        "path:pretrain_network_teacher=~ 'network_teacher={type: PretrainedNet, path: compact.pth}'",
        (
            "datasets.train.color is y, one channel, but network_teacher (PretrainedNet) has input_channels: 3",
            "remove color and measure on Y with test_y_channel: true, or take networks of one channel",
        ),
        _compact,
    ),
    BadInput(
        "weights cut short",
        TRAIN,
        (
            "path.pretrain_network_teacher: weight file 'teacher.pth' is damaged",
            "copy or download it again",
        ),
        _cut("teacher.pth", 700),
    ),
    BadInput(
        "weights corrupt inside",
        TRAIN,
        (
            "path.pretrain_network_teacher: weight file 'teacher.pth'",
            "damaged",
        ),
        _corrupt,
    ),
    BadInput(
        "weights are a text file",
        TRAIN,
        (
            "weight file 'teacher.pth' was refused",
            "no PyTorch file",
            "Only tensors and plain containers are read",
        ),
        lambda: Path("teacher.pth").write_text("<html>404 Not Found</html>"),
    ),
    BadInput(
        "weights are some zip file",
        TRAIN,
        ("weight file 'teacher.pth' is damaged or not a PyTorch file",),
        lambda: _no_torch_zip("teacher.pth"),
    ),
    BadInput(
        "weights with Python objects",
        TRAIN,
        (
            "weight file 'teacher.pth' was refused",
            "holds the Python object",
            "_Callback",
            "save its state dict alone",
        ),
        lambda: torch.save({"params": {}, "callback": _Callback()}, "teacher.pth"),
    ),
    BadInput(
        "weights are a plain pickle",
        TRAIN,
        (
            "weight file 'teacher.pth' was refused",
            "copy or download the file again",
        ),
        lambda: Path("teacher.pth").write_bytes(pickle.dumps({"params": {}})),
    ),
    BadInput(
        "weights are a list",
        TRAIN,
        ("weight file 'teacher.pth' holds a list; a state dict was expected",),
        lambda: torch.save([torch.zeros(1)], "teacher.pth"),
    ),
    BadInput(
        "weights are one tensor",
        TRAIN,
        ("weight file 'teacher.pth' holds a Tensor; a state dict was expected",),
        lambda: torch.save(torch.zeros(1), "teacher.pth"),
    ),
    BadInput(
        "weights without tensors",
        TRAIN,
        ("weight file 'teacher.pth' holds no tensors; a network's state dict was expected",),
        lambda: torch.save({"params": {"epoch": 3}}, "teacher.pth"),
    ),
    BadInput(
        "weights under another name",
        f"{TRAIN} --force_yml path:pretrain_network_g=mine.pth path:param_key_g=params",
        (
            "weight file 'mine.pth' has no entry 'params'. It holds: generator",
            "Set the matching param_key",
        ),
        lambda: torch.save({"generator": {"conv.weight": torch.zeros(1)}}, "mine.pth"),
    ),
    BadInput(
        "published weights of another range than the options",
        f"{TRAIN} --force_yml path:pretrain_network_teacher=edsr.pt",
        (
            "path.pretrain_network_teacher: the weights in 'edsr.pt' are of another EDSR",
            "img_range is 1.0 in the file and 255.0 in the options; write img_range: 1.0 under network_teacher",
        ),
        _published,
    ),
    BadInput(
        "weights that are nearly a known layout's",
        f"{TRAIN} --force_yml path:pretrain_network_teacher=edsr.pt",
        (
            "do not fit EDSR",
            "24 tensors under 'model'",
            "the nearest layout is EDSR as EDSR-PyTorch has it (14 of its 14 kinds of names, and 2 others)",
        ),
        _normalised,
    ),
    forced(
        "param_key that the file has not",
        "path:pretrain_network_g=vqgan.pth path:param_key_g=state_dic",
        "weight file 'vqgan.pth' has no entry 'state_dic'; did you mean 'state_dict'?",
    ),
    BadInput(
        "param_key that names a tensor",
        f"{TRAIN} --force_yml path:pretrain_network_g=mine.pth path:param_key_g=x",
        (
            "weight file 'mine.pth': entry 'x' is a Tensor, a state dict was expected",
            "param_key",
        ),
        lambda: torch.save({"x": torch.zeros(2)}, "mine.pth"),
    ),
    BadInput(
        "safetensors cut short",
        _SAFE,
        (
            "weight file 'teacher.safetensors' is not a readable safetensors file",
            "copy or download it again",
        ),
        _safetensors(lambda old: old[:-100]),
    ),
    BadInput(
        "safetensors that is a text file",
        _SAFE,
        ("weight file 'teacher.safetensors' is not a readable safetensors file",),
        _safetensors(lambda old: b"hello"),
    ),
    BadInput(
        "safetensors whose header lies",
        _SAFE,
        ("weight file 'teacher.safetensors' is not a readable safetensors file",),
        _safetensors(lambda old: (2**62).to_bytes(8, "little") + old[8:]),
    ),
    BadInput(
        "VQGAN file of another network",
        TRAIN,
        (
            "path.pretrain_network_vqgan: the weights are not a VQGAN's",
            "encoder.conv_in.weight is missing",
            "conv_first.weight",
        ),
        _swap,
    ),
    BadInput(
        "VQGAN file of other shapes",
        TRAIN,
        (
            "path.pretrain_network_vqgan: the weights are not a VQGAN's",
            "the names are, but not the shapes",
        ),
        _misshape,
    ),
    BadInput(
        "convert: a folder",
        "convert vqgan data vqgan.safetensors",
        ("checkpoint 'data' is a folder; a file was expected",),
    ),
    BadInput(
        "convert: no state dict",
        _CONVERT,
        ("'last.ckpt' holds no tensors at its top or under 'state_dict'; a VQGAN's were expected",),
        lambda: torch.save({"epoch": 3}, "last.ckpt"),
    ),
    BadInput("convert: no such file", _CONVERT, ("checkpoint 'last.ckpt' does not exist",)),
    BadInput(
        "convert: a text file",
        _CONVERT,
        (
            "'last.ckpt' is damaged, or was written by PyTorch 1.5 or earlier",
            "download it again",
        ),
        lambda: Path("last.ckpt").write_text("hello"),
    ),
    BadInput(
        "convert: some zip file",
        _CONVERT,
        ("'last.ckpt' is a zip file, but not one that torch.save wrote",),
        lambda: _no_torch_zip("last.ckpt"),
    ),
    BadInput(
        "convert: cut short",
        "convert vqgan vqgan.pth vqgan.safetensors",
        (
            "'vqgan.pth' is damaged, or was written by PyTorch 1.5 or earlier",
            "download it again",
        ),
        _cut("vqgan.pth", 5000),
    ),
    BadInput(
        "convert: another network",
        _CONVERT,
        ("'last.ckpt': the weights are not a VQGAN's", "encoder.conv_in.weight is missing", "conv.weight"),
        lambda: torch.save({"state_dict": {"conv.weight": torch.zeros(1)}}, "last.ckpt"),
    ),
    BadInput(
        "convert: target exists",
        "convert vqgan vqgan.pth vqgan.safetensors",
        ("'vqgan.safetensors' exists; choose another name or pass --overwrite",),
        lambda: Path("vqgan.safetensors").write_text("mine"),
    ),
    BadInput(
        "convert: target is a folder",
        "convert vqgan vqgan.pth out.safetensors --overwrite",
        ("'out.safetensors' is a folder; give the name of a file",),
        lambda: Path("out.safetensors").mkdir(),
    ),
    BadInput(
        "convert: target not named *.safetensors",
        "convert vqgan vqgan.pth vqgan.pt",
        ("the target must be named *.safetensors, got 'vqgan.pt'",),
    ),
    BadInput(
        "convert: target below a file",
        "convert vqgan vqgan.pth job.yml/vqgan.safetensors",
        (
            "'job.yml/vqgan.safetensors' cannot be written (",
            "check the folder's permissions",
        ),
    ),
)
