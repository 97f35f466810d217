"""What the folder of a run tells a page: its options, validations, logged values, versions and pictures."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.load import load_yaml
from ..errors import DatasetError
from ..training.curve import read_curve

__all__ = ["RunFiles", "read_run", "thinned", "validation_pictures"]

_POINTS = 300
_VERSIONS = re.compile(r"^\s*(BasicSR|PyTorch|TorchVision): (\S+)\s*$", re.MULTILINE)
_RESUMED = re.compile(r"options_\d{8}_\d{6}\.yml")
"""What a resumed run was told, where that was something else."""
_STARTED = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d)")


@dataclass(frozen=True)
class RunFiles:
    """A run, as its folder has it.

    Attributes:
        folder: of the run.
        options: as the run was told, last if it was resumed with others.
        option_texts: all of them by file, those it started with first.
        validations: ``{"iteration", "dataset", "metrics"}``, oldest first.
        curve: columns of what was logged, thinned; empty where nothing is kept.
        environment: versions, and when the run started, from its log.
    """

    folder: Path
    options: Mapping[str, Any]
    option_texts: Mapping[str, str]
    validations: Sequence[Mapping[str, Any]]
    curve: Mapping[str, Sequence[float | None]]
    environment: Mapping[str, str]

    @property
    def name(self) -> str:
        return str(self.options.get("name") or self.folder.name)


def read_run(folder: Path) -> RunFiles:
    """Read the folder of a run, ``experiments/NAME``, finished or not.

    Raises:
        DatasetError: it is none, or a file in it is damaged.
    """
    options = folder / "options.yml"
    if not options.is_file():
        raise DatasetError(f"'{folder}' is no folder of a run: it holds no options.yml, which `basicsr train` writes")
    told = [options, *(file for file in sorted(folder.glob("options_*.yml")) if _RESUMED.fullmatch(file.name))]
    return RunFiles(
        folder=folder,
        options=load_yaml(told[-1]),
        option_texts={file.name: file.read_text(encoding="utf-8") for file in told},
        validations=_validations(folder / "validations.json"),
        curve=thinned(read_curve(folder)),
        environment=_environment(folder),
    )


def thinned(lines: Sequence[Mapping[str, Any]], points: int = _POINTS) -> dict[str, list[float | None]]:
    """Return what a run logged, at most about ``points`` lines of it, as columns of one length.

    Args:
        lines: as :func:`~dckd_basicsr.training.curve.read_curve` returns them. With more than ``points``, as many as
            make about that number become one: the means of their values, at the last one's iteration.
        points: about how many are wanted.
    """
    size = -(-len(lines) // points) or 1
    parts = [lines[i : i + size] for i in range(0, len(lines), size)]
    keys = dict.fromkeys(key for line in lines for key in line)
    found: dict[str, list[float | None]] = {key: [_mean(part, key) for part in parts] for key in keys}
    if parts:
        found["iter"] = [float(part[-1]["iter"]) for part in parts]
    return found


def validation_pictures(folder: Path) -> dict[str, dict[str, dict[int, Path]]]:
    """Return the restorations that validations wrote: set -> image -> iteration -> file."""
    root, found = folder / "visualization", dict[str, dict[str, dict[int, Path]]]()
    for file in sorted(root.rglob("*.png")):
        place = file.parent.relative_to(root).parts
        iteration = file.stem.removeprefix(f"{file.parent.name}_")
        if len(place) > 1 and iteration.isdecimal():
            found.setdefault(place[0], {}).setdefault("/".join(place[1:]), {})[int(iteration)] = file
    return found


def _mean(lines: Sequence[Mapping[str, Any]], key: str) -> float | None:
    found = [float(line[key]) for line in lines if isinstance(line.get(key), int | float)]
    return sum(found) / len(found) if found else None


def _validations(file: Path) -> list[dict[str, Any]]:
    if not file.is_file():
        return []
    try:
        return [
            {"iteration": int(e["iteration"]), "dataset": str(e["dataset"]), "metrics": _numbers(e["metrics"])}
            for e in json.loads(file.read_text(encoding="utf-8"))
        ]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DatasetError(
            f"'{file}' is damaged ({type(error).__name__}: {error}); move it aside for a page without validations"
        ) from error


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {str(name): math.nan if value is None else float(value) for name, value in metrics.items()}


def _environment(folder: Path) -> dict[str, str]:
    logs = sorted(folder.glob("train_*.log"))
    if not logs:
        return {}
    with logs[0].open(encoding="utf-8", errors="replace") as file:
        text = file.read(20_000)  # versions stand at the top
    started = _STARTED.match(text)
    return {**dict(_VERSIONS.findall(text)), **({"started": started[1]} if started else {})}
