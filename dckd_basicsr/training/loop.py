"""The training pipeline: what ``basicsr train``, ``basicsr.train_pipeline`` and ``basicsr.train.train_pipeline`` run.

BasicSR's own has one order of things fixed that exact resume cannot live with: it makes folders before it knows that
the networks can be built, restarts an epoch at its first sample, and knows no signal. The interfaces are BasicSR's:
any registered model with ``feed_data``, ``optimize_parameters``, ``save`` and ``validation`` trains here. The stock
loop stays at hand as ``dckd_basicsr.install.stock_train_pipeline``.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from basicsr.models import build_model
from basicsr.train import init_tb_loggers
from basicsr.utils import AvgTimer, MessageLogger

from ..archs.tf32 import kept_tf32
from ..config import option_notes, parse_options
from ..config.resolve import dump_yaml
from ..data.loaders import Loaders, create_loaders
from ..distill import settings_from
from ..errors import Interrupted
from .checkpoints import Checkpoints
from .processes import DistSettings, same_everywhere
from .run_folder import close_log, hold_log, load_resume_state, open_run_folder
from .state import restore_streams
from .stopping import StopRequest

__all__ = ["train_pipeline"]

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
            log = open_run_folder(opt, Path(args.opt), dump_yaml(args.resolved), held, iteration)
        epoch = loaders.sampler.position(iteration)[0]
        verb = "Resuming" if iteration else "Start"
        _LOG.info("%s training from epoch: %d, iter: %d.", verb, epoch, iteration)
        tb_logger = init_tb_loggers(opt) if opt["rank"] == 0 else None
        settings = settings_from(DistSettings, opt.get("dist_params"), "dist_params")
        with StopRequest(settings.limit) as stop:
            _Run(opt, model, loaders, tb_logger, stop).train(iteration)
        if tb_logger:
            tb_logger.close()
    finally:
        close_log(held, log)


def set_determinism(deterministic: bool) -> None:
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # asked for by torch.use_deterministic_algorithms
        torch.backends.cudnn.deterministic = True
        torch.use_deterministic_algorithms(True)


class _Run:
    """The loop and what it shares: options, model, loaders, logs, the wish to stop."""

    def __init__(self, opt: dict[str, Any], model: Any, loaders: Loaders, tb_logger: Any, stop: StopRequest) -> None:
        self.opt = opt
        self.model = model
        self.loaders = loaders
        self.tb_logger = tb_logger
        self.stop = stop
        self.total = int(opt["train"]["total_iter"])
        self.saved = -1
        self.validated = -1

    def train(self, done: int) -> None:
        """Go on after iteration ``done``: train, log, save, validate; in this order, as BasicSR does."""
        opt, model = self.opt, self.model
        messages = MessageLogger(opt, done, self.tb_logger)
        timer, data_timer, start = AvgTimer(), AvgTimer(), time.time()
        if done:
            self.saved = done
            self._make_up_validation(done)
        epoch, iteration = self.loaders.sampler.position(done)[0], done
        with closing(self.loaders.batches(opt, done)) as batches:
            while iteration < self.total:
                epoch, batch = next(batches)
                data_timer.record()
                iteration += 1
                model.update_learning_rate(iteration, warmup_iter=opt["train"].get("warmup_iter", -1))
                model.feed_data(batch)
                model.optimize_parameters(iteration)
                timer.record()
                if iteration == 1:
                    messages.reset_start_time()
                if iteration % opt["logger"]["print_freq"] == 0:
                    times = {"time": timer.get_avg_time(), "data_time": data_timer.get_avg_time()}
                    rates = {"lrs": model.get_current_learning_rate()}
                    messages({"epoch": epoch, "iter": iteration, **rates, **times, **model.get_current_log()})
                if iteration % opt["logger"]["save_checkpoint_freq"] == 0:
                    self._save(epoch, iteration)
                if opt.get("val") is not None and iteration % opt["val"]["val_freq"] == 0:
                    self._validate(iteration)
                if signum := self.stop.agreed():
                    self._save(epoch, iteration)
                    raise Interrupted(self._stopped(signum, iteration), signum)
                data_timer.start()
                timer.start()
        _LOG.info("End of training. Time consumed: %s", timedelta(seconds=int(time.time() - start)))
        self._save(epoch, iteration)
        _LOG.info("Save the latest model.")
        model.save(epoch=-1, current_iter=-1)
        if opt.get("val") is not None:
            self._validate(iteration)

    def _save(self, epoch: int, iteration: int) -> None:
        if self.saved != iteration:
            _LOG.info("Saving models and training states.")
            self.model.save(epoch, iteration)
            if self.opt["rank"] == 0:
                checkpoints = Checkpoints(self.opt["path"]["experiments_root"])
                checkpoints.complete(iteration)
                if self.opt["logger"].get("keep_last"):
                    checkpoints.keep_last(int(self.opt["logger"]["keep_last"]), iteration)
            self.saved = iteration

    def _validate(self, iteration: int) -> None:
        if self.validated != iteration:
            for loader in self.loaders.validation:
                self.model.validation(loader, iteration, self.tb_logger, self.opt["val"]["save_img"])
            self.validated = iteration

    def _make_up_validation(self, iteration: int) -> None:
        """Measure what a run that stopped between saving and validating did not get to."""
        record = getattr(self.model, "record", None)
        if record is None or self.opt.get("val") is None or iteration % self.opt["val"]["val_freq"]:
            return
        datasets: list[Any] = [loader.dataset for loader in self.loaders.validation]
        names = [dataset.opt["name"] for dataset in datasets]
        if same_everywhere([name for name in names if not record.has(iteration, name)]):  # rank 0 has the record
            self._validate(iteration)
        else:
            self.validated = iteration

    def _stopped(self, signum: int, iteration: int) -> str:
        return (
            f"stopped by {signal.Signals(signum).name} after iteration {iteration} of {self.total}; everything is "
            "saved. Go on with the same command and --auto_resume"
        )
