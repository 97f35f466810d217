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

from dckd_basicsr.checkpoint import Weights, load_weights
from dckd_basicsr.config import apply_overrides, check_options, option_problems, parse_options, weights
from dckd_basicsr.errors import ConfigError

METRIC = {"type": "calculate_psnr", "crop_border": 4, "test_y_channel": True}


def write_images(folder: Path, size: int, template: str = "{}") -> None:
    folder.mkdir(parents=True)
    for name in "ab":
        cv2.imwrite(str(folder / f"{template.format(name)}.png"), np.zeros((size, size, 3), np.uint8))


@pytest.fixture(autouse=True)
def _read_shipped_weights_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "load_weights", _load_weights)


@lru_cache
def _read(path: Path, param_key: str | None) -> Weights:
    return load_weights(path, param_key)


def _load_weights(path: Path, param_key: str | None) -> Weights:
    return _read(path, param_key) if path.suffix == ".safetensors" else load_weights(path, param_key)


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


@pytest.mark.parametrize(
    ("override", "message"),
    [
        # unknown keys
        ("modle_type=x", "unknown key 'modle_type' in the option file; did you mean 'model_type'?"),
        ("train:ema_dekay=0", "unknown key 'ema_dekay' in train; did you mean 'ema_decay'?"),
        ("train:negative={num: 5}", "unknown key 'negative' in train; did you mean 'negatives'?"),
        ("val:save_imgs=true", "unknown key 'save_imgs' in val; did you mean 'save_img'?"),
        ("logger:print_frq=1", "unknown key 'print_frq' in logger; did you mean 'print_freq'?"),
        ("path:pretrain_network_teach=x", "unknown key 'pretrain_network_teach' in path; did you mean"),
        ("path:pretrain_teacher=x", "unknown key 'pretrain_teacher' in path; did you mean 'pretrain_network_teacher'"),
        ("datasets:train:gt_sise=32", "unknown key 'gt_sise' in datasets.train; did you mean 'gt_size'?"),
        ("network_g:num_fet=64", "unknown key 'num_fet' in network_g (EDSR); did you mean 'num_feat'?"),
        ("train:optim_g:beta=1", "unknown key 'beta' in train.optim_g (Adam); did you mean 'betas'?"),
        ("train:scheduler:gama=1", "unknown key 'gama' in train.scheduler (MultiStepLR); did you mean 'gamma'?"),
        ("train:contrastive_opt:epss=1", "unknown key 'epss' in train.contrastive_opt (ContrastiveLoss); did you"),
        ("val:metrics:psnr:crop=4", "unknown key 'crop' in val.metrics.psnr (calculate_psnr)"),
        ("train:perceptual_opt={type: L1Loss}", "'perceptual_opt' in train is a term of BasicSR's SRModel"),
        ("train:history={decy: 0.1}", "unknown key 'decy' in train.history; did you mean 'decay'?"),
        (
            "train:negatives={degradation: {noise: {sigmas: [1, 2]}}}",
            "unknown key 'sigmas' in train.negatives.degradation.noise; did you mean 'sigma'?",
        ),
        # unknown names
        ("model_type=DCKDModle", "unknown model 'DCKDModle' in model_type; did you mean 'DCKDModel'?"),
        ("network_g:type=edsr", "unknown network 'edsr' in network_g; did you mean 'EDSR'?"),
        ("network_g:type=Zzz", "unknown network 'Zzz' in network_g; known are: BasicVSR"),
        ("train:pixel_opt:type=L1", "unknown loss 'L1' in train.pixel_opt; "),
        ("val:metrics:psnr:type=calculate_pnsr", "unknown metric 'calculate_pnsr' in val.metrics.psnr; did you mean"),
        ("datasets:val:type=PairedImagesDataset", "unknown dataset 'PairedImagesDataset' in datasets.val; did you"),
        ("train:optim_g:type=Adamm", "unknown optimizer 'Adamm' in train.optim_g; did you mean 'Adam'?"),
        ("train:scheduler:type=StepLR", "unknown scheduler 'StepLR' in train.scheduler; did you mean 'MultiStepLR'?"),
        # missing keys
        ("name=~", "missing key 'name' in the option file"),
        ("network_g={type: EDSR, upscale: 4, num_in_ch: 3}", "missing key 'num_out_ch' in network_g (EDSR)"),
        ("network_g={upscale: 4}", "missing key 'type' in network_g; one of "),
        ("network_g=~", "missing key 'network_g' in the option file"),
        ("train:optim_g={type: Adam}", "missing key 'lr' in train.optim_g (Adam)"),
        ("train:scheduler={type: CosineAnnealingLR}", "missing key 'T_max' in train.scheduler (CosineAnnealingLR)"),
        ("train:scheduler=~", "missing key 'scheduler' in train"),
        ("val:val_freq=~", "missing key 'val_freq' in val"),
        ("val:metrics:psnr={type: calculate_psnr}", "missing key 'crop_border' in val.metrics.psnr (calculate_psnr)"),
        ("datasets:train:batch_size_per_gpu=~", "missing key 'batch_size_per_gpu' in datasets.train"),
        # wrong kinds
        ("scale=four", "'scale' in the option file must be an integer, got 'four'"),
        ("num_gpu=all", "'num_gpu' in the option file must be an integer or one of 'auto', got 'all'"),
        ("datasets=5", "'datasets' in the option file must be a block of 'key: value' lines, got 5"),
        ("datasets:val=5", "datasets.val must be a block of 'key: value' lines, got 5"),
        ("network_g=EDSR", "network_g must be a block with a 'type', got 'EDSR'"),
        ("network_g:num_feat='64'", "'num_feat' in network_g (EDSR) must be a number, got '64'"),
        ("network_g:num_block=true", "'num_block' in network_g (EDSR) must be a number, got true"),
        ("network_g:rgb_mean=0.5", "'rgb_mean' in network_g (EDSR) must be a list of numbers, got 0.5"),
        ("train:optim_g:lr=fast", "'lr' in train.optim_g (Adam) must be a number, got 'fast'"),
        ("train:scheduler:milestones=5", "'milestones' in train.scheduler (MultiStepLR) must be a list of numbers"),
        ("train:contrastive_opt:weights=1", "(ContrastiveLoss) must be a list of numbers, got 1"),
        ("train:distribution_opt:form=papr", "(DistributionLoss) must be one of 'paper', 'released', got 'papr'"),
        ("train:history=5", "train.history must be a block of 'key: value' lines, got 5"),
        ("train:history={schedule: [[1e5, 1]]}", "'schedule' in train.history must be a list of lists of 2 integers"),
        ("train:encoder={input_range: [0]}", "'input_range' in train.encoder must be a list of 2 numbers, got [0]"),
        ("datasets:train:use_rot=yes please", "'use_rot' in datasets.train must be true or false, got 'yes please'"),
        ("datasets:train:prefetch_mode=gpu", "must be one of 'cpu', 'cuda' or null, got 'gpu'"),
        ("val:metrics:psnr:better=more", "'better' in val.metrics.psnr (calculate_psnr) must be one of 'higher'"),
        # out of range
        ("train:history={decay: 2}", "train.history: decay must be a probability in [0, 1], got 2"),
        ("train:negatives={degradation: {blur: {kernel: [4, 5]}}}", "train.negatives.degradation.blur: kernel sizes"),
        ("train:consistency={prob: -1}", "train.consistency: prob must be a probability"),
        ("train:ema_decay=1", "'ema_decay' in train must be below 1, got 1"),
        ("val:val_freq=0", "'val_freq' in val must be at least 1, got 0"),
        ("val:batch=0", "'batch' in val must be at least 1, got 0"),
        ("val:self_ensemble=8", "'self_ensemble' in val must be true or false, got 8"),
        ("val:tile={size: 64, batch: 0}", "val.tile needs batch >= 1 (tiles that pass the network at once), got 0"),
        ("val:metrics:psnr:crop_border=-4", "'crop_border' in val.metrics.psnr must be at least 0, got -4"),
        ("train:scheduler:restarts=[0, 5]", "train.scheduler has 2 restarts, but 1 restart_weights"),
        ("datasets:train:prefetch_mode=cuda", "datasets.train: prefetch_mode 'cuda' needs pin_memory: true"),
        ("manual_seed=-1", "'manual_seed' in the option file must be between 0 and 2147483647, got -1"),
        ("datasets:val:mean=[1, 1, 1]", "'mean' in datasets.val needs 'std' beside it, or leave both out"),
        (
            "datasets:val={name: a, type: PairedImageDataset, dataroot_gt: x, dataroot_lq: x, mean: [1], std: [1]}",
            "'mean' in datasets.val must have 3 numbers, one for each channel, got [1]",
        ),
        (
            "datasets:val={name: a, type: PairedImageDataset, dataroot_gt: x, dataroot_lq: x, mean: [1, 1, 1], "
            "std: [1, 1, 0]}",
            "'std' in datasets.val must be positive, got [1, 1, 0]",
        ),
        # no end, no number
        ("train:total_iter=.inf", "'total_iter' in train must be a finite number, got .inf"),
        ("train:pixel_opt:loss_weight=.nan", "'loss_weight' in train.pixel_opt must be a finite number, got .nan"),
        (
            "train:contrastive_opt:weights=[1, -.inf]",
            "'weights' in train.contrastive_opt must be a finite number, got -",
        ),
        ("train:negatives={degradation: {noise: {sigma: [1, .inf]}}}", "'sigma' in train.negatives.degradation.noise"),
        ("train:scheduler:milestones=[.inf]", "'milestones' in train.scheduler must be a finite number, got .inf"),
        ("network_g:res_scale=.nan", "'res_scale' in network_g must be a finite number, got .nan"),
        ("val:val_freq=1e999", "'val_freq' in val must be a finite number, got .inf"),
        # names that become folders
        ("name=x4/edsr", "'name' in the option file becomes the run's folder and must not hold /, got 'x4/edsr'; give"),
        ("name=''", "'name' in the option file becomes the run's folder and must not be empty, got ''"),
        ("name='  '", "must not be empty"),
        ("name=../victim", "must not hold /, got '../victim'"),
        ("name=..", "must name a folder of its own, got '..'"),
        ("name='a\\b'", "must not hold \\, got"),
        ('name="a\tb"', "must not hold control characters, got 'a\\tb'"),
        ("name=aux.x4", "must be none of the names that Windows keeps for devices, got 'aux.x4'"),
        ("name=run.", "nor end with a dot, got 'run.'"),
        ("name=" + "x" * 300, "must not be longer than 150 bytes"),
        ("datasets:val:name=Set5/x4", "'name' in datasets.val becomes a folder of pictures and must not hold /, got"),
        ("val:suffix=../up", "'suffix' in val becomes part of file names and must not hold /, got '../up'"),
        ("path:experiments_root=.", "path.experiments_root: '.' is the folder that the command runs in, or one above"),
        ("path:experiments_root=..", "path.experiments_root: '..' is the folder"),
        # blocks against each other
        (
            "datasets:train:color=y",
            "datasets.train.color is y, one channel, but network_g (EDSR) has num_in_ch: 3, network_g (EDSR) has "
            "num_out_ch: 3, network_teacher (EDSR) has num_in_ch: 3, network_teacher (EDSR) has num_out_ch: 3; remove "
            "color and measure on Y with test_y_channel: true, or make networks of one channel",
        ),
        (
            "datasets:val:color=y",
            "datasets.val.color is y, one channel, but network_g (EDSR) has num_in_ch: 3, ",
        ),
        (
            "network_g:num_in_ch=1",
            "datasets.train has images of 3 channels, but network_g (EDSR) has num_in_ch: 1; set",
        ),
        (
            "network_g={type: SwinIR, upscale: 4, window_size: 8, img_size: 16, in_chans: 1}",
            "network_g (SwinIR) has in_chans: 1; set 3",
        ),
        ("network_g:upscale=2", "scale is 4, but network_g (EDSR) upscales by 2; make them equal"),
        ("network_teacher:upscale=2", "scale is 4, but network_teacher (EDSR) upscales by 2"),
        ("datasets:train:gt_size=30", "datasets.train.gt_size is 30, no multiple of scale 4; 28 would be"),
        (
            "network_g={type: SwinIR, upscale: 4, window_size: 16, img_size: 16}",
            "datasets.train.gt_size 32 gives LQ patches of 8 px, but network_g (SwinIR) takes multiples of 16; make "
            "gt_size a multiple of 64",
        ),
        (
            "network_teacher=~",
            "missing key 'network_teacher', which train.logits_opt, train.contrastive_opt, ",
        ),
        ("path:pretrain_network_teacher=~", "missing key 'pretrain_network_teacher' in path: untrained, network_teac"),
        ("network_vqgan=~", "missing key 'network_vqgan', which train.contrastive_opt, train.distribution_opt need"),
        ("path:pretrain_network_vqgan=~", "missing key 'pretrain_network_vqgan' in path: untrained, network_vqgan t"),
        ("network_vqgan:type=EDSR", "network_vqgan must have type: VQGAN, got 'EDSR'"),
        ("network_vqgan:ddconfig={chh: 1}", "unknown key 'chh' in network_vqgan.ddconfig; did you mean 'ch'?"),
        ("train:contrastive_opt={type: L1Loss}", "train.contrastive_opt compares features, which L1Loss cannot; use"),
        ("train:logits_opt={type: ContrastiveLoss}", "train.logits_opt compares images, which ContrastiveLoss cannot"),
        ("datasets={val_2: {name: a, type: REDSDataset}}", "datasets has no 'train' set"),
        ("datasets:test={name: a, type: REDSDataset}", "datasets.test is neither 'train' nor 'val'"),
        # files
        (
            "path:pretrain_network_g=none/net_g_5.pth",
            "path.pretrain_network_g: 'none/net_g_5.pth' does not exist; a",
        ),
        ("path:pretrain_network_teacher=EDSR_x4.pth", "'EDSR_x4.pth' does not exist; published EDSR weights"),
        ("path:pretrain_network_teacher=builtin:edsr", "path.pretrain_network_teacher: unknown weights 'builtin:edsr'"),
        ("path:pretrain_network_vqgan=last.ckpt", "path.pretrain_network_vqgan: 'last.ckpt' does not exist; download"),
        ("path:pretrain_network_vqgan=builtin:edsr_x4_f64b16", "path.pretrain_network_vqgan: the weights are not a VQ"),
        ("network_teacher={type: PretrainedNet, path: x.pth}", "network_teacher.path: 'x.pth' does not exist"),
        ("path:resume_state=5.state", "path.resume_state: '5.state' does not exist; states are written to"),
        ("datasets:val:dataroot_gt=datasets/Set5/HR", "datasets.val.dataroot_gt: 'datasets/Set5/HR' does not exist; t"),
        ("datasets:train:dataroot_gt=DIV2K.lmdb", "download DIV2K from https://data.vision.ee.ethz.ch/cvl/DIV2K/"),
        ("datasets:val:filename_tmpl='{}'", "do not pair up with filename_tmpl '{}'"),
        ("datasets:val:filename_tmpl='{name}'", "datasets.val: filename_tmpl '{name}' must hold one {}"),
        ("datasets:val:io_backend={type: lmdb}", "but this set is read as LMDB; give a folder named *.lmdb"),
    ],
)
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
        "consistency_opt"
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
def test_junk_in_any_place_is_reported_not_raised(options: dict[str, Any], junk: Any) -> None:
    """Whatever stands in a block's place, the answer is a report (or acceptance), never another exception."""
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
    assert f"'{key}' in datasets.train would be ignored by PairedPatchDataset; remove it" in option_problems(options)
