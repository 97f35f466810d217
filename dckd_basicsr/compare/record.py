"""What is kept of a finished run: one small JSON file, all that tables and pages read.

A record holds no weights and no absolute path, so that records of several machines can be put into one folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..errors import DatasetError
from ..weight_files import atomic_write

__all__ = ["TEACHER", "Cost", "PerImage", "RunRecord", "read_record", "read_records", "write_record"]

TEACHER = "teacher"
"""The variant of the record that measures a base's teacher, which is not trained."""

PerImage = Mapping[str, Mapping[str, float]]
"""Image name, with its folders -> metric -> value."""


@dataclass(frozen=True)
class Cost:
    """What a network and its training cost.

    Attributes:
        parameters: of the network.
        multiply_adds: of one image of 1280x720 pixels of output; None where they cannot be counted.
        seconds_per_iteration: of training, without validation; None for a teacher.
        hours: of training: seconds of an iteration times iterations; work that a crash lost is not in it.
        teacher_share: the teachers' part of a training step's multiply-adds, forward and backward, in [0, 1].
        frozen_share: the part of all frozen networks: teachers, history model, encoder.
    """

    parameters: int
    multiply_adds: float | None = None
    seconds_per_iteration: float | None = None
    hours: float | None = None
    teacher_share: float | None = None
    frozen_share: float | None = None


@dataclass(frozen=True)
class RunRecord:
    """One run: what it was told, what came out.

    Attributes:
        name: of the run, which is its folder in ``experiments/``.
        base: key of the sweep's base.
        variant: key of the sweep's variant; ``teacher`` for the teacher itself.
        seed: ``manual_seed``; None for the teacher.
        options: of the training, as one option file would have them.
        test_options: of the test, the same; its ``val.metrics`` are those of ``images``.
        inputs: digests of data and weights that the run read, by the place of their option
            (``datasets:train:dataroot_gt``); the test's data under ``test:``.
        commands: that repeat it, as typed.
        images: test set -> image -> metric -> value.
        validations: ``{"iteration", "dataset", "metrics"}``, oldest first.
        curve: what the log printed: ``{"iter": [...], "l_pix": [...], ...}``, columns of one length, thinned; None
            where a value was not printed.
        cost: as measured.
        environment: versions and machine, as text by name.
        finished: day and time, ISO 8601.
    """

    name: str
    base: str
    variant: str
    seed: int | None
    options: Mapping[str, Any]
    images: Mapping[str, PerImage]
    cost: Cost
    test_options: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    commands: Sequence[str] = ()
    validations: Sequence[Mapping[str, Any]] = ()
    curve: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    finished: str = ""


def write_record(record: RunRecord, file: Path) -> None:
    """Write a record, whole or not at all."""
    text = json.dumps(asdict(record), indent=None, separators=(",", ":"), sort_keys=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(file, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"))


def read_record(file: Path) -> RunRecord:
    """Read what :func:`write_record` wrote.

    Raises:
        DatasetError: the file is damaged, or of another kind.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        known = {each.name for each in fields(RunRecord)}
        return RunRecord(**{**{k: v for k, v in found.items() if k in known}, "cost": Cost(**found["cost"])})
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DatasetError(
            f"record '{file}' is damaged ({type(error).__name__}: {error}); remove it, and compare makes it again"
        ) from error


def read_records(folder: Path) -> dict[str, RunRecord]:
    """Read all records of a folder, by run."""
    return {record.name: record for record in map(read_record, sorted(folder.glob("*.json")))}
