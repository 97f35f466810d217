"""Loss curves recorded as text: what every term was in every iteration of a short run, to the last bit.

A change that must leave the numbers alone is compared with the files in ``tests/golden/``: exactly where the file was
recorded on the same kind of machine with the same versions, to ``TOLERANCE`` elsewhere. A change that is meant to alter
the numbers records them anew, and says so in its commit::

    python -m tests.curves
"""

from __future__ import annotations

import json
import platform
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml

from tests.tiny import job_options, run, write_job

__all__ = ["CURVES", "FOLDER", "TOLERANCE", "Curve", "listened", "machine", "read", "recorded"]

TOLERANCE = 1e-4
FOLDER = Path(__file__).parent / "golden"
ITERATIONS = 20
Curve = dict[tuple[int, str], float]
"""From iteration and term to the value."""

# BasicSR's logger is given every value as a float; it prints five digits of them.
_LISTENING = """
    import json, os, sys
    import torch
    torch.set_num_threads(1)
    import dckd_basicsr
    from basicsr.utils.logger import MessageLogger
    from dckd_basicsr.cli import main
    said = MessageLogger.__call__
    def listening(self, values):
        with open("curve.jsonl", "a") as file:
            file.write(json.dumps({k: v for k, v in values.items() if k == "iter" or k[:2] in ("l_", "d_")}) + "\\n")
        return said(self, values)
    MessageLogger.__call__ = listening
    sys.exit(main(sys.argv[1:]))
"""


def _tiny() -> dict[str, Any]:
    """Every term, BasicSR's own dataset."""
    return job_options({"total_iter": ITERATIONS})


def _everything() -> dict[str, Any]:
    """Every degradation, accumulation, clipping, warm-up, patches cut in the memory map.

    Without the clean LQ among the negatives: until the history model's first update its output for that is the
    student's own, and the gradient of their distance the sign of a rounding error.
    """
    chances = {"blur": {"prob": 0.5}, "resize": {"prob": 0.5}}
    options = job_options(
        {
            "total_iter": ITERATIONS,
            "accumulate": 2,
            "clip_grad_norm": 0.5,
            "warmup_iter": 5,
            "optim_g": {"type": "SGD", "lr": 0.05, "momentum": 0.9},
            "negatives": {"include_clean": False, "degradation": chances},
        }
    )
    options["datasets"]["train"] |= {"type": "PairedLMDBDataset", "batch_size_per_gpu": 4}
    del options["datasets"]["train"]["io_backend"]
    return options


CURVES = {"tiny": _tiny, "everything": _everything}


def machine() -> str:
    """What decides about the last bits of a float32 sum, in a line."""
    versions = f"torch {torch.__version__}, NumPy {np.__version__}, OpenCV {cv2.__version__}"
    return f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {_model_name()}, {versions}"


def _model_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = dict(line.split(":", 1) for line in lines if line.startswith(("model name", "cpu family", "model\t")))
    return ", ".join(value.strip() for value in names.values()) or "unknown processor"


def recorded(name: str, folder: Path) -> Curve:
    """Run a job of ``CURVES`` in an empty folder, as a user would, and return what it logged."""
    write_job(folder)
    options = CURVES[name]() | {"val": None}
    del options["datasets"]["val"]
    (folder / "job.yml").write_text(yaml.safe_dump(options, sort_keys=False), encoding="utf-8")
    return listened(folder, "train", "-opt", "job.yml")


def listened(folder: Path, *arguments: str) -> Curve:
    """Run the command in ``folder`` and return what it logged."""
    (folder / "listening.py").write_text(textwrap.dedent(_LISTENING), encoding="utf-8")
    done = run(folder, *arguments, module="listening")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (folder / "curve.jsonl").read_text(encoding="utf-8").splitlines()]
    return {(row["iter"], term): value for row in rows for term, value in row.items() if term != "iter"}


def read(file: Path) -> tuple[str, Curve]:
    """Return the machine on which a curve was recorded, and the curve."""
    first, *rows = file.read_text(encoding="utf-8").splitlines()
    cells = [row.split() for row in rows]
    return first.removeprefix("# "), {(int(i), term): float(value) for i, term, value in cells}


def _write(file: Path, curve: Curve) -> None:
    rows = [f"{iteration} {term} {value!r}" for (iteration, term), value in curve.items()]
    FOLDER.mkdir(exist_ok=True)
    file.write_text("\n".join([f"# {machine()}", *rows, ""]), encoding="utf-8")


if __name__ == "__main__":
    for each in CURVES:
        goal = FOLDER / f"curve_{each}.txt"
        with tempfile.TemporaryDirectory() as place:
            _write(goal, recorded(each, Path(place)))
        print(f"recorded {goal}")
