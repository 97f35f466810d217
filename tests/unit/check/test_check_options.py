"""Every kind of mistake in an option file is reported, in words that say what to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from basicsr.archs import build_network
from basicsr.utils.registry import ARCH_REGISTRY

from dckd_basicsr.config import apply_overrides, check_options, option_problems, parse_options, weights
from dckd_basicsr.errors import ConfigError
from dckd_basicsr.weight_files import Weights, load_weights
from tests.unit.check.mistakes import MISTAKES

METRIC = {"type": "calculate_psnr", "crop_border": 4, "test_y_channel": True}


def write_images(folder: Path, size: int, template: str = "{}") -> None:
    folder.mkdir(parents=True)
    for name in "ab":
        cv2.imwrite(str(folder / f"{template.format(name)}.png"), np.zeros((size, size, 3), np.uint8))


@pytest.fixture(autouse=True)
def _read_shipped_weights_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "load_weights", _load_weights)


@lru_cache
def _read(path: Path, param_key: str | None, search: bool) -> Weights:
    return load_weights(path, param_key, search=search)


def _load_weights(path: Path, param_key: str | None, search: bool = False) -> Weights:
    read = _read if path.suffix == ".safetensors" else _read.__wrapped__
    return read(path, param_key, search)


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    """A DCKD training run on two tiny folders; nothing is wrong with it."""
    write_images(tmp_path / "HR", 64)
    write_images(tmp_path / "LR", 16, "{}x4")
    edsr = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 32, "num_block": 4, "upscale": 4}
    roots = {"dataroot_gt": str(tmp_path / "HR"), "dataroot_lq": str(tmp_path / "LR"), "filename_tmpl": "{}x4"}
    paired = {"name": "tiny", "type": "PairedImageDataset", **roots, "io_backend": {"type": "disk"}}
    return {
        "name": "run",
        "model_type": "DCKDModel",
        "scale": 4,
        "num_gpu": "auto",
        "manual_seed": 0,
        "datasets": {"train": {**paired, "gt_size": 32, "batch_size_per_gpu": 2}, "val": deepcopy(paired)},
        "network_g": edsr,
        "network_teacher": {**edsr, "num_feat": 64, "num_block": 16, "res_scale": 1},
        "network_vqgan": {"type": "VQGAN"},
        "path": {
            "pretrain_network_teacher": "builtin:edsr_x4_f64b16",
            "pretrain_network_vqgan": "builtin:vqgan_f16_ch32_n1024",
        },
        "train": {
            "total_iter": 10,
            "ema_decay": 0.999,
            "optim_g": {"type": "Adam", "lr": 1e-4, "betas": [0.9, 0.99]},
            "scheduler": {"type": "MultiStepLR", "milestones": [5], "gamma": 0.1},
            "pixel_opt": {"type": "L1Loss", "loss_weight": 1},
            "logits_opt": {"type": "L1Loss"},
            "contrastive_opt": {"type": "ContrastiveLoss"},
            "distribution_opt": {"type": "DistributionLoss", "form": "paper"},
        },
        "val": {"val_freq": 5, "metrics": {"psnr": dict(METRIC)}},
        "logger": {"print_freq": 1, "save_checkpoint_freq": 5},
    }


@pytest.fixture
def save_yaml(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    def save(opt: dict[str, Any]) -> Path:
        path = tmp_path / "options.yml"
        path.write_text(yaml.safe_dump(opt, sort_keys=False))
        return path

    return save


def problems(opt: dict[str, Any], *overrides: str, is_train: bool = True) -> list[str]:
    """The report's lines for ``opt`` with overrides, [] if it passes."""
    opt = apply_overrides(deepcopy(opt), overrides)
    before = deepcopy(opt)
    try:
        check_options(opt, is_train, source="file.yml")
    except ConfigError as error:
        head, *lines = str(error).split("\n  ")
        assert head == f"file.yml: {len(lines)} problem{'s' * (len(lines) > 1)}"
        return [line.split(". ", 1)[1] for line in lines]
    finally:
        assert opt == before, "a check changes nothing"
    return []


def test_valid(options: dict[str, Any]) -> None:
    assert problems(options) == []


def test_valid_for_testing(options: dict[str, Any]) -> None:
    for key in ("train", "logger", "network_teacher", "network_vqgan", "path"):
        del options[key]
    options["datasets"]["test_1"] = options["datasets"].pop("val")
    del options["datasets"]["train"], options["val"]["val_freq"]
    assert problems(options | {"model_type": "RestorationModel"}, is_train=False) == []
    assert problems(options, is_train=False) == []


@pytest.mark.parametrize(("override", "message"), MISTAKES)
def test_each_problem(options: dict[str, Any], override: str, message: str) -> None:
    found = problems(options, override)
    assert any(message in line for line in found), found


