"""``basicsr train``: the pipeline that ``basicsr.train_pipeline`` and ``basicsr.train.train_pipeline`` are, too.

BasicSR's own makes folders before it knows that the networks can be built, and its loop cannot resume exactly
(``training/loop.py``). It stays at hand as ``dckd_basicsr.install.stock_train_pipeline``.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import torch
from basicsr.models import build_model
from basicsr.train import init_tb_loggers

from ..archs.tf32 import kept_tf32
from ..config import option_notes, parse_options
from ..config.resolve import dump_yaml, made_of
from ..data.loaders import create_loaders
from ..distill import settings_from
from ..kinds import is_own
from ..training.loop import TrainingLoop
from ..training.processes import DistSettings
from ..training.run_folder import close_log, hold_log, load_resume_state, open_run_folder
from ..training.state import restore_streams
from ..training.stopping import StopRequest
from .report import write_report

__all__ = ["set_determinism", "train_pipeline"]

_LOG = logging.getLogger("basicsr")


def train_pipeline(root_path: str | Path) -> None:
    """Train as the command line says.

    Nothing is written before loaders and model are built.

    Args:
        root_path: ``experiments/`` and ``tb_logger/`` go below it.

    Raises:
        DCKDError: whatever stopped the run, in words; Interrupted after a signal, when everything is saved.
    """
    with kept_tf32():  # a later run of this process, or a test, may ask for another precision
        _train(root_path)


def _train(root_path: str | Path) -> None:
    opt, args = parse_options(root_path, is_train=True)
    opt["root_path"] = str(root_path)
    held = hold_log() if opt["rank"] == 0 else None
    log = None
    try:
        for note in option_notes(opt) if held else ():
            _LOG.warning("%s", note)
        set_determinism(bool(opt.get("deterministic")))
        state = load_resume_state(opt)
        if state and not args.seed_given:  # what the run drew when it started
            opt["manual_seed"] = args.resolved["manual_seed"] = state.get("seed", opt["manual_seed"])
        iteration = int(state["iter"]) if state else 0
        loaders = create_loaders(opt, iteration)
        model = build_model(opt)
        if state:
            model.resume_training(state)
            restore_streams(state, model)  # building and resuming may have drawn from them
        del state  # twice the student's size
        if held:
            file = Path(args.opt)
            resolved = made_of(file, args.methods) + dump_yaml(args.resolved)
            log = open_run_folder(opt, file, resolved, held, iteration)
        epoch = loaders.sampler.position(iteration)[0]
        verb = "Resuming" if iteration else "Start"
        _LOG.info("%s training from epoch: %d, iter: %d.", verb, epoch, iteration)
        tb_logger = init_tb_loggers(opt) if opt["rank"] == 0 else None
        settings = settings_from(DistSettings, opt.get("dist_params"), "dist_params")
        with StopRequest(settings.limit) as stop:
            TrainingLoop(opt, model, loaders, tb_logger, stop).train(iteration)
        if tb_logger:
            tb_logger.close()
        if opt["rank"] == 0 and is_own(opt["model_type"]) and opt["logger"].get("report", True):
            write_report(Path(opt["path"]["experiments_root"]))
    finally:
        close_log(held, log)


def set_determinism(deterministic: bool) -> None:
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # asked for by torch.use_deterministic_algorithms
        torch.backends.cudnn.deterministic = True
        torch.use_deterministic_algorithms(True)
