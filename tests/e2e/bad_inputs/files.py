"""Files that an option file names: missing, or not what they should be."""

from __future__ import annotations

import shutil
from pathlib import Path

from .row import TEST, TRAIN, BadInput, forced

__all__ = ["FILES"]

_DISK = "datasets:train:dataroot_gt=gt datasets:train:dataroot_lq=lq datasets:train:io_backend:type=disk"


def _folders(*lq: str) -> None:
    """Image folders: the photos as GT, and copies of one as LQ."""
    shutil.copytree("photos", "gt")
    Path("lq").mkdir()
    for name in lq:
        shutil.copy("photos/photo0.png", f"lq/{name}")


FILES = (
    forced(
        "teacher missing",
        "path:pretrain_network_teacher=none.pth",
        "path.pretrain_network_teacher: 'none.pth' does not exist",
        "https://",
    ),
    forced(
        "VQGAN missing",
        "path:pretrain_network_vqgan=pretrained/none.safetensors",
        "path.pretrain_network_vqgan: 'pretrained/none.safetensors' does not exist",
        "basicsr convert vqgan",
        "builtin:vqgan_f16_ch32_n1024",
    ),
    forced(
        "weights of the student missing",
        "path:pretrain_network_g=experiments/old/models/net_g_latest.pth",
        "path.pretrain_network_g: 'experiments/old/models/net_g_latest.pth' does not exist",
        "basicsr train",
    ),
    forced(
        "shipped weights misspelt",
        "path:pretrain_network_vqgan=builtin:vqgan_f16_ch32_n1042",
        "unknown weights 'builtin:vqgan_f16_ch32_n1042'; did you mean 'vqgan_f16_ch32_n1024'?",
        "Shipped are:",
    ),
    forced(
        "teacher to be detected missing",
        "'network_teacher={type: PretrainedNet, path: none.pth}'",
        "network_teacher.path: 'none.pth' does not exist",
    ),
    forced(
        "teacher to be detected beside a file of another",
        "'network_teacher={type: PretrainedNet, path: teacher.pth}' path:pretrain_network_teacher=EDSR_Lx4.pth",
        "path.pretrain_network_teacher: 'EDSR_Lx4.pth' does not exist, and network_teacher (PretrainedNet) loads the",
        "remove path.pretrain_network_teacher, or set it to ~ where a base has it",
    ),
    BadInput(
        "teacher is a folder",
        f"{TRAIN} --force_yml path:pretrain_network_teacher=data",
        ("path.pretrain_network_teacher: 'data'",),
    ),
    BadInput(
        "teacher is an empty file",
        TRAIN,
        ("path.pretrain_network_teacher: weight file 'teacher.pth' is empty; copy or download it again",),
        lambda: Path("teacher.pth").write_bytes(b""),
    ),
    forced(
        "resume state missing",
        "path:resume_state=experiments/tiny/training_states/9.state",
        "path.resume_state: 'experiments/tiny/training_states/9.state' does not exist",
        "--auto_resume finds the latest",
    ),
    forced("resume state is a folder", "path:resume_state=data", "path.resume_state: 'data'"),
    forced(
        "resume state is a weight file",
        "path:resume_state=teacher.pth",
        "'teacher.pth' is not a BasicSR training state",
        "epoch, iter, optimizers",
    ),
    BadInput(
        "resume state damaged",
        f"{TRAIN} --force_yml path:resume_state=6.state",
        (
            "training state '6.state' is damaged or not a PyTorch file",
            "copy or download it again",
        ),
        lambda: Path("6.state").write_bytes(Path("teacher.pth").read_bytes()[:900]),
    ),
    forced(
        "database missing",
        "datasets:train:dataroot_gt=nowhere/GT.lmdb",
        "datasets.train.dataroot_gt: 'nowhere/GT.lmdb' does not exist",
        "basicsr prepare sr",
    ),
    forced(
        "benchmark missing",
        "datasets:val:dataroot_gt=datasets/Set5/HR",
        "datasets.val.dataroot_gt: 'datasets/Set5/HR' does not exist",
        "https://github.com/sanghyun-son/EDSR-PyTorch",
    ),
    forced(
        "database name with io_backend disk",
        "datasets:train:io_backend:type=disk",
        "datasets.train.dataroot_gt is 'data/GT.lmdb', but this set is read as image files",
        "io_backend: {type: lmdb}",
    ),
    forced(
        "image folder with io_backend lmdb",
        "datasets:train:dataroot_gt=photos",
        "datasets.train.dataroot_gt is 'photos', but this set is read as LMDB",
        "a folder named *.lmdb",
    ),
    BadInput(
        "database is a file",
        TRAIN,
        (
            "dataroot_gt: database 'data/GT.lmdb' does not exist or is not a folder",
            "basicsr prepare",
        ),
        lambda: (shutil.rmtree("data/GT.lmdb"), Path("data/GT.lmdb").write_text("x")),
    ),
    BadInput(
        "LQ folder holds fewer images",
        f"{TRAIN} --force_yml {_DISK}",
        (
            "dataroot_gt 'gt' holds 3 files and dataroot_lq 'lq' 1",
            "2 missing in 'lq' (photo1.png, photo2.png)",
        ),
        lambda: _folders("photo0.png"),
    ),
    BadInput(
        "LQ files named otherwise",
        f"{TRAIN} --force_yml {_DISK}",
        (
            "do not pair up with filename_tmpl '{}'",
            "3 only in 'lq' (photo0x2.png",
        ),
        lambda: _folders("photo0x2.png", "photo1x2.png", "photo2x2.png"),
    ),
    BadInput(
        "file name template without a gap",
        f"{TRAIN} --force_yml {_DISK} datasets:train:filename_tmpl=x2",
        (
            "do not pair up with filename_tmpl 'x2'",
            "missing in 'lq' (x2.png)",
        ),
        lambda: _folders("photo0.png"),
    ),
    BadInput(
        "file name template with a wrong gap",
        f"{TRAIN} --force_yml {_DISK} 'datasets:train:filename_tmpl=\"{{name}}x2\"'",
        ("filename_tmpl '{name}x2' must hold one {}",),
        lambda: _folders("photo0.png"),
    ),
    BadInput(
        "LQ images as large as GT",
        f"{TRAIN} --force_yml {_DISK}",
        (
            "'gt/photo0.png' is 70x90 and 'lq/photo0.png' 70x90, not 2 times smaller",
            "check scale and paths",
        ),
        lambda: _folders("photo0.png", "photo1.png", "photo2.png"),
    ),
    BadInput(
        "image folder empty",
        f"{TRAIN} --force_yml {_DISK}",
        ("dataroot_gt 'gt' holds no files; check the path",),
        lambda: (Path("gt").mkdir(), Path("lq").mkdir()),
    ),
    forced(
        "weights to test missing",
        "path:pretrain_network_g=none.pth",
        "path.pretrain_network_g: 'none.pth' does not exist; paths count from the folder the command runs in",
        command=TEST,
    ),
    forced(
        "test set missing",
        "datasets:test_1:dataroot_gt=datasets/Urban100/GTmod4.lmdb",
        "datasets.test_1.dataroot_gt: 'datasets/Urban100/GTmod4.lmdb' does not exist",
        "https://github.com/sanghyun-son/EDSR-PyTorch",
        command=TEST,
    ),
)
