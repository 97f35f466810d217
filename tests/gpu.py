"""Everything that needs a GPU, in parts that each end in time: ``make gpu``, or ``make gpu PARTS="tests resume"``.

    python -m tests.gpu [PART ...] [--json gpu.json] [--limit 480]

Each part is a process with a limit of its own and prints as it goes. After each of them the JSON file is written anew
and whole, so what was measured is kept whatever comes later; a table closes the run. Status: 0 all parts passed, 1 one
did not, 3 there is no GPU here.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import ROOT

__all__ = ["LIMIT", "NO_GPU", "PARTS", "Part", "run_parts", "table"]

LIMIT = 480
"""Seconds that a part may take."""
NO_GPU = 3
_GRACE = 30  # seconds to write what was measured, once interrupted
Figures = dict[str, Any]
OUT = "{out}"


@dataclass(frozen=True)
class Part:
    """One thing to run.

    Attributes:
        about: what it shows, for the table.
        command: arguments for Python; ``{out}`` becomes a file into which it writes its figures.
        read: makes figures, with a text under ``summary``, of that file; raises ValueError if they tell of a failure.
    """

    about: str
    command: tuple[str, ...]
    read: Callable[[Path], Figures]


def _tests(path: Path) -> Figures:
    """Count tests in a JUnit file. A part without a single test that ran has shown nothing."""
    (suite,) = ElementTree.parse(path).getroot().iter("testsuite")
    cases = suite.iter("testcase")
    found = {f"{case.get('classname')}.{case.get('name')}": [child.tag for child in case] for case in cases}
    ended = min(len(found), int(suite.get("tests", len(found))))  # one that was interrupted is listed, but not counted
    bad = [name for name, tags in found.items() if {"failure", "error"} & set(tags)]
    skipped = sum("skipped" in tags for tags in found.values())
    passed = ended - len(bad) - skipped
    text = f"{passed} passed, {len(bad)} failed, {skipped} skipped"
    if bad or not passed:
        raise ValueError(f"{text}: {', '.join(bad)}" if bad else text)
    return {"summary": text, "passed": passed, "skipped": skipped}


def _step(path: Path) -> Figures:
    """Read what ``tests.benchmarks.step`` writes: one recipe, some variants."""
    figures: Figures = json.loads(path.read_text(encoding="utf-8"))
    rows = [row for value in figures.values() if isinstance(value, dict) for row in value.items()]
    texts = [
        f"{name} {row['ms']:.0f} of {row['reference_ms']:.0f} ms, {row['gib']:.1f} of {row['reference_gib']:.1f} GiB"
        for name, row in rows
        if isinstance(row, dict) and "gib" in row
    ]
    return {"summary": "; ".join(texts) or "no variant was measured to its end", **figures}


def _cost(path: Path) -> Figures:
    figures: Figures = json.loads(path.read_text(encoding="utf-8"))
    return {"summary": f"{figures['ratio']:.2f} times as long", **figures}


def _windows(path: Path) -> Figures:
    """Read what ``tests.benchmarks.windows`` writes; the kernel must be among what was timed."""
    figures: Figures = json.loads(path.read_text(encoding="utf-8"))
    rows = {f"{role} {what}": figures[role][what] for role in ("teacher", "student") for what in figures[role]}
    if left_out := [where for where, row in rows.items() if "triton" not in row["ms"]]:
        raise ValueError(f"the kernel did not run: {', '.join(left_out)}")
    texts = [
        f"{where}: {', '.join(f'{name} {ms:.2f}' for name, ms in row['ms'].items())} ms" for where, row in rows.items()
    ]
    return {"summary": "; ".join(texts), **figures}


def _said(path: Path) -> Figures:
    return {"summary": "see its output"}


def _pytest(folder: str) -> tuple[str, ...]:
    return ("-m", "pytest", "-m", "gpu", "-rfEs", "-v", "--junitxml", OUT, folder)


def _timed(recipe: str, *variants: str) -> tuple[str, ...]:
    fixed = ("--size", "paper", "--rounds", "5", "--json", OUT, "--recipes", recipe)
    return ("-m", "tests.benchmarks.step", *fixed, "--variants", *variants)


def _blocks(*more: str) -> tuple[str, ...]:
    return ("-m", "tests.benchmarks.windows", "--precision", "bf16", *more, "--json", OUT)


PARTS: dict[str, Part] = {
    "doctor": Part("what this machine has", ("-m", "dckd_basicsr", "doctor"), _said),
    "tests": Part("tests marked gpu", _pytest("tests/unit"), _tests),
    "resume": Part("exact resume, deterministic", _pytest("tests/e2e"), _tests),
    "cost": Part("what determinism costs", ("-m", "tests.benchmarks.deterministic", "--json", OUT), _cost),
    "swinir": Part("SwinIR, recorded and eager", _timed("swinir", "exact, recorded", "exact"), _step),
    "windows": Part("attention in windows, bf16", _blocks(), _windows),
    "windows-compiled": Part("the same, compiled", _blocks("--compile"), _windows),
    "edsr": Part("EDSR, recorded and eager, auto", _timed("edsr", "exact, recorded", "exact", "auto"), _step),
    "swinir-auto": Part("SwinIR, auto", _timed("swinir", "auto", "auto, fused attention"), _step),
    "rcan": Part("RCAN, recorded and eager", _timed("rcan", "exact, recorded", "exact"), _step),
    "nafnet": Part("NAFNet, recorded and eager", _timed("nafnet", "exact, recorded", "exact"), _step),
    "restormer": Part("Restormer, recorded and eager", _timed("restormer", "exact, recorded", "exact"), _step),
}
"""In order of importance: where time ends early, the first are there."""


def run_parts(
    names: Sequence[str], parts: Mapping[str, Part], path: Path, limit: float, machine: Mapping[str, Any]
) -> dict[str, Figures]:
    """Run parts one after another and write ``path`` after each.

    Returns:
        What is known of each part: ``status`` (passed, failed, out of time), ``seconds``, ``summary`` and its figures.
    """
    results: dict[str, Figures] = {}
    for name in names:
        print(f"\n=== {name}: {parts[name].about} (at most {limit:.0f} s)", flush=True)
        results[name] = _run(parts[name], limit)
        print(f"=== {name}: {results[name]['status']} after {results[name]['seconds']} s", flush=True)
        _write(path, {"machine": dict(machine), "limit": limit, "parts": results})
    return results


def _run(part: Part, limit: float) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "figures")
        command = [sys.executable, *(str(out) if word == OUT else word for word in part.command)]
        start = time.monotonic()
        status, tail = _watched(command, limit)
        result: Figures = {"status": "out of time" if status is None else "failed" if status else "passed"}
        result |= {"seconds": round(time.monotonic() - start, 1), "about": part.about}
        try:  # also of a part that failed: what it measured until then is kept
            result |= part.read(out)
        except (OSError, ValueError, KeyError, ElementTree.ParseError) as error:
            known = isinstance(error, ValueError) and not isinstance(error, json.JSONDecodeError)
            result["summary"] = str(error) if known else (tail[-1] if tail else "it said nothing")
            result["status"] = "failed" if status is not None else result["status"]
        return result if result["status"] == "passed" else {**result, "tail": tail}


def _watched(command: Sequence[str], limit: float) -> tuple[int | None, list[str]]:
    """Run a command and pass on what it prints; return its status (None: it ran out of time) and its last lines."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a shell; what is run would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", start_new_session=True,
    )  # fmt: skip
    tail: deque[str] = deque(maxlen=40)

    def pass_on() -> None:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            if line.strip():
                tail.append(line.rstrip())

    reader = threading.Thread(target=pass_on, daemon=True)
    reader.start()
    try:
        status: int | None = process.wait(limit)
    except subprocess.TimeoutExpired:
        status = None
        process.send_signal(signal.SIGINT)  # upon which pytest writes its JUnit file
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
    finally:
        _end(process)  # also what a part left running, and on Ctrl-C
    reader.join(5)
    return status, list(tail)


