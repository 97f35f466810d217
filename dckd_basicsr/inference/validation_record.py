"""Every validation of a run, in one small file: what was best, and what a resumed run still has to measure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..weight_files import atomic_write

__all__ = ["Validation", "ValidationRecord"]


@dataclass(frozen=True)
class Validation:
    """Mean metrics of one validation set at one iteration."""

    iteration: int
    dataset: str
    metrics: Mapping[str, float]


class ValidationRecord:
    """The validations of a run, oldest first.

    Args:
        path: the JSON file; None keeps them in memory (processes other than rank 0).
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.entries: list[Validation] = []

    def add(self, iteration: int, dataset: str, metrics: Mapping[str, float]) -> None:
        """Add one validation, in place of an earlier one of the same iteration and set; :meth:`write` keeps it."""
        self.entries = [e for e in self.entries if (e.iteration, e.dataset) != (iteration, dataset)]
        self.entries.append(Validation(iteration, dataset, dict(metrics)))

    def has(self, iteration: int, dataset: str) -> bool:
        """Whether this set was measured at this iteration."""
        return any((e.iteration, e.dataset) == (iteration, dataset) for e in self.entries)

    def best(self, dataset: str, metric: str, *, higher: bool = True) -> Validation | None:
        """Return the best validation of a set by a metric; of equals the latest, as BasicSR has it."""
        found = [e for e in self.entries if e.dataset == dataset and metric in e.metrics]
        return max(
            found, key=lambda e: (e.metrics[metric] if higher else -e.metrics[metric], e.iteration), default=None
        )

    def resume(self, iteration: int, kept: Iterable[Mapping[str, Any]] = (), *, with_file: bool = True) -> None:
        """Take up the entries ``kept`` in a training state, forgetting what came after ``iteration``.

        Args:
            iteration: where the run goes on.
            kept: from the training state.
            with_file: take up the file too, which knows of a validation right after the state was written.
        """
        entries = [*(Validation(**entry) for entry in kept), *(self._read() if with_file else [])]
        known = {(e.iteration, e.dataset): e for e in entries if e.iteration <= iteration}
        self.entries = sorted(known.values(), key=lambda e: e.iteration)  # sets of one iteration stay in their order

    def as_plain(self) -> list[dict[str, Any]]:
        """Return plain containers for a training state."""
        return [asdict(entry) for entry in self.entries]

    def _read(self) -> list[Validation]:
        if self.path is None or not self.path.is_file():
            return []
        try:
            return [Validation(**entry) for entry in json.loads(self.path.read_text(encoding="utf-8"))]
        except (ValueError, TypeError) as error:
            raise CheckpointError(
                f"'{self.path}' is damaged ({error}); remove it: the training state holds what it held"
            ) from error

    def write(self) -> None:
        """Write the file."""
        if self.path is None:
            return
        text = json.dumps(self.as_plain(), indent=1)
        atomic_write(self.path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
