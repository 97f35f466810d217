"""The tutorials, followed as they stand: their commands run in order, and the files that they promise appear."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from basicsr.archs import build_network

from dckd_basicsr.archs import VQGAN
from dckd_basicsr.bicubic import imresize_uint8
from dckd_basicsr.cli import main
from dckd_basicsr.compare import load_sweep, planned_runs
from dckd_basicsr.config import find_options, load_options, option_problems
from dckd_basicsr.config.resolve import resolve_options
from tests import ROOT
from tests.pages import Appear, Command, WrittenFile, steps_of
from tests.photos import photo, save
from tests.tiny import run

PAGES = ROOT / "docs" / "tutorials"
ENCODER = "pretrained/vqgan_imagenet_f16_1024.safetensors"

NOT_RUN = {
    "torchrun": "needs several GPUs: tests/e2e/training/test_processes.py starts such lines on CPUs",
    "srun": "needs a cluster",
}
"""Programs that the pages start and this test does not, and why."""

QUICK = {
    "prepare div2k": ["--limit", "1", "--crop", "96", "--workers", "0"],
    "prepare gopro": ["--limit", "1", "--crop", "64", "--workers", "0"],
    "prepare rain13k": ["--limit", "1", "--workers", "0"],
    "distill": ["--iterations", "2", "--batch", "1", "--patch", "16", "--to", "safetensors"],
}
"""What makes a command quick; trainings, tests and inspections get the overrides below instead."""

SMALL_TEACHER = {"builtin:edsr_x4_f64b16": "pretrained/EDSR_Lx4_f256b32_DIV2K_official-76ee1c8f.pth"}
"""Words of a command that stand for a network whose speed would be measured, and the tiny one in its place."""

TRAIN = [
    "train:total_iter=2",
    "train:scheduler={type: MultiStepLR, milestones: [1], gamma: 0.5}",
    "datasets:train:num_worker_per_gpu=0",
    "datasets:train:dataset_enlarge_ratio=16",
    "logger:print_freq=1",
    "logger:use_tb_logger=false",
]
NO_REPORT = "logger:report=false"  # a page takes a second
PATCHES = ["datasets:train:gt_size=64", "datasets:train:batch_size_per_gpu=2"]
EDSR = ["num_feat=8", "num_block=1"]
NAFNET = ["width=4", "enc_blk_nums=[1, 1]", "dec_blk_nums=[1, 1]"]
RESTORMER = ["dim=8", "num_blocks=[1, 1, 1, 1]", "num_refinement_blocks=1"]


@dataclass(frozen=True)
class Tutorial:
    """How a page is made quick.

    Attributes:
        network: options that make student and teacher tiny.
        train: overrides of its trainings, beside :data:`TRAIN`.
        test: overrides of its tests.
        makes: what lies there for the other pages, and is made by the commands of this one.
    """

    network: Sequence[str] = ()
    train: Sequence[str] = ()
    test: Sequence[str] = ()
    makes: Sequence[str] = ()


TUTORIALS = {
    "photos.md": Tutorial(train=[NO_REPORT]),
    "super_resolution.md": Tutorial(
        EDSR, [*PATCHES, "train:history:schedule=[[2, 1]]"], makes=["datasets/DIV2K", ENCODER]
    ),
    "deblurring.md": Tutorial(NAFNET, [*PATCHES, NO_REPORT]),
    "deraining.md": Tutorial(RESTORMER, ["datasets:train:progressive=[[1, 32, 2], [2, 64, 1]]", NO_REPORT]),
    "own_term.md": Tutorial(EDSR, [*PATCHES, NO_REPORT]),
    "several_gpus.md": Tutorial(EDSR, [*PATCHES, NO_REPORT]),
    "own_codebook.md": Tutorial(EDSR, [*PATCHES, NO_REPORT, "val:val_freq=9"]),
}

OTHER = {
    "vqgan_small.yml": [
        "network_g:ddconfig:ch_mult=[1, 1, 1, 1, 1]",
        "network_g:ddconfig:num_res_blocks=1",
        "network_g:ddconfig:z_channels=8",
        NO_REPORT,
        "network_g:n_embed=16",
        "network_g:embed_dim=6",
        "datasets:train:gt_size=32",
        "datasets:train:batch_size_per_gpu=2",
    ]
}
"""Option files of other networks than a page's: their overrides, beside :data:`TRAIN`."""


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages say that one needs, tiny: photos, published sets in their layouts, teachers, the encoder."""
    folder = tmp_path_factory.mktemp("laid")
    for number, name in enumerate(("holiday_photos/beach", "holiday_photos/harbour", "more_photos/cat")):
        save(folder / f"{name}.png", photo(number, 80, 88))
    save(folder / "datasets/photos/0001.png", photo(0, 48, 48))
    save_pair(folder / "DIV2K/DIV2K_train_HR/0001.png", folder / "DIV2K/DIV2K_train_LR_bicubic/X4/0001x4.png", 96)
    for name in ("Set5", "Set14", "B100", "Urban100"):
        save_pair(folder / f"datasets/{name}/HR/baby.png", folder / f"datasets/{name}/LR_bicubic/X4/babyx4.png", 40)
    for scene in ("train/GOPR0372_07_00", "test/GOPR0384_11_00"):
        save(folder / f"GoPro/{scene}/sharp/000047.png", photo(0, 64, 72))
        save(folder / f"GoPro/{scene}/blur/000047.png", photo(1, 64, 72))
    for part in ("train/Rain13K", "test/Rain100L"):
        save(folder / f"Rain13K/{part}/target/1.png", photo(0, 64, 72))
        save(folder / f"Rain13K/{part}/input/1.png", photo(1, 64, 72))
    for options, network in (("x4_edsr", EDSR), ("deblur_nafnet", NAFNET), ("derain_restormer", RESTORMER)):
        save_teacher(folder, f"dckd_{options}.yml", network)
    layout = {"ch": 32, "ch_mult": [1] * 5, "num_res_blocks": 1, "attn_resolutions": [], "z_channels": 8}
    vqgan = VQGAN(layout, n_embed=16, embed_dim=6, decoder=False)
    torch.save({"state_dict": vqgan.state_dict()}, folder / "last.ckpt")
    assert main(["convert", "vqgan", str(folder / "last.ckpt"), str(folder / ENCODER)]) == 0
    packing = ["prepare", "div2k", str(folder / "DIV2K"), str(folder / "datasets/DIV2K"), "--scale", "4"]
    assert main([*packing, *QUICK["prepare div2k"]]) == 0
    return folder


def save_pair(gt: Path, lq: Path, side: int) -> None:
    save(lq, imresize_uint8(save(gt, photo(side, side, side)), 1 / 4))


def save_teacher(folder: Path, options: str, network: Sequence[str]) -> None:
    opt = load_options(find_options(options))[0]
    tiny = {key: json.loads(value) for key, value in (option.split("=") for option in network)}
    path = folder / opt["path"]["pretrain_network_teacher"]
    path.parent.mkdir(exist_ok=True)
    torch.save({"params": build_network({**opt["network_teacher"], **tiny}).state_dict()}, path)


def quick(words: Sequence[str], tutorial: Tutorial) -> list[str]:
    """The words after ``basicsr``, with what makes the command quick; the pages have --force_yml last."""
    command = words[0]
    if command in ("train", "inspect", "test"):
        nets = ["network_g"] if command == "test" else ["network_g", "network_teacher"]
        overrides = [f"{net}:{option}" for net in nets for option in tutorial.network]
        overrides += tutorial.test if command == "test" else [*TRAIN, *tutorial.train]
        other = OTHER.get(words[words.index("-opt") + 1])
        overrides = overrides if other is None else [*TRAIN, *other]
        return [*words, *([] if "--force_yml" in words else ["--force_yml"]), *overrides]
    if command == "distill":
        at = words.index("--time")
        words = [SMALL_TEACHER.get(word, word) for word in (*words[:at], *words[at + 2 :])]  # --iterations instead
    return [*words, *next((more for name, more in QUICK.items() if " ".join(words).startswith(name)), [])]


def spread(folder: Path, words: Sequence[str]) -> list[str]:
    """Put names in the place of ``*``, as a shell does."""
    found: list[str] = []
    for word in words:
        names = sorted(str(path.relative_to(folder)) for path in folder.glob(word)) if "*" in word else []
        found += names or [word]
    return found


@pytest.mark.parametrize("name", TUTORIALS)
def test_a_page_as_it_stands(name: str, laid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, tutorial = tmp_path / "work", TUTORIALS[name]
    shutil.copytree(laid, folder)
    for made in tutorial.makes:
        shutil.rmtree(folder / made) if (folder / made).is_dir() else (folder / made).unlink()
    done = []
    for step in steps_of(PAGES / name):
        if isinstance(step, WrittenFile):
            (folder / step.name).write_text(step.text, encoding="utf-8")
        elif isinstance(step, Appear):
            missing = [each for each in step.names if not list(folder.glob(each))]
            assert not missing, f"after {done}"
            assert all(path.stat().st_size for each in step.names for path in folder.glob(each))
        elif step.words[0] == "cd":
            folder = folder / step.words[1]
        elif step.words[0] == "basicsr":
            follow(folder, quick(spread(folder, step.words[1:]), tutorial), monkeypatch)
            done.append(" ".join(step.words))
    assert done


def follow(folder: Path, words: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a command; the steps of ``distill`` start where those of the tests do, which only makes them quicker."""
    if words[0] != "distill":
        ended = run(folder, *words)
        assert ended.returncode == 0, f"{words}\n{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}"
        return

    def step(where: Path, *arguments: str, quiet: bool = False, lock: int | None = None) -> None:
        follow(where, arguments, monkeypatch)

    monkeypatch.setattr("dckd_basicsr.project.run_basicsr", step)
    monkeypatch.chdir(folder)
    assert main(list(words)) == 0


