"""Every option file in ``options/`` is right to the last key, and builds what it promises."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from torch import nn

from dckd_basicsr.config import load_yaml, option_problems, packaged_options
from dckd_basicsr.distill.objective import TERM_KEYS
from dckd_basicsr.models import DCKDModel

FILES = packaged_options()
KINDS = ("edsr", "rcan", "swinir")
SCALES = (2, 3, 4)

# Parameters at x4 (Zhou et al., table 1; EDSR: DUKD's pair). The upsampler alone depends on the scale.
TEACHERS = {"edsr": 43_089_923, "rcan": 15_592_355, "swinir": 11_900_199}
STUDENTS = {"edsr": 2_699_267, "rcan": 5_171_315, "swinir": 1_235_439}


def upsampler(width: int, scale: int) -> int:
    """Parameters of BasicSR's pixel-shuffle upsampler."""
    factors = {2: (2,), 3: (3,), 4: (2, 2)}[scale]
    return sum(9 * width * width * f * f + width * f * f for f in factors)


@cache
def parameters(name: str, key: str) -> int:
    """Count a file's network without allocating, except SwinIR, whose constructor reads values of tensors."""
    block = load_yaml(FILES[name])[key]
    with torch.device("cpu" if block["type"] == "SwinIR" else "meta"):
        return sum(p.numel() for p in build_network(block).parameters())


def is_train(name: str) -> bool:
    return "test" not in name


def test_the_set_is_complete() -> None:
    expected = {f"{use}_x{s}_{kind}.yml" for use in ("dckd", "test") for s in SCALES for kind in KINDS}
    assert expected | {f"teacher_x{s}_edsr.yml" for s in SCALES} <= FILES.keys()


@pytest.mark.parametrize("name", FILES)
def test_passes_the_check_but_for_files(name: str) -> None:
    assert option_problems(load_yaml(FILES[name]), is_train(name)) == []


@pytest.mark.parametrize("name", FILES)
def test_name_scale_and_crop_agree(name: str) -> None:
    opt = load_yaml(FILES[name])
    scale = opt["scale"]
    if not name.startswith("demo"):
        assert opt["name"] == Path(name).stem
        assert f"_x{scale}" in name
    assert all(metric["crop_border"] == scale for metric in opt["val"]["metrics"].values())
    for dataset in opt["datasets"].values():
        if "filename_tmpl" in dataset:
            assert dataset["filename_tmpl"] == f"{{}}x{scale}"
            assert dataset["dataroot_lq"].endswith(f"X{scale}")
    if "train" in opt["datasets"] and not name.startswith("demo"):
        assert opt["datasets"]["train"]["gt_size"] == 48 * scale
        assert f"_X{scale}_" in opt["datasets"]["train"]["dataroot_lq"]


@pytest.mark.parametrize("name", [name for name in FILES if is_train(name)])
def test_losses_optimizer_and_schedule_are_built(name: str) -> None:
    train = load_yaml(FILES[name])["train"]
    assert all(isinstance(build_loss(train[term]), nn.Module) for term in TERM_KEYS if train.get(term))
    model = DCKDModel.__new__(DCKDModel)
    model.opt, model.net_g, model.optimizers, model.schedulers = {"train": train}, nn.Conv2d(1, 1, 1), [], []
    model.setup_optimizers()
    model.setup_schedulers()
    assert model.optimizers[0].param_groups[0]["lr"] == train["optim_g"]["lr"]
    assert len(model.schedulers) == 1


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", KINDS)
def test_students_and_teachers_have_the_published_size(kind: str, scale: int) -> None:
    students, teachers = (parameters(f"dckd_x{scale}_{kind}.yml", key) for key in ("network_g", "network_teacher"))
    wide = 256 if kind == "edsr" else 64
    assert students == STUDENTS[kind] - upsampler(64, 4) + upsampler(64, scale)
    assert teachers == TEACHERS[kind] - upsampler(wide, 4) + upsampler(wide, scale)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_student_is_tested_as_it_was_trained(kind: str, scale: int) -> None:
    trained = load_yaml(FILES[f"dckd_x{scale}_{kind}.yml"])
    tested = load_yaml(FILES[f"test_x{scale}_{kind}.yml"])
    assert tested["network_g"] == trained["network_g"]
    assert tested["path"]["pretrain_network_g"] == f"experiments/{trained['name']}/models/net_g_latest.pth"
    assert [d["name"] for d in tested["datasets"].values()] == ["Set5", "Set14", "BSD100", "Urban100"]


@pytest.mark.parametrize("scale", SCALES)
def test_own_edsr_teacher_fits_its_student(scale: int) -> None:
    teacher = load_yaml(FILES[f"teacher_x{scale}_edsr.yml"])
    assert teacher["network_g"] == load_yaml(FILES[f"dckd_x{scale}_edsr.yml"])["network_teacher"]


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("dckd")])
def test_sizes_named_in_comments(name: str) -> None:
    """The counts in the comments are those of the networks below them."""
    text = FILES[name].read_text(encoding="utf-8")
    for key in ("network_g", "network_teacher"):
        (line,) = [line for line in text.splitlines() if line.startswith(f"{key}:")]
        assert f"{parameters(name, key):,} parameters" in line


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("dckd")])
def test_dckd_files_differ_in_networks_only(name: str) -> None:
    """Loss and schedule are the same in all nine, so that results compare."""
    assert load_yaml(FILES[name])["train"] == load_yaml(FILES["dckd_x4_edsr.yml"])["train"]
