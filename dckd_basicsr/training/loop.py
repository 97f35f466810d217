"""The training loop: step, log, save, validate, stop, in the order that exact resume needs.

BasicSR's own restarts an epoch at its first sample, and knows no signal. The interfaces are BasicSR's: any registered
model with ``feed_data``, ``optimize_parameters``, ``save`` and ``validation`` trains here.
"""

from __future__ import annotations

import logging
import signal
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

from basicsr.utils import AvgTimer, MessageLogger

from ..data.loaders import Loaders
from ..errors import Interrupted
from .checkpoints import Checkpoints
from .curve import Curve
from .processes import same_everywhere
from .stopping import StopRequest

__all__ = ["TrainingLoop"]

_LOG = logging.getLogger("basicsr")


class TrainingLoop:
    """The loop and what it shares: options, model, loaders, logs, the wish to stop.

    Args:
        opt: the run's options, as ``parse_options`` returns them.
        model: any registered model of BasicSR or a plugin.
        loaders: what it reads.
        tb_logger: TensorBoard's writer, or None.
        stop: asked after every iteration.
    """

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
        curve = Curve(Path(opt["path"]["experiments_root"]) if opt["rank"] == 0 else None, done)
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
                    terms = model.get_current_log()
                    messages({"epoch": epoch, "iter": iteration, **rates, **times, **terms})
                    curve.add({"iter": iteration, "epoch": epoch, "lr": rates["lrs"][0], **times, **terms})
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
