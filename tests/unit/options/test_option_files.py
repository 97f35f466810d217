"""Every option file in ``options/`` is right to the last key, and builds what it promises."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from torch import nn

from dckd_basicsr.archs import outline
from dckd_basicsr.config import load_options, load_yaml, option_problems, packaged_options, resolve_weights
from dckd_basicsr.distill import Distiller
from dckd_basicsr.distill.terms import TERM_KEYS, PixelTerm
from dckd_basicsr.models import DCKDModel
from dckd_basicsr.training.runtime import RuntimeSettings
from dckd_basicsr.weight_files import load_weights

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


def loaded(name: str) -> dict[str, Any]:
    """The options of a file with what it inherits."""
    return load_options(FILES[name])[0]


@cache
def parameters(name: str, key: str) -> int:
    """Count a file's network without allocating, except SwinIR, whose constructor reads values of tensors."""
    block = loaded(name)[key]
    if block["type"] == "TeacherAggregation":  # what trains of it; the files of its teachers are not there
        block["teachers"] = [{**inner, "path": None} for inner in block["teachers"]]
        return sum(p.numel() for p in outline(block).net.parameters())
    with torch.device("cpu" if block["type"] == "SwinIR" else "meta"):
        return sum(p.numel() for p in build_network(block).parameters())


def is_train(name: str) -> bool:
    return "test" not in name


RESTORATION = [name for name in FILES if "_de" in name]  # deblurring and deraining
CODEBOOKS = [name for name in FILES if name.startswith("vqgan")]
DISTILLED_SR = [name for name in FILES if name.startswith("dckd_x")]


def test_the_set_is_complete() -> None:
    expected = {f"{use}_x{s}_{kind}.yml" for use in ("dckd", "test") for s in SCALES for kind in KINDS}
    expected |= {
        f"{use}_{task}_{net}.yml"
        for use in ("dckd", "teacher", "test")
        for task in ("deblur", "derain")
        for net in ("nafnet", "restormer")
    }
    expected |= {"mtkd_aggregation_x4.yml", "mtkd_x4_edsr.yml", "vqgan_f16.yml", "vqgan_small.yml"}
    assert expected | {f"teacher_x{s}_edsr.yml" for s in SCALES} <= FILES.keys()


@pytest.mark.parametrize("name", FILES)
def test_passes_the_check_but_for_files(name: str) -> None:
    assert option_problems(loaded(name), is_train(name)) == []


@pytest.mark.parametrize("name", FILES)
def test_every_network_is_built(name: str) -> None:
    keys = [key for key, block in loaded(name).items() if key.startswith("network_") and block is not None]
    assert "network_g" in keys
    assert all(parameters(name, key) > 100_000 for key in keys)


@pytest.mark.parametrize("name", [name for name in FILES if name not in (*RESTORATION, *CODEBOOKS)])
def test_name_scale_and_crop_agree(name: str) -> None:
    opt = loaded(name)
    scale = opt["scale"]
    if not name.startswith("demo"):
        assert opt["name"] == Path(name).stem
        assert f"_x{scale}" in name
    assert all(metric["crop_border"] == scale for metric in opt["val"]["metrics"].values())
    for dataset in opt["datasets"].values():
        if "filename_tmpl" in dataset:
            assert dataset["filename_tmpl"] == f"{{}}x{scale}"
            assert dataset["dataroot_lq"].endswith(f"X{scale}")
    if "train" in opt["datasets"] and not name.startswith(("demo", "mtkd")):
        assert opt["datasets"]["train"]["gt_size"] == 48 * scale
        assert f"_X{scale}_" in opt["datasets"]["train"]["dataroot_lq"]


@pytest.mark.parametrize("name", [name for name in FILES if is_train(name)])
def test_losses_optimizer_and_schedule_are_built(name: str) -> None:
    train = loaded(name)["train"]
    assert all(isinstance(build_loss(train[term]), nn.Module) for term in TERM_KEYS if train.get(term))
    model = DCKDModel.__new__(DCKDModel)
    model.opt, model.net_g, model.optimizers, model.schedulers = {"train": train}, nn.Conv2d(1, 1, 1), [], []
    model.distiller = Distiller(model.net_g, [PixelTerm()])
    model.device, model.runtime = torch.device("cpu"), RuntimeSettings()
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
    trained = loaded(f"dckd_x{scale}_{kind}.yml")
    tested = loaded(f"test_x{scale}_{kind}.yml")
    assert tested["network_g"] == trained["network_g"]
    assert tested["path"]["pretrain_network_g"] == f"experiments/{trained['name']}/models/net_g_latest.pth"
    assert [d["name"] for d in tested["datasets"].values()] == ["Set5", "Set14", "BSD100", "Urban100"]


