"""The folder of a run: made when everything is built, archived aloud, found again to resume."""

from __future__ import annotations

import logging
import logging.handlers
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from basicsr.utils import get_env_info, get_root_logger, get_time_str
from basicsr.utils.options import dict2str

from ..checkpoint import load_training_state
from ..errors import CheckpointError
from .checkpoints import Checkpoints

__all__ = ["hold_log", "load_resume_state", "open_run_folder"]

_LOG = logging.getLogger("basicsr")
_FOLDERS = ("models", "training_states", "log", "visualization")
_FORMAT = "%(asctime)s %(levelname)s: %(message)s"


def hold_log() -> logging.handlers.MemoryHandler:
    """Show what is logged, and hold it back for the file that :func:`open_run_folder` opens later."""
    logger = get_root_logger()
    logger.setLevel(logging.INFO)  # which BasicSR does only where there is a file already
    held = logging.handlers.MemoryHandler(capacity=100_000, flushLevel=logging.CRITICAL + 1, flushOnClose=False)
    logger.addHandler(held)
    return held


def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """Find and load the training state to go on from, or None for a fresh run.

    With ``auto_resume`` that is the newest complete checkpoint under ``path.experiments_root``; else
    ``path.resume_state``. The weights beside it become those of the student; no other network is touched.

    Raises:
        CheckpointError: no training state, or its weights are missing.
    """
    paths = opt["path"]
    path = Path(paths["resume_state"]) if paths.get("resume_state") else None
    if opt.get("auto_resume"):
        path = Checkpoints(paths["experiments_root"]).newest() or path
    if path is None:
        return None
    state = load_training_state(path)
    paths["resume_state"] = str(path)
    for network in [key for key in opt if key.startswith("network_")]:
        if network in (paths.get("ignore_resume_networks") or []):
            continue
        label = network.removeprefix("network_")
        weights = Checkpoints(path.parent.parent).weights(int(state["iter"]), f"net_{label}")
        if not weights.is_file():
            raise CheckpointError(
                f"'{path}' goes on from '{weights}', which does not exist; copy it back, or resume from another state"
            )
        paths[f"pretrain_{network}"] = str(weights)
        if paths.get(f"param_key_{label}") == "params_ema":
            paths[f"param_key_{label}"] = "params"  # training goes on with the weights, not with their average
    return state


def open_run_folder(opt: Mapping[str, Any], args: Any, held: logging.handlers.MemoryHandler, *, resumed: bool) -> None:
    """Make the run's folders, copy the options there, and let the log go on in a file; for rank 0 alone.

    A fresh run never writes into the folder of an earlier one: that is renamed, and a warning says so.

    Args:
        opt: parsed options.
        args: ``opt`` names the option file, which is copied; ``resolved`` is what becomes ``options.yml``.
        held: what was logged so far.
        resumed: whether the run goes on in its folder.
    """
    paths = opt["path"]
    run = Path(paths["experiments_root"])
    if not resumed:
        archive(run)
        archive(Path(opt["root_path"], "tb_logger", opt["name"]))
    for key in _FOLDERS:
        Path(paths[key]).mkdir(parents=True, exist_ok=True)
    _write_options(run, args, resumed)
    handler = logging.FileHandler(Path(paths["log"], f"train_{opt['name']}_{get_time_str()}.log"), encoding="utf-8")
    handler.setFormatter(logging.Formatter(_FORMAT))
    held.setTarget(handler)
    held.flush()
    get_root_logger().removeHandler(held)
    get_root_logger().addHandler(handler)
    _LOG.info(get_env_info())
    _LOG.info(dict2str(opt))


def _write_options(run: Path, args: Any, resumed: bool) -> None:
    """Keep what the run was told; a resumed run that is told something else adds its own file."""
    file = run / "options.yml"
    if resumed and file.is_file():
        if file.read_text(encoding="utf-8") == args.resolved:
            return
        file = run / f"options_{get_time_str()}.yml"
        _LOG.warning("The options differ from those the run started with; these are in '%s'", file)
    else:
        shutil.copyfile(args.opt, run / Path(args.opt).name)
    file.write_text(args.resolved, encoding="utf-8")


def archive(folder: Path) -> None:
    """Rename a folder of an earlier run, if it is there, and say what it held."""
    if not folder.exists():
        return
    kept = folder.with_name(f"{folder.name}_archived_{get_time_str()}")
    iterations = Checkpoints(folder).iterations()
    folder.rename(kept)
    if iterations:
        _LOG.warning(
            "'%s' held a run up to iteration %d; it is now '%s', and this run starts afresh. "
            "To go on with it instead, stop this run, move the folder back, and add --auto_resume",
            *(folder, iterations[-1], kept),
        )
    else:
        _LOG.warning("'%s' existed and is now '%s'", folder, kept)
