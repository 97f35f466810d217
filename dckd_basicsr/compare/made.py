"""A record of a run that has finished: its files read, its costs counted."""

from __future__ import annotations

import json
import shlex
import statistics
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from torch import nn

from ..archs import build, outline
from ..errors import DatasetError
from ..inference.results import read_results
from ..report import image_cost, parameter_count, step_cost
from ..training.curve import read_curve
from .environment import environment
from .plan import PlannedRun
from .record import Cost, RunRecord
from .sameness import digests

__all__ = ["inputs_of", "made_record"]

_POINTS = 200
"""Of a curve: more cannot be told apart on a page."""


def made_record(
    run: PlannedRun, root: Path, imports: Sequence[str] = (), variables: Mapping[str, str] | None = None
) -> RunRecord:
    """Return the record of a run that was trained and tested.

    Args:
        run: which one.
        root: holds ``experiments/`` and ``results/``.
        imports: modules that its commands import.
        variables: of the run's environment, beyond those of this process.

    Raises:
        DatasetError: its results are missing, or lack a test set that has ground truth.
    """
    results = read_results(root / "results" / run.name)
    sets = {block["name"]: block for block in run.test_options["datasets"].values()}
    missing = [name for name, block in sets.items() if name not in results and block.get("dataroot_gt")]
    if missing or not results:
        raise DatasetError(f"'results/{run.name}' has no values of {', '.join(missing or sets)}; test the run again")
    folder = root / "experiments" / run.name
    lines = read_curve(folder) if run.seed is not None else []
    words = [word for name in imports for word in ("--import", name)]
    threads = (variables or {}).get("OMP_NUM_THREADS", "")
    commands = [["basicsr", *part, *words] for part in (run.train_arguments, run.test_arguments) if part]
    return RunRecord(
        name=run.name,
        base=run.base,
        variant=run.variant,
        seed=run.seed,
        options=run.options,
        test_options=run.test_options,
        inputs=inputs_of(run),
        commands=[shlex.join(command) for command in commands],
        images={name: results[name]["images"] for name in sets if name in results},
        validations=_validations(folder) if run.seed is not None else [],
        curve=_thinned(lines),
        cost=_cost(run, lines),
        environment=environment(
            gpu=run.options.get("num_gpu") != 0, threads=int(threads) if threads.isdecimal() else None
        ),
        finished=datetime.now().astimezone().isoformat(timespec="seconds"),
    )


def inputs_of(run: PlannedRun) -> dict[str, str]:
    """Return digests of what a run reads, as :attr:`.RunRecord.inputs` has them."""
    return {**digests(run.options), **digests(run.test_options, is_train=False)}


def _validations(folder: Path) -> list[dict[str, Any]]:
    file = folder / "validations.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []


def _thinned(lines: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return columns of what the lines hold but for epochs and data times, at most ``_POINTS`` rows with the last."""
    step = -(-len(lines) // _POINTS) or 1
    rows = list(lines[::-1][::step][::-1])
    names = dict.fromkeys(name for row in rows for name in row if name not in ("epoch", "data_time"))
    return {name: [row.get(name) for row in rows] for name in names}


def _cost(run: PlannedRun, lines: Sequence[Mapping[str, Any]]) -> Cost:
    network, scale = run.test_options["network_g"], int(run.options.get("scale") or 1)
    times = [row["time"] for row in lines if row.get("time")]
    seconds = statistics.median(times) if times else None
    step = step_cost(run.options) if run.seed is not None else None
    return Cost(
        parameters=parameter_count(_built(network, scale)),
        multiply_adds=image_cost(network, scale),
        seconds_per_iteration=seconds,
        hours=None if seconds is None else seconds * run.iterations / 3600,
        teacher_share=None if step is None else step.teacher_share,
        frozen_share=None if step is None else step.frozen_share,
    )


def _built(network: Mapping[str, Any], scale: int) -> nn.Module:
    try:
        return outline(network, scale=scale).net
    except Exception:  # a constructor of the user's own that needs real tensors
        return build(network).net
