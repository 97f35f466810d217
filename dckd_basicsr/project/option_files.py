"""The option files of a project: one to train with, which a user can go on with by hand, and those of its tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..config.inherit import Source
from ..config.networks import networks_of, teachers_of, with_own_file
from ..config.overlays import load_overlays, overlaid
from ..config.problems import block_of, report
from ..config.resolve import dump_yaml
from ..config.resources import as_path, is_there, missing_file, resolve_weights
from ..config.rules import files_of_terms, is_used
from ..errors import ConfigError
from ..portable import Opened
from ..weight_files import atomic_write
from .held_out import HELD_OUT
from .photos import training_set
from .plan import Plan, whole_paths

__all__ = ["OPTIONS", "RUN", "TESTS", "check_files", "has_begun", "remove_measured", "write_option_files"]

OPTIONS = "options.yml"
RUN = "student"
"""The run's name."""
TESTS = {"input": "test_input.yml", "student": "test_student.yml", "teacher": "test_teacher.yml"}
_L1 = {"type": "L1Loss", "loss_weight": 1.0}


def write_option_files(plan: Plan, teacher: Opened, named: str, folder: Path) -> None:
    """Write the option files; paths in them count from the project's folder.

    Args:
        plan: with its iterations, or None of them for the file that times the steps.
        teacher: the network.
        named: its file as the user named it: ``builtin:NAME``, or a path.
        folder: of the project.
    """
    head = f"# Written by basicsr distill. In this folder: basicsr train -opt {OPTIONS} --auto_resume\n"
    if not has_begun(folder):  # after that it is the user's, too
        _write(folder / OPTIONS, head + dump_yaml(_training(plan, teacher, named)))
    weights = {"pretrain_network_g": f"experiments/{RUN}/models/net_g_latest.pth", "param_key_g": "params_ema"}
    block, path = _teacher(teacher, named)
    tests: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "input": ({"type": "Bicubic", "upscale": plan.scale}, {"pretrain_network_g": None}),
        "student": (dict(plan.network), weights),
        "teacher": (block, {key.replace("teacher", "g"): value for key, value in path.items()}),
    }
    for name, (network, paths) in tests.items():
        if name == "teacher" and plan.wish.kind == "lq":
            continue
        _write(folder / TESTS[name], dump_yaml(_test(plan, name, network, paths)))


def has_begun(folder: Path) -> bool:
    """Tell whether a project's training has begun."""
    return (folder / "experiments" / RUN / "options.yml").is_file()


