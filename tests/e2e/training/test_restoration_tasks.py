"""Deblurring and deraining: the shipped option files, made small, train and test through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs import build_network

from dckd_basicsr.archs import VQGAN
from dckd_basicsr.config import find_options, load_options
from dckd_basicsr.prepare.sets.paired import prepare_paired
from tests.tiny import LAYOUT, run, write_photos

SMALL = {
    "nafnet": ["width=4", "enc_blk_nums=[1, 1]", "dec_blk_nums=[1, 1]"],
    "restormer": ["dim=8", "num_blocks=[1, 1, 1, 1]", "num_refinement_blocks=1"],
}


def write_pairs(folder: Path) -> None:
    """Sharp photos and the same with blur and noise, as two LMDBs."""
    sharp = write_photos(folder / "sharp", size=(50, 66))
    (folder / "blur").mkdir()
    rng = np.random.default_rng(1)
    for path in sorted(sharp.iterdir()):
        image = cv2.GaussianBlur(cv2.imread(str(path)), (5, 5), 1.2).astype(np.int16)
        noisy = (image + rng.integers(-9, 10, image.shape)).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / "blur" / path.name), noisy)
    prepare_paired(sharp, folder / "blur", folder / "data", workers=0)


def small_network(name: str, key: str) -> list[str]:
    net = name.split("_")[-1].removesuffix(".yml")
    return [f"{key}:{option}" for option in SMALL[net]]


def data(part: str) -> list[str]:
    return [f"datasets:{part}:dataroot_gt=data/GT.lmdb", f"datasets:{part}:dataroot_lq=data/LQ.lmdb"]


@pytest.mark.parametrize(
    ("name", "sizes", "patches"),
    [
        ("dckd_derain_restormer.yml", ["datasets:train:progressive=[[1, 16, 2], [9, 24, 1]]"], ["16x16", "24x24"]),
        ("dckd_deblur_nafnet.yml", ["datasets:train:gt_size=32", "datasets:train:batch_size_per_gpu=2"], ["32x32"]),
    ],
)
def test_trains_and_tests(tmp_path, name, sizes, patches):
    write_pairs(tmp_path)
    teacher = load_options(find_options(name))[0]["network_teacher"]
    for option in small_network(name, "x"):
        key, value = option.removeprefix("x:").split("=")
        teacher[key] = json.loads(value)
    torch.save({"params": build_network(teacher).state_dict()}, tmp_path / "teacher.pth")
    torch.save(VQGAN(LAYOUT, n_embed=16, embed_dim=6, decoder=False).state_dict(), tmp_path / "vqgan.pth")
    done = run(
        tmp_path, "train", "-opt", name, "--force_yml", "name=small", "num_gpu=0", *data("train"), *data("val"), *sizes,
        *small_network(name, "network_g"), *small_network(name, "network_teacher"),
        "path:pretrain_network_teacher=teacher.pth", "path:pretrain_network_vqgan=vqgan.pth",
        "train:total_iter=2", "train:contrastive_opt:weights=[0.25, 0.5, 1.0]",
        "val:tile={size: 40, overlap: 8, batch: 2}", "val:batch=2", "val:self_ensemble=true",
        "datasets:train:num_worker_per_gpu=0", "logger:print_freq=1", "logger:use_tb_logger=false",
    )  # fmt: skip
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    for patch in patches:
        assert f"LQ patches of {patch} px" in output
    for term in ("l_pix", "l_logits", "l_contrast", "l_dist"):
        assert output.count(f"{term}: ") == 2

    test = name.replace("dckd", "test")
    sets = load_options(find_options(test))[0]["datasets"]
    others = [f"datasets:{key}=~" for key in sets if key != "test_1"]
    done = run(
        tmp_path, "test", "-opt", test, "--force_yml", "name=small", "num_gpu=0", *data("test_1"), *others,
        *small_network(name, "network_g"), "path:pretrain_network_g=experiments/small/models/net_g_latest.pth",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (results,) = json.loads((tmp_path / "results/small/metrics.json").read_text()).values()
    assert results["count"] == 3
    expected = {"psnr", "ssim", "psnr_rounded", "ssim_rounded"} if "derain" in name else {"psnr", "ssim"}
    assert set(results["mean"]) == expected
    assert 15 < results["mean"]["psnr"] < 50
    if "derain" in name:
        assert abs(results["mean"]["psnr"] - results["mean"]["psnr_rounded"]) < 0.2
