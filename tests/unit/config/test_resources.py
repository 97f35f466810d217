"""Option files and weights that travel with the package are found by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from dckd_basicsr.config import (
    builtin_weights,
    find_options,
    packaged_options,
    resolve_weights,
    resources,
    where_to_get,
)
from dckd_basicsr.errors import ConfigError


@pytest.mark.parametrize("name", [f"{folder}dckd_x4_edsr{end}" for folder in ("", "options/") for end in ("", ".yml")])
def test_packaged_file_by_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_options(name) == packaged_options()["dckd_x4_edsr.yml"]


def test_a_file_as_given_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dckd_x4_edsr.yml").touch()
    assert find_options("dckd_x4_edsr.yml") == Path("dckd_x4_edsr.yml")


def test_installed_wheel_holds_them_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "dckd_basicsr"
    for folder in (package / "options", package.parent / "options"):
        folder.mkdir(parents=True)
        (folder / f"{folder.parent.name}.yml").touch()
    monkeypatch.setattr(resources, "_PACKAGE", package)
    assert packaged_options() == {"dckd_basicsr.yml": package / "options" / "dckd_basicsr.yml"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dckd_x4_esdr.yml", "did you mean 'dckd_x"),
        ("mine/dckd_x4_edsr.yml", "'mine/dckd_x4_edsr.yml' does not exist"),
        ("zzz", "one of the packaged files: dckd_deblur_nafnet.yml"),
    ],
)
def test_unknown_option_file(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        find_options(name)


def test_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/user")
    assert resolve_weights("~/a.pth") == Path("/home/user/a.pth")
    assert resolve_weights("a/b.pth") == Path("a/b.pth")
    assert {"edsr_x4_f64b16", "vqgan_f16_ch32_n1024"} <= builtin_weights().keys()
    assert resolve_weights("builtin:edsr_x4_f64b16").is_file()


@pytest.mark.parametrize("name", ["edsr_x4", "../weights/edsr_x4_f64b16", ""])
def test_unknown_weights(name: str) -> None:
    with pytest.raises(ConfigError, match="Shipped are: edsr_x4_f64b16, "):
        resolve_weights(f"builtin:{name}")


@pytest.mark.parametrize(
    ("key", "path", "words"),
    [
        ("datasets.train.dataroot_gt", "datasets/DIV2K/DIV2K_train_HR_sub.lmdb", "basicsr prepare div2k"),
        ("datasets.test_3.dataroot_lq", "datasets/B100/LR_bicubic/X4", "sanghyun-son/EDSR-PyTorch"),
        ("datasets.val.dataroot_gt", "datasets/Urban100/HR", "benchmark.tar"),
        ("datasets.train.dataroot_gt", "my/photos", "basicsr prepare sr PHOTOS OUT --scale S"),
        ("path.pretrain_network_teacher", "EDSR_Lx4_f256b32_DIV2K_official-76ee1c8f.pth", "docs/ModelZoo.md"),
        ("path.pretrain_network_teacher", "RCAN_BIX4-official.pth", "yulunzhang/RCAN"),
        (
            "path.pretrain_network_teacher",
            "001_classicalSR_DIV2K_s48w8_SwinIR-M_x4.pth",
            "SwinIR/releases",
        ),
        ("path.pretrain_network_vqgan", "last.ckpt", "builtin:vqgan_f16_ch32_n1024"),
        ("path.pretrain_network_g", "experiments/dckd_x4_edsr/models/net_g_latest.pth", "a training run writes it"),
        ("path.pretrain_network_g", "mine.pth", "paths count from the folder"),
    ],
)
def test_where_to_get(key: str, path: str, words: str) -> None:
    assert words in where_to_get(key, path)