@pytest.mark.parametrize(
    "override",
    [
        "network_g:res_scale=0.1",
        "train:optim_g={type: AdamW, lr: 1e-3, weight_decay: 0, betas: [0.9, 0.9], foreach: ~}",
        "train:scheduler={type: CosineAnnealingLR, T_max: 10, eta_min: 1e-7}",
        "train:scheduler={type: CosineAnnealingRestartLR, periods: [5, 5], restart_weights: [1, 1], eta_min: 0}",
        "train:scheduler={type: MultiStepRestartLR, milestones: [], restarts: [0], restart_weights: [1]}",
        "train:history={decay: 0, schedule: [[10, 5]], source: student}",
        "train:negatives={num: 3, chunk: ~, degradation: {noise: {sigma: [1, 2]}}}",
        "train:encoder=~",
        "train:logits_opt=~",
        "path:resume_state=~",
        "val:metrics:psnr:better=higher",
        "datasets:val:gt_size=~",
        "num_gpu=0",
        "name=DCKD x4, größer (2)",
        "val:suffix=''",
        # as in 0.1
        "name='x4: lr=1e-4'",
        "name='what? a|b*c'",
        "name=aux",
        "name=" + "x" * 229,
        "datasets:val:name='DIV2K: val'",
        "val:suffix=x2.",
        "manual_seed=4294967295",
        "val:val_freq=.inf",
        "logger:print_freq=.inf",
        "logger:save_checkpoint_freq=1e999",
        "train:clip_grad_norm=.inf",
        "datasets:train:name=DIV2K/x4",
        "path:experiments_root=runs/one",
    ],
)
def test_each_choice(options: dict[str, Any], override: str) -> None:
    assert problems(options, override) == []


def test_no_validation(options: dict[str, Any]) -> None:
    assert problems(options, "val=~", "datasets={train: %s}" % options["datasets"]["train"]) == []  # noqa: UP031 (braces)
    (found,) = problems(options, "val=~")
    assert found == (
        "datasets.val would never be measured without a block 'val'; give one (val_freq, metrics), or leave the sets "
        "out (datasets:val=~)"
    )
    (found,) = problems(options, "val=~", "datasets:val_2=%s" % {**options["datasets"]["val"], "name": "b"})  # noqa: UP031
    assert found.startswith("datasets.val, datasets.val_2 would never be measured")
    assert found.endswith("leave the sets out (datasets:val=~ datasets:val_2=~)")


def test_a_teacher_without_weights_takes_none(options: dict[str, Any]) -> None:
    bicubic = "network_teacher={type: Bicubic, upscale: 4}"
    assert problems(options, bicubic, "path:pretrain_network_teacher=~") == []
    (found,) = problems(options, bicubic)
    assert found.startswith("path.pretrain_network_teacher: the weights in 'builtin:edsr_x4_f64b16' do not fit Bicubic")


def test_several_problems_in_one_report(options: dict[str, Any]) -> None:
    found = problems(options, "network_g:num_fet=64", "scale=8", "train:history={decay: 2}", "path:resume_state=x")
    starts = [
        "train.history: decay",
        "unknown key 'num_fet'",
        "scale is 8, but network_g",
        "scale is 8, but network_teacher",
        "path.resume_state",
        "datasets.train: ",
        "datasets.val: ",
    ]
    assert all(line.startswith(start) for line, start in zip(found, starts, strict=True)), found


def test_no_term(options: dict[str, Any]) -> None:
    off = [f"train:{term}=~" for term in ("pixel_opt", "logits_opt", "contrastive_opt", "distribution_opt")]
    assert problems(options, *off) == [
        "train has no loss term; give at least one of pixel_opt, logits_opt, contrastive_opt, distribution_opt, "
        "consistency_opt, or one in losses"
    ]


def test_terms_ask_only_for_what_they_need(options: dict[str, Any]) -> None:
    without = ("contrastive_opt=~", "distribution_opt=~", "history={decay: 0.5}")
    del options["network_vqgan"], options["path"]["pretrain_network_vqgan"]
    assert problems(options, *(f"train:{entry}" for entry in without)) == []
    del options["network_teacher"], options["path"]["pretrain_network_teacher"]
    assert problems(options, *(f"train:{entry}" for entry in (*without, "logits_opt=~"))) == []


def test_restoration_model_has_no_teacher(options: dict[str, Any]) -> None:
    found = problems(options, "model_type=RestorationModel")
    assert any("model_type RestorationModel has no teacher, which train.logits_opt" in line for line in found)
    assert any("'network_teacher' in the option file would be ignored by model_type Rest" in line for line in found)
    assert any("'pretrain_network_vqgan' in path would be ignored" in line for line in found)


def test_swinir_swallows_no_misspelt_key(options: dict[str, Any]) -> None:
    found = problems(options, "network_g={type: SwinIR, upscale: 4, embd_dim: 60, window_size: 8}")
    assert found == ["unknown key 'embd_dim' in network_g (SwinIR); did you mean 'embed_dim'?"]


