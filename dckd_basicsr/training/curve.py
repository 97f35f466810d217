"""What a run's log prints, as numbers that programs read: one JSON object a line, in ``RUN/curve.jsonl``.

The log itself is text for people, and TensorBoard's files are off by default.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..weight_files import atomic_write

__all__ = ["CURVE_FILE", "Curve", "read_curve"]

CURVE_FILE = "curve.jsonl"
_LOG = logging.getLogger("basicsr")


class Curve:
    """The curve of a run, written line by line.

    Args:
        run: the run's folder, which exists; None writes nothing (processes other than rank 0).
        done: the iteration after which the run goes on; what an earlier attempt wrote beyond it is dropped.
    """

    def __init__(self, run: Path | None, done: int) -> None:
        self.path = None if run is None else run / CURVE_FILE
        self.failed = False
        if self.path is None or not self.path.is_file():
            return
        kept = [line for line in read_curve(self.path.parent) if line["iter"] <= done]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        atomic_write(self.path, lambda temporary: temporary.write_text(text, encoding="utf-8"))

    def add(self, values: Mapping[str, Any]) -> None:
        """Add one line: ``iter``, ``epoch``, ``lr``, ``time`` and ``data_time`` in seconds, and the loss terms.

        Values that JSON has no number for (infinite, none) become null.
        """
        if self.path is None:
            return
        finite = {name: _number(value) for name, value in values.items()}
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(finite) + "\n")
        except OSError as error:  # a full disk: the next checkpoint says what to do, and until then training goes on
            if not self.failed:
                _LOG.warning("'%s' cannot be written (%s); the page of this run will lack values", self.path, error)
            self.failed = True


def _number(value: Any) -> int | float | None:
    """Return what the log prints, which of another model may be a tensor or a number of NumPy's."""
    number = value if isinstance(value, int) else float(value)
    return number if math.isfinite(number) else None


def read_curve(run: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's curve, none if there is no such file; one cut off by a crash is left out."""
    file = run / CURVE_FILE
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    found = []
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and isinstance(value.get("iter"), int):
            found.append(value)
    return found