def test_every_page_is_followed() -> None:
    assert {path.name for path in PAGES.glob("*.md")} == {*TUTORIALS, "index.md"}
    listed = (PAGES / "index.md").read_text(encoding="utf-8")
    for name in TUTORIALS:
        assert f"]({name})" in listed
        text, steps = (PAGES / name).read_text(encoding="utf-8"), list(steps_of(PAGES / name))
        assert sum(isinstance(step, Command) for step in steps) == len(
            re.findall(r"^(?:basicsr|torchrun|srun|cd) ", text, re.M)
        )
        assert sum(isinstance(step, Appear) for step in steps) == text.count("Now there are:") > 0


def test_what_is_not_run_is_on_the_pages() -> None:
    programs = {step.words[0] for name in TUTORIALS for step in steps_of(PAGES / name) if isinstance(step, Command)}
    assert programs == {"basicsr", "cd", *NOT_RUN}


def test_lines_for_several_processes_keep_the_total_batch() -> None:
    """What can be said of them without starting them: launcher, option file and overrides are right, and the batch."""
    lines = [step.words for step in steps_of(PAGES / "several_gpus.md") if isinstance(step, Command)]
    lines = [words for words in lines if words[0] in NOT_RUN]
    assert len(lines) == 3
    for words in lines:
        flags = dict(re.findall(r"--([\w-]+)=(\d+)", " ".join(words)))
        program = words[words.index("-m") + 1 :]
        assert program[:1] == ("dckd_basicsr",)
        assert program[program.index("--launcher") + 1] == ("slurm" if words[0] == "srun" else "pytorch")
        overrides = program[program.index("--force_yml") + 1 :] if "--force_yml" in program else ()
        opt, _ = resolve_options(find_options(program[program.index("-opt") + 1]), overrides)
        if program[1] == "train":
            assert option_problems(opt) == []
            processes = int(flags.get("ntasks") or flags["nproc_per_node"])
            assert processes * opt["datasets"]["train"]["batch_size_per_gpu"] == 16


def test_the_term_of_ones_own_is_in_its_own_variant_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for step in steps_of(PAGES / "own_term.md"):
        if isinstance(step, WrittenFile):
            (tmp_path / step.name).write_text(step.text, encoding="utf-8")
    first = {run.variant: run.options["train"] for run in planned_runs(load_sweep(tmp_path / "my_sweep.yml"))[1:4]}
    assert {name: sorted(train["losses"] or {}) for name, train in first.items()} == {
        "scratch": [],
        "logits": [],
        "edges": ["edges"],
    }
    assert {name: train["logits_opt"] is not None for name, train in first.items()} == {
        "scratch": False,
        "logits": True,
        "edges": True,
    }
