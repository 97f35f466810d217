"""The folder of a run: made when everything is built, archived aloud, found again to resume."""

from __future__ import annotations

import logging
import logging.handlers
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from basicsr.utils import get_env_info, get_root_logger, get_time_str
from basicsr.utils.options import dict2str

from ..errors import CheckpointError
from ..kinds import trained_labels
from ..weight_files import atomic_write, load_training_state
from .checkpoints import Checkpoints
from .processes import gather, same_everywhere

__all__ = [
    "close_log",
    "goes_on_from_checkpoint",
    "goes_on_in_place",
    "hold_log",
    "load_resume_state",
    "open_run_folder",
]

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
    ``path.resume_state``. Rank 0 chooses, all read it. The weights beside it become those of the trained networks.

    Raises:
        CheckpointError: no training state, its weights are missing, or a process cannot read it.
    """
    paths = opt["path"]
    chosen, problem = paths.get("resume_state"), ""
    if opt["rank"] == 0 and opt.get("auto_resume"):
        try:
            chosen = Checkpoints(paths["experiments_root"]).newest() or chosen
        except CheckpointError as error:
            problem = str(error)
    chosen, problem = same_everywhere((str(chosen) if chosen else None, problem))
    state = None
    paths["resume_state"] = chosen
    if chosen and not problem:
        try:
            state = load_training_state(chosen)
            _take_weights(opt, int(state["iter"]))
        except CheckpointError as error:
            problem = str(error)
    problems = gather(problem)
    if any(problems):
        rank = next(i for i, text in enumerate(problems) if text)
        where = f"process {rank}, which has to see the same experiments folder as the others: " if rank else ""
        raise CheckpointError(where + problems[rank])
    return state


def _take_weights(opt: Mapping[str, Any], iteration: int) -> None:
    """Let the trained networks start from the weights of the checkpoint to go on from."""
    paths, state = opt["path"], Path(opt["path"]["resume_state"])
    networks = [key for key, block in opt.items() if key.startswith("network_") and block is not None]
    for network in [network for network in networks if goes_on_from_checkpoint(opt, network)]:
        label = network.removeprefix("network_")
        weights = Checkpoints(state.parent.parent).weights(iteration, f"net_{label}")
        if weights.is_file():
            paths[f"pretrain_{network}"] = str(weights)
            paths[f"param_key_{label}"] = "params"  # training goes on with the weights, not with their average
        elif label == "g" or label in trained_labels(opt.get("model_type")):
            added = f"; where the run had no {network}, start a new one from its weights (path.pretrain_network_g)"
            raise CheckpointError(
                f"'{state}' goes on from '{weights}', which does not exist; copy it back, or resume from another state"
                f"{'' if label == 'g' else added}"
            )


def goes_on_from_checkpoint(opt: Mapping[str, Any], network: str) -> bool:
    """Whether the run resumes, and this network (``network_g``) with it, not from weights of its own."""
    paths = opt["path"]
    return bool(paths.get("resume_state")) and network not in (paths.get("ignore_resume_networks") or [])


def goes_on_in_place(opt: Mapping[str, Any]) -> bool:
    """Whether the run resumes from a state of its own folder."""
    chosen = opt["path"].get("resume_state")
    return bool(chosen) and Path(chosen).resolve().parent == Path(opt["path"]["training_states"]).resolve()


def open_run_folder(
    opt: Mapping[str, Any], option_file: Path, resolved: str, held: logging.handlers.MemoryHandler, iteration: int
) -> logging.Handler:
    """Make the run's folders, copy the options there, and let the log go on in a file; for rank 0 alone.

    A run that does not go on from a state of this folder never writes into it: an earlier one is renamed, and a warning
    says so. One that does moves later checkpoints aside.

    Args:
        opt: parsed options.
        option_file: copied.
        resolved: becomes ``options.yml``.
        held: what was logged so far.
        iteration: where the run goes on, 0 for a fresh one.

    Returns:
        The log file's handler, to be closed by :func:`close_log`.
    """
    paths, in_place = opt["path"], goes_on_in_place(opt)
    run, source = Path(paths["experiments_root"]), option_file.read_bytes()  # it may lie in the folder that is archived
    if not in_place:
        archive(run)
        archive(Path(opt["root_path"], "tb_logger", opt["name"]))
    elif kept := Checkpoints(run).set_aside(iteration):
        _LOG.warning("Checkpoints beyond iteration %d, from where this run goes on, are now in '%s'", iteration, kept)
    for key in _FOLDERS:
        Path(paths[key]).mkdir(parents=True, exist_ok=True)
    _write_options(run, option_file.name, source, resolved)
    handler = logging.FileHandler(Path(paths["log"], f"train_{opt['name']}_{get_time_str()}.log"), encoding="utf-8")
    handler.setFormatter(logging.Formatter(_FORMAT))
    held.setTarget(handler)
    held.flush()
    get_root_logger().removeHandler(held)
    get_root_logger().addHandler(handler)
    _LOG.info(get_env_info())
    _LOG.info(dict2str(opt))
    return handler


def close_log(*handlers: logging.Handler | None) -> None:
    """Take handlers off the log: another run of this process has its own."""
    for handler in handlers:
        if handler is not None:
            get_root_logger().removeHandler(handler)
            handler.close()


def _write_options(run: Path, name: str, source: bytes, resolved: str) -> None:
    """Keep what the run was told; a resumed run that is told something else adds its own file."""
    file = run / "options.yml"
    if not file.is_file():
        (run / name).write_bytes(source)
        # After the copy, which may have that name; whole or not at all, for a comparison goes on by what it says.
        atomic_write(file, lambda temporary: temporary.write_text(resolved, encoding="utf-8"))
    elif file.read_text(encoding="utf-8") != resolved:
        file = run / f"options_{get_time_str()}.yml"
        _LOG.warning("The options differ from those the run started with; these are in '%s'", file)
        file.write_text(resolved, encoding="utf-8")


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
