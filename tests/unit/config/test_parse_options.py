"""``parse_options`` gives what BasicSR's own gives, after a check and without running anything."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import basicsr.train
import pytest
import torch
import yaml
from basicsr.utils.misc import check_resume

from dckd_basicsr.config import builtin_weights, parse, parse_options
from dckd_basicsr.errors import ConfigError
from dckd_basicsr.training import processes

STOCK: dict[str, Any] = {
    "name": "run",
    "model_type": "SRModel",
    "scale": 4,
    "num_gpu": 0,
    "manual_seed": 7,
    "datasets": {
        "train": {
            "name": "a",
            "type": "PairedImageDataset",
            "dataroot_gt": ".",
            "dataroot_lq": ".",
            "gt_size": 32,
            "batch_size_per_gpu": 1,
        },
        "val_2": {"name": "b", "type": "PairedImageDataset", "dataroot_gt": ".", "dataroot_lq": "."},
    },
    "network_g": {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3},
    "path": {"pretrain_network_g": None, "resume_state": None},
    "train": {"total_iter": 10, "optim_g": {"type": "Adam", "lr": 1e-4}},
    "val": {"val_freq": 5},
    "logger": {"print_freq": 10, "save_checkpoint_freq": 5},
}


def write(folder: Path, opt: dict[str, Any]) -> str:
    path = folder / "file.yml"
    path.write_text(yaml.safe_dump(opt, sort_keys=False))
    return str(path)


def own(**changes: Any) -> dict[str, Any]:
    """A RestorationModel run."""
    train = {**STOCK["train"], "scheduler": {"type": "MultiStepLR", "milestones": [5]}, "pixel_opt": {"type": "L1Loss"}}
    kept = {k: v for k, v in STOCK["datasets"]["train"].items() if not k.startswith("dataroot")}
    train_set = {"train": {**kept, "type": "REDSDataset", "dataroot_gt": "."}}
    return {**STOCK, "model_type": "RestorationModel", "train": train, "datasets": train_set, **changes}


def test_basicsr_uses_it() -> None:
    assert basicsr.train.parse_options is parse_options


@pytest.mark.parametrize("is_train", [True, False])
@pytest.mark.parametrize("flags", [[], ["--auto_resume"], ["--debug"], ["--local_rank", "0"]])
def test_same_result_as_basicsr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], is_train: bool
) -> None:
    opt = STOCK if is_train else {**STOCK, "datasets": {"test_1": STOCK["datasets"]["val_2"]}}
    monkeypatch.setattr(sys, "argv", ["train", "-opt", write(tmp_path, opt), *flags])
    expected, expected_args = _stock_parse_options()(str(tmp_path), is_train)
    found, args = parse_options(str(tmp_path), is_train)
    _drop_defaults(found)
    assert found == _plain(expected)
    added = ("resolved", "seed_given", "methods")
    assert {k: v for k, v in vars(args).items() if k not in added} == vars(expected_args)
    assert args.resolved["name"] == found["name"].removeprefix("debug_")


def _stock_parse_options() -> Any:
    """BasicSR's own, out of a second copy of its module: the first one has it replaced."""
    import importlib.util

    spec = importlib.util.find_spec("basicsr.utils.options")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.parse_options


def _plain(value: Any) -> Any:
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, dict) else value


def _drop_defaults(opt: dict[str, Any]) -> None:
    """Take out what BasicSR leaves missing; test_defaults is about these."""
    assert opt["path"].pop("ignore_resume_networks") == []
    del opt["val"]["save_img"], opt["val"]["suffix"]
    if opt["is_train"]:
        del opt["logger"]["use_tb_logger"]
    for dataset in opt["datasets"].values():
        for key in ("io_backend", "use_hflip", "use_rot", "num_worker_per_gpu", "dataset_enlarge_ratio"):
            dataset.pop(key, None)


def test_defaults(tmp_path: Path) -> None:
    opt = {k: v for k, v in STOCK.items() if k not in ("path", "num_gpu", "manual_seed")}
    found, _ = parse_options(tmp_path, argv=["-opt", write(tmp_path, opt)])
    assert found["num_gpu"] == torch.cuda.device_count()
    assert 1 <= found["manual_seed"] <= 10000
    assert found["val"] == {"val_freq": 5, "save_img": False, "suffix": None}
    assert found["logger"]["use_tb_logger"] is False
    train = found["datasets"]["train"]
    assert [train[k] for k in ("use_hflip", "use_rot", "dataset_enlarge_ratio")] == [True, True, 1]
    assert train["num_worker_per_gpu"] >= 0
    assert train["io_backend"] == {"type": "disk"}


def test_lmdb_backend_is_inferred(tmp_path: Path) -> None:
    root = tmp_path / "x.lmdb"
    root.mkdir()
    keys = [f"datasets:train:dataroot_{k}={root}" for k in ("gt", "lq")]
    found, _ = parse_options(tmp_path, argv=["-opt", write(tmp_path, STOCK), "--force_yml", *keys])
    assert found["datasets"]["train"]["io_backend"] == {"type": "lmdb"}
    assert found["datasets"]["val_2"]["io_backend"] == {"type": "disk"}


@pytest.mark.parametrize("slashes", ["/", "//"])
def test_a_slash_behind_a_database_is_taken_off(tmp_path: Path, slashes: str) -> None:
    """Tab completion writes it, and BasicSR asks whether the name ends in ``.lmdb``."""
    root = tmp_path / "x.lmdb"
    root.mkdir()
    keys = [f"datasets:train:dataroot_{k}={root}{slashes}" for k in ("gt", "lq")]
    keys += [f"datasets:val_2:dataroot_gt={tmp_path}/"]
    found, args = parse_options(tmp_path, argv=["-opt", write(tmp_path, STOCK), "--force_yml", *keys])
    train = found["datasets"]["train"]
    assert train["dataroot_gt"] == train["dataroot_lq"] == str(root)
    assert train["io_backend"] == {"type": "lmdb"}
    assert found["datasets"]["val_2"]["dataroot_gt"] == f"{tmp_path}/"  # a folder stays as it is given
    assert args.resolved["datasets"]["train"]["dataroot_gt"] == f"{root}{slashes}"