def _end(process: subprocess.Popen) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def _write(path: Path, results: Mapping[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def table(results: Mapping[str, Figures]) -> str:
    """Return the parts as a table in Markdown."""
    keys = ("about", "status", "seconds", "summary")
    rows = ["| " + " | ".join([name, *(str(result[key]) for key in keys)]) + " |" for name, result in results.items()]
    return "\n".join(["| part | what | status | s | found |", "|---|---|---|---:|---|", *rows])


def _machine() -> Figures:
    """Return the GPU, its clocks and the versions, or nothing where there is no GPU."""
    import torch

    if not torch.cuda.is_available():
        return {}
    asked = "name,driver_version,clocks.sm,clocks.mem,power.limit,memory.total"
    try:
        query = ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader"]
        found = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        found = ""
    versions = {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda}
    return {"gpu": torch.cuda.get_device_name(), asked: found, **versions}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"), help="where figures go")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds for each part")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.parts if name not in PARTS]:
        parser.error(f"no part '{unknown[0]}'; there are {', '.join(PARTS)}")
    machine = _machine()
    if not machine:
        print("make gpu: PyTorch finds no CUDA device here, so nothing was run", file=sys.stderr)
        return NO_GPU
    print(machine, flush=True)
    results = run_parts(options.parts or list(PARTS), PARTS, options.json, options.limit, machine)
    print(f"\n{table(results)}\n\nFigures: {options.json}", flush=True)
    return int(any(result["status"] != "passed" for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