@pytest.mark.parametrize("scale", SCALES)
def test_own_edsr_teacher_fits_its_student(scale: int) -> None:
    teacher = loaded(f"teacher_x{scale}_edsr.yml")
    assert teacher["network_g"] == loaded(f"dckd_x{scale}_edsr.yml")["network_teacher"]


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith("demo")])
def test_sizes_named_in_comments(name: str) -> None:
    """The counts in the comments are those of the networks below them, where a file has networks of its own."""
    text = FILES[name].read_text(encoding="utf-8")
    for key in {"network_g", "network_teacher"} & load_yaml(FILES[name]).keys():
        (line,) = [line for line in text.splitlines() if line.startswith(f"{key}:")]
        assert f"{parameters(name, key):,} parameters" in line


@pytest.mark.parametrize("name", DISTILLED_SR)
def test_dckd_files_differ_in_networks_only(name: str) -> None:
    """Loss and schedule are the same in all nine, so that results compare."""
    assert loaded(name)["train"] == loaded("dckd_x4_edsr.yml")["train"]


@pytest.mark.parametrize("name", [name for name in RESTORATION if name.startswith("dckd")])
def test_dckd_terms_are_the_same_on_every_task(name: str) -> None:
    reference = loaded("dckd_x4_edsr.yml")["train"]
    train = loaded(name)["train"]
    for key in (*TERM_KEYS, "history", "ema_decay"):
        assert train.get(key) == reference.get(key)


# NAFNet and Restormer, teacher and student (Zhou et al., table 1).
RESTORATION_SIZES = {"nafnet": (17_111_907, 2_683_059), "restormer": (26_126_644, 3_813_230)}


@pytest.mark.parametrize("task", ["deblur", "derain"])
@pytest.mark.parametrize("net", ["nafnet", "restormer"])
def test_deblurring_and_deraining_files_belong_together(task: str, net: str) -> None:
    dckd, teacher, test = (loaded(f"{use}_{task}_{net}.yml") for use in ("dckd", "teacher", "test"))
    assert {dckd["scale"], teacher["scale"], test["scale"]} == {1}
    sizes = parameters(f"dckd_{task}_{net}.yml", "network_teacher"), parameters(f"dckd_{task}_{net}.yml", "network_g")
    assert sizes == RESTORATION_SIZES[net]
    assert teacher["network_g"] == dckd["network_teacher"]
    assert ("tlc" in dckd["network_teacher"]) == ("tlc" in test["network_g"]), "teacher and student are tested alike"
    assert test["network_g"] == dckd["network_g"]
    for key in ("optim_g", "scheduler", "total_iter", "clip_grad_norm"):
        assert teacher["train"][key] == dckd["train"][key]
    assert teacher["datasets"] == dckd["datasets"]
    assert all(metric["crop_border"] == 0 for opt in (dckd, teacher, test) for metric in opt["val"]["metrics"].values())


def test_restormer_recipe() -> None:
    opt = loaded("dckd_derain_restormer.yml")
    rows = opt["datasets"]["train"]["progressive"]
    lengths = [b[0] - a[0] for a, b in zip([[0]], rows[:1])] + [b[0] - a[0] for a, b in zip(rows, rows[1:])]  # noqa: RUF007
    assert lengths == [92_000, 64_000, 48_000, 36_000, 36_000, 24_000]
    assert [row[1:] for row in rows] == [[128, 64], [160, 40], [192, 32], [256, 16], [320, 8], [384, 8]]
    assert rows[-1][0] == opt["train"]["total_iter"] == sum(opt["train"]["scheduler"]["periods"])


def test_the_two_stages_of_mtkd_belong_together() -> None:
    first, second = loaded("mtkd_aggregation_x4.yml"), loaded("mtkd_x4_edsr.yml")
    for opt, block in ((first, first["network_g"]), (second, second["network_teacher"])):
        assert block["img_size"] * block["unshuffle"] == opt["datasets"]["train"]["gt_size"]
    assert second["network_teacher"] == {**first["network_g"], "img_size": 32}
    assert second["path"]["pretrain_network_teacher"] == f"experiments/{first['name']}/models/net_g_latest.pth"
    swinir, edsr, rcan = first["network_g"]["teachers"]
    for block, kind in ((edsr, "edsr"), (rcan, "rcan"), (swinir, "swinir")):
        arguments = {key: value for key, value in block.items() if key != "path"}
        wanted = loaded(f"dckd_x4_{kind}.yml")["network_teacher"]
        assert arguments == (wanted if kind != "swinir" else {**wanted, "img_size": 64})


def test_codebooks_have_the_layouts_of_the_published_and_the_shipped_one() -> None:
    for name, encoder in (("vqgan_f16.yml", 29_626_112), ("vqgan_small.yml", 1_907_648)):
        block = {**loaded(name)["network_g"], "decoder": False}
        assert sum(p.numel() for p in outline(block).net.parameters()) == encoder
    assert loaded("vqgan_small.yml")["network_d"] is None
    shipped = load_weights(resolve_weights("builtin:vqgan_f16_ch32_n1024")).state
    block = outline({**loaded("vqgan_small.yml")["network_g"], "decoder": False}).net.state_dict()
    assert {name: value.shape for name, value in shipped.items()} == {name: v.shape for name, v in block.items()}