def test_damaged_weights(options: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(b"damaged")
    (found,) = problems(options, f"path:pretrain_network_g={path}")
    assert found.startswith(f"path.pretrain_network_g: weight file '{path}'")
    torch.save({"weights": {"a": torch.zeros(1)}}, path)
    (found,) = problems(options, f"path:pretrain_network_g={path}", "path:param_key_g=params_ema")
    assert "has no entry 'params_ema'" in found


def test_where_to_get_is_said_once(options: dict[str, Any]) -> None:
    roots = [f"datasets:val:dataroot_{k}=datasets/Set5/{folder}" for k, folder in (("gt", "HR"), ("lq", "LR"))]
    first, second = problems(options, *roots)
    assert "benchmark.tar" in first
    assert second == "datasets.val.dataroot_lq: 'datasets/Set5/LR' does not exist"


def test_meta_info_file(options: dict[str, Any], tmp_path: Path) -> None:
    (found,) = problems(options, "datasets:val:meta_info_file=missing.txt")
    assert found.startswith("datasets.val.meta_info_file: 'missing.txt' does not exist")
    (tmp_path / "list.txt").write_text("a.png")
    assert problems(options, f"datasets:val:meta_info_file={tmp_path / 'list.txt'}") == []


def test_lmdb_roots(options: dict[str, Any], tmp_path: Path) -> None:
    for name in ("HR", "LR"):
        shutil.copytree(tmp_path / name, tmp_path / f"{name}.lmdb")
    roots = [f"datasets:train:dataroot_{k}={tmp_path / name}.lmdb" for k, name in (("gt", "HR"), ("lq", "LR"))]
    assert all("is read as image files; set io_backend: {type: lmdb}" in line for line in problems(options, *roots))
    found = problems(options, *roots, "datasets:train:io_backend:type=lmdb")
    assert found
    assert all(line.startswith("datasets.train: ") and "meta_info.txt" in line for line in found), found


def test_gpus(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (found,) = problems(options, "num_gpu=1")
    assert found == "num_gpu is 1, but PyTorch finds no usable CUDA device; set num_gpu: auto, or 0 for the CPU"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert problems(options, "num_gpu=1") == []
    (found,) = problems(options, "num_gpu=2", "dist=false")
    assert "torchrun --nproc_per_node=2" in found
    assert problems(options, "num_gpu=2", "dist=true") == []


def test_parsed_options_pass_again(
    options: dict[str, Any], tmp_path: Path, save_yaml: Callable[[dict[str, Any]], Path]
) -> None:
    opt, _ = parse_options(tmp_path, argv=["-opt", str(save_yaml(options))])
    assert option_problems(opt | {"root_path": str(tmp_path)}) == []


@pytest.mark.parametrize("junk", [None, 5, "text", [], [1], {}, {"a": None}, {1: {2: 3}}, True])
def test_junk_in_any_place_is_reported_not_raised(options: dict[str, Any], tmp_path: Path, junk: Any) -> None:
    """Whatever stands in a block's place, the answer is a report (or acceptance), never another exception."""
    small = {**options["network_g"], "num_feat": 4, "num_block": 1}  # each check builds outlines of the networks
    torch.save({"params": build_network(dict(small)).state_dict()}, tmp_path / "teacher.pth")
    options |= {"network_g": small, "network_teacher": {**small, "res_scale": 1}}
    options["path"]["pretrain_network_teacher"] = str(tmp_path / "teacher.pth")
    assert problems(options) == []
    for *path, key in _places(options):
        opt = deepcopy(options)
        block = opt
        for step in path:
            block = block[step]
        block[key] = junk
        for is_train in (True, False):
            assert all(isinstance(problem, str) and problem for problem in problems(opt, is_train=is_train))


def _places(block: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, value in block.items():
        yield (key,)
        if isinstance(value, dict):
            yield from ((key, *rest) for rest in _places(value))


@pytest.mark.parametrize(("key", "value"), [("mean", [0.5, 0.5, 0.5]), ("color", "y"), ("meta_info_file", "names.txt")])
def test_keys_the_patch_dataset_would_ignore(options: dict[str, Any], key: str, value: Any) -> None:
    train = options["datasets"]["train"]
    train |= {"type": "PairedPatchDataset", key: value}
    assert option_problems(options) == [f"'{key}' in datasets.train would be ignored by PairedPatchDataset; remove it"]


def test_channels_of_networks_of_other_packages_are_their_own(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mine(torch.nn.Module):
        def __init__(self, in_channels: int = 64, num_in_ch: int = 12) -> None:
            super().__init__()

    monkeypatch.setitem(ARCH_REGISTRY._obj_map, "Mine", Mine)
    assert option_problems(options | {"network_g": {"type": "Mine"}}) == []
    Mine.__module__ = "basicsr.archs.mine_arch"
    (found,) = option_problems(options | {"network_g": {"type": "Mine"}})
    assert "network_g (Mine) has in_channels: 64, network_g (Mine) has num_in_ch: 12" in found


def test_one_mean_serves_all_channels(options: dict[str, Any]) -> None:
    options["datasets"]["val"] |= {"type": "PairedImageDataset", "mean": [0], "std": [1]}
    assert option_problems(options) == []


def test_seeds_of_several_processes_have_room_for_the_ranks(options: dict[str, Any]) -> None:
    assert option_problems(options | {"dist": True, "manual_seed": 2**32 - 2**16}) == []
    (found,) = option_problems(options | {"dist": True, "manual_seed": 2**32 - 1})
    assert "must be between 0 and 4294901760" in found
