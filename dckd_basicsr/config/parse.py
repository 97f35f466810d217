"""The replacement of ``basicsr.utils.options.parse_options``: same flags, same result, checked and without ``exec``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from ..distill.settings import settings_from
from ..kinds import is_own, trained_labels
from ..methods import add_with_flag
from ..training import processes
from ..user_modules import add_import_flag, import_modules, import_plugins
from .check import check_options
from .networks import TEACHERS, with_own_file
from .resolve import fill_defaults, resolve_options
from .resources import find_options, resolve_weights

__all__ = ["parse_options"]


def parse_options(
    root_path: str | Path, is_train: bool = True, argv: Sequence[str] | None = None
) -> tuple[dict[str, Any], argparse.Namespace]:
    """Parse the command line, import users' modules, load and check the option file, join the process group, seed.

    Nothing is started, seeded or written before the options passed the check.

    Args:
        root_path: ``experiments/`` and ``results/`` go below it.
        is_train: for training (else for testing).
        argv: arguments; None takes those of the process.

    Returns:
        Options with the keys BasicSR's pipelines expect, and the arguments; ``args.opt`` is the file that was found,
        ``args.resolved`` the options as one file would have them: with what was inherited, overridden, filled in and
        drawn; ``args.methods`` the names of the methods on it; ``args.seed_given`` tells whether the seed was drawn.

    Raises:
        ConfigError: whatever is wrong with file, overrides, launcher or a user's module.
    """
    args = _parser().parse_args(argv)
    import_plugins()
    import_modules(vars(args).pop("imports"))
    file = find_options(args.opt)
    args.opt = str(file)
    opt, source = resolve_options(file, args.force_yml or (), args.methods or (), is_train)
    args.methods = source.methods
    opt["dist"] = args.launcher != "none"
    check_options(opt, is_train, source=source)
    fill_defaults(opt, is_train)
    settings = settings_from(processes.DistSettings, opt.get("dist_params"), "dist_params")
    opt["rank"], opt["world_size"] = processes.join(args.launcher, settings, gpu=opt["num_gpu"] != 0)
    args.seed_given = opt.get("manual_seed") is not None
    _seed(opt)
    args.resolved = {key: deepcopy(value) for key, value in opt.items() if key not in ("dist", "rank", "world_size")}
    opt["auto_resume"], opt["is_train"] = args.auto_resume, is_train
    if args.debug and not opt["name"].startswith("debug"):
        opt["name"] = f"debug_{opt['name']}"
    opt["num_gpu"] = _num_gpu(opt)
    _complete_datasets(opt)
    _resolve_paths(opt)
    _add_run_folders(opt, Path(root_path), is_train)
    if is_train and "debug" in opt["name"]:
        if opt.get("val") is not None:
            opt["val"]["val_freq"] = 8
        opt["logger"] |= {"print_freq": 1, "save_checkpoint_freq": 8}
    return opt, args


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Train or test as an option file says.")
    parser.add_argument("-opt", required=True, help="option file: a path, or the name of a packaged one")
    add_with_flag(parser)
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm"], default="none", help="job launcher")
    parser.add_argument("--auto_resume", action="store_true", help="go on from the latest training state, if any")
    parser.add_argument("--debug", action="store_true", help="log every iteration, validate and save every 8")
    # Launchers of different PyTorch releases spell it either way; torchrun sets the environment instead.
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help="set by the launcher")
    parser.add_argument(
        "--force_yml",
        nargs="+",
        action="extend",
        metavar="KEY:SUBKEY=VALUE",
        help="override options; values are YAML, e.g. train:ema_decay=0.999",
    )
    add_import_flag(parser)
    return parser


def _seed(opt: dict[str, Any]) -> None:
    from basicsr.utils import set_random_seed

    if opt.get("manual_seed") is None:
        opt["manual_seed"] = processes.drawn_seed()
    set_random_seed(opt["manual_seed"] + opt["rank"])


def _num_gpu(opt: dict[str, Any]) -> int:
    """Resolve ``auto``: all GPUs; for this package's models, which run one process per GPU, one without launcher.

    Apple's GPU is none of them: with ``device: mps`` it is 0, and the model takes that device instead of the CPU.
    """
    if opt.get("device") == "mps":
        return 0
    if opt["num_gpu"] != "auto":
        return int(opt["num_gpu"])
    count = torch.cuda.device_count()
    if count > 1 and not opt["dist"] and is_own(opt["model_type"]):
        print(f"Using 1 of {count} GPUs; torchrun --nproc_per_node={count} and --launcher pytorch use all.", flush=True)
        return 1
    return count


def _complete_datasets(opt: dict[str, Any]) -> None:
    for name, dataset in opt["datasets"].items():
        dataset["phase"] = name.split("_")[0]  # val_1, val_2, test_1, ...
        if "scale" in opt:
            dataset["scale"] = opt["scale"]
        for key in ("dataroot_gt", "dataroot_lq"):
            if dataset.get(key) is not None:
                roots = dataset[key]
                dataset[key] = _root(roots) if isinstance(roots, str) else [_root(root) for root in roots]


def _root(value: str) -> str:
    """Expand ``~``, and take the slash off that tab completion puts behind a database: BasicSR looks at the ending."""
    path = os.path.expanduser(value)  # noqa: PTH111 (pathlib fails where there is no such user)
    bare = path.rstrip("/")
    return bare if bare.endswith(".lmdb") else path


def _resolve_paths(opt: dict[str, Any]) -> None:
    """Expand ``~`` and ``builtin:``, and keep BasicSR from swapping teacher and VQGAN for checkpoints on resume."""
    paths = opt["path"]
    for key, value in paths.items():
        if value is not None and ("pretrain_network" in key or "resume_state" in key):
            paths[key] = str(resolve_weights(value))
    networks = [key for key in opt if key.startswith("network_")]
    for block in (*(opt[network] for network in networks if network != TEACHERS), *(opt.get(TEACHERS) or ())):
        for _, each in with_own_file("", block):
            each["path"] = str(resolve_weights(each["path"]))
    labels = trained_labels(opt["model_type"]) if is_own(opt["model_type"]) else ("g", "d")
    frozen = [n for n in networks if n.removeprefix("network_") not in labels]
    kept = [*(paths.get("ignore_resume_networks") or []), *frozen]
    paths["ignore_resume_networks"] = list(dict.fromkeys(kept))


def _add_run_folders(opt: dict[str, Any], root: Path, is_train: bool) -> None:
    run = root / ("experiments" if is_train else "results") / opt["name"]
    if is_train and opt["path"].get("experiments_root"):
        run = Path(os.path.expanduser(opt["path"]["experiments_root"]))  # noqa: PTH111 (as above)
    folders = {"experiments_root": run, "models": run / "models", "training_states": run / "training_states"}
    if not is_train:
        folders = {"results_root": run}
    folders |= {"log": run, "visualization": run / "visualization"}
    opt["path"] |= {key: str(folder) for key, folder in folders.items()}