def test_overrides_come_before_everything_else(tmp_path: Path) -> None:
    flags = ["--force_yml", "name=other", "manual_seed=3", "--force_yml", "train:optim_g:lr=1e-3"]
    found, args = parse_options(tmp_path, argv=["-opt", write(tmp_path, STOCK), *flags])
    assert args.force_yml == ["name=other", "manual_seed=3", "train:optim_g:lr=1e-3"]
    assert found["path"]["models"] == str(tmp_path / "experiments" / "other" / "models")
    assert found["train"]["optim_g"]["lr"] == 1e-3
    random.seed(3)
    expected = random.random()
    parse_options(tmp_path, argv=["-opt", write(tmp_path, STOCK), *flags])
    assert random.random() == expected


def test_both_spellings_of_local_rank(tmp_path: Path) -> None:
    for flag in ("--local_rank=2", "--local-rank=2"):
        assert parse_options(tmp_path, argv=["-opt", write(tmp_path, STOCK), flag])[1].local_rank == 2


def test_weights_are_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "g.pth").touch()
    state = tmp_path / "5.state"
    state.touch()
    opt = {**STOCK, "path": {"pretrain_network_g": "~/g.pth", "pretrain_network_x": "builtin:edsr_x4_f64b16"}}
    opt["path"]["resume_state"] = "~/5.state"
    found, _ = parse_options(tmp_path, argv=["-opt", write(tmp_path, opt)])
    assert found["path"]["pretrain_network_g"] == str(tmp_path / "g.pth")
    assert found["path"]["pretrain_network_x"] == str(builtin_weights()["edsr_x4_f64b16"])
    assert found["path"]["resume_state"] == str(state)


def test_resume_leaves_teacher_and_vqgan_alone(tmp_path: Path) -> None:
    opt = {**STOCK, "network_teacher": STOCK["network_g"], "network_vqgan": {"type": "VQGAN"}}
    opt["path"] = {"pretrain_network_teacher": "builtin:edsr_x4_f64b16", "ignore_resume_networks": ["network_x"]}
    found, _ = parse_options(tmp_path, argv=["-opt", write(tmp_path, opt)])
    assert found["path"]["ignore_resume_networks"] == ["network_x", "network_teacher", "network_vqgan"]
    found["path"]["resume_state"] = "5.state"
    check_resume(found, 5)
    assert found["path"]["pretrain_network_g"].endswith("net_g_5.pth")
    assert found["path"]["pretrain_network_teacher"] == str(builtin_weights()["edsr_x4_f64b16"])


def test_pretrained_net_path_is_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parse, "check_options", lambda *args, **kwargs: None)  # spandrel knows no EDSR
    opt = own(network_g={"type": "PretrainedNet", "path": "builtin:edsr_x4_f64b16"})
    found, _ = parse_options(tmp_path, argv=["-opt", write(tmp_path, opt)])
    assert found["network_g"]["path"] == str(builtin_weights()["edsr_x4_f64b16"])


def test_nothing_happens_before_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the process group was started")

    monkeypatch.setattr(processes, "join", forbidden)
    argv = ["-opt", write(tmp_path, own(modle=1)), "--launcher", "pytorch"]
    with pytest.raises(ConfigError, match=r"file\.yml: 1 problem\n  1\. unknown key 'modle'"):
        parse_options(tmp_path, argv=argv)
    assert [path.name for path in tmp_path.iterdir()] == ["file.yml"]


def test_launcher_without_torchrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ConfigError, match="needs what torchrun sets"):
        parse_options(tmp_path, argv=["-opt", write(tmp_path, STOCK), "--launcher", "pytorch"])


def test_launcher_hands_on_backend_and_seeds_by_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    monkeypatch.setattr(processes, "join", lambda *args, gpu: started.append((*args, gpu)) or (1, 2))
    opt = {**STOCK, "dist_params": {"backend": "gloo", "port": 29501}}
    file = write(tmp_path, opt)
    found, _ = parse_options(tmp_path, argv=["-opt", file, "--launcher", "pytorch"])
    assert (found["dist"], found["rank"], found["world_size"]) == (True, 1, 2)
    drawn = random.random()
    random.seed(8)
    assert drawn == random.random()
    parse_options(tmp_path, argv=["-opt", file, "--launcher", "slurm"])
    settings = processes.DistSettings(backend="gloo", port=29501)
    assert started == [("pytorch", settings, False), ("slurm", settings, False)]  # num_gpu is 0


def test_auto_on_several_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    auto = {"num_gpu": "auto", "dist": False}
    assert parse._num_gpu({**auto, "model_type": "SRModel"}) == 4
    assert parse._num_gpu({**auto, "model_type": "DCKDModel", "dist": True}) == 4
    assert parse._num_gpu({**auto, "model_type": "DCKDModel"}) == 1
    assert "torchrun --nproc_per_node=4" in capsys.readouterr().out


def test_packaged_file_is_found_and_copied_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parse, "check_options", lambda *args, **kwargs: None)
    _, args = parse_options(tmp_path, argv=["-opt", "dckd_x4_edsr"])
    assert Path(args.opt).is_file()
    assert Path(args.opt).name == "dckd_x4_edsr.yml"