def _training(plan: Plan, teacher: Opened, named: str) -> dict[str, Any]:
    total = plan.iterations or 1_000
    gt, lq = training_set(plan.wish.kind)
    network_teacher, weights = _teacher(teacher, named)
    train_set: dict[str, Any] = {"name": "photos", "type": "SinglePatchDataset" if gt is None else "PairedLMDBDataset"}
    train_set |= {} if gt is None else {"dataroot_gt": gt}
    base = {
        "name": RUN,
        "model_type": "DCKDModel",
        "scale": plan.scale,
        "num_gpu": "auto",
        "manual_seed": plan.wish.seed,
        "datasets": {
            "train": {
                **train_set,
                "dataroot_lq": lq,
                "gt_size": plan.gt_size,
                "use_hflip": True,
                "use_rot": True,
                "num_worker_per_gpu": 0,
                "batch_size_per_gpu": plan.batch,
                "dataset_enlarge_ratio": 100,
            },
            "val": _pairs("held_out", "GT") if gt else _pairs("teacher", "teacher"),
        },
        "network_g": dict(plan.network),
        "network_teacher": network_teacher,
        "network_vqgan": {"type": "VQGAN"},
        "path": {
            "pretrain_network_g": None,
            "resume_state": None,
            **weights,
            "pretrain_network_vqgan": "builtin:vqgan_f16_ch32_n1024",
        },
        "train": {
            "ema_decay": round(min(0.999, max(0.9, 1 - 10 / total)), 4),
            "optim_g": {"type": "Adam", "lr": plan.lr, "betas": [0.9, 0.99]},
            "scheduler": {"type": "CosineAnnealingLR", "T_max": total, "eta_min": 1e-6},
            "total_iter": total,
            "pixel_opt": dict(_L1) if gt else None,
            "logits_opt": dict(_L1),
            "history": {"decay": 0.1, "schedule": [[total, max(1, total // 10)]]},
            "runtime": {"preset": "auto"},
        },
        "val": {
            "val_freq": total // 10 if total >= 100 else total,
            "save_img": True,
            **plan.tile_of("student"),
            "metrics": _metrics(plan),
        },
        "logger": {
            "print_freq": max(1, min(50, total // 20)),
            "save_checkpoint_freq": max(1, min(1_000, total // 10)),
            "keep_last": 2,
            "use_tb_logger": False,
        },
    }
    options, _ = overlaid(base, Source(OPTIONS, {}), load_overlays([plan.method]))
    for block, key, _ in _files(options):
        block[key] = str(as_path(block[key]).resolve())
    return {**options, "name": RUN}


def remove_measured(folder: Path) -> None:
    """Remove the test images and results of a project; what else lies in their folders stays."""
    images = [folder / HELD_OUT / part for part in ("LQ", "GT", "teacher")]
    for found in (*images, *(folder / "results" / name for name in TESTS)):
        shutil.rmtree(found, ignore_errors=True)


def check_files(plan: Plan, teacher: Opened, named: str) -> None:
    """Refuse, before any work, a method whose files are missing; their paths count from the current folder.

    Raises:
        ConfigError: names them, and where to get them; or the method is none, or a contradiction.
    """
    told: set[str] = set()
    files = [(place, block[key]) for block, key, place in _files(_training(plan, teacher, named))]
    missing = [missing_file(place, file, told) for place, file in files if not is_there(as_path(file))]
    if missing:
        raise ConfigError(report(missing, f"method {plan.method}"))


def _files(options: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Yield the files that a training reads beside its data: the block that names one, the key, and the whole place."""
    losses: Any = block_of(options, "train", "losses")
    for place, _ in files_of_terms(options):
        name, _, key = place.removeprefix("train.losses.").rpartition(".")
        if name in losses:  # what has no such name is for the check of the file to tell
            yield losses[name], key, place
    named: list[tuple[Any, str, str]] = [
        (block_of(options, "path"), f"pretrain_network_{label}", f"path.pretrain_network_{label}")
        for label in networks_of(options)
    ]
    for teacher in teachers_of(options):
        named += [(block, "path", f"{place}.path") for place, block in with_own_file(teacher.place, teacher.block)]
    used = {label for label in networks_of(options) if is_used(options, label, True)}
    for block, key, place in named:
        value, label = block.get(key), place.removeprefix("path.pretrain_network_")
        if isinstance(value, str) and (label == place or label in used):
            resolve_weights(value)
            if not value.startswith("builtin:"):
                yield block, key, place


def _teacher(teacher: Opened, named: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the teacher's block, and what the block ``path`` says of it."""
    file = named if named.startswith("builtin:") else str(teacher.file.resolve())
    if teacher.options is None:
        return {"type": "PretrainedNet", "path": file}, {"pretrain_network_teacher": None}
    return whole_paths(teacher.options), {"pretrain_network_teacher": file, "param_key_teacher": teacher.entry}


def _test(plan: Plan, name: str, network: Mapping[str, Any], paths: Mapping[str, Any]) -> dict[str, Any]:
    sets = [] if plan.wish.kind == "lq" else [_pairs("held_out", "GT")]
    sets.append(_pairs("teacher", "teacher"))
    return {
        "name": name,
        "model_type": "RestorationModel",
        "scale": plan.scale,
        "num_gpu": "auto",
        "manual_seed": 0,
        "datasets": {f"test_{i}": each for i, each in enumerate(sets, start=1)},
        "network_g": dict(network),
        "path": dict(paths),
        "val": {"save_img": True, **plan.tile_of(name), "metrics": _metrics(plan)},
    }


def _pairs(name: str, gt: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "PairedImageDataset",
        "dataroot_gt": f"{HELD_OUT}/{gt}",
        "dataroot_lq": f"{HELD_OUT}/LQ",
        "io_backend": {"type": "disk"},
    }


def _metrics(plan: Plan) -> dict[str, Any]:
    """Super-resolution on Y with a border of the scale cropped, the other tasks on RGB, as the paper has them."""
    how = {"crop_border": plan.scale if plan.scale > 1 else 0, "test_y_channel": plan.scale > 1}
    return {"psnr": {"type": "calculate_psnr", **how}, "ssim": {"type": "calculate_ssim", **how}}


def _write(file: Path, text: str) -> None:
    atomic_write(file, lambda temporary: temporary.write_text(text, encoding="utf-8"))
