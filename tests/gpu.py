"""Everything that needs a GPU, in parts that each end in time: ``make gpu``, or ``make gpu PARTS="tests resume"``.

    python -m tests.gpu [PART ...] [--json gpu.json] [--limit SECONDS] [--total SECONDS]

Each part is a process with a limit of its own and prints as it goes. After each of them the JSON file is written anew
and whole, so what was measured is kept whatever comes later; a table closes the run, also one that SIGTERM or Ctrl-C
ends. With ``--total`` all of it takes no longer than that: the last part's limit is cut, and the parts after it are
told as not run. Status: 0 all parts passed, 1 one did not or was not run, 3 there is no GPU here.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
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

__all__ = ["GRACE", "NO_GPU", "PARTS", "Part", "run_parts", "table"]

GRACE = 30
"""Seconds that a part has to write what it measured, once its time is over."""
NO_GPU = 3
_HANGS = 90  # seconds after which a test shows where it is, and ends its part
Figures = dict[str, Any]
OUT = "{out}"


@dataclass(frozen=True)
class Part:
    """One thing to run.

    Attributes:
        about: what it shows, for the table.
        command: arguments for Python; ``{out}`` becomes a file into which it writes its figures.
        read: makes figures of that file, with a text under ``summary``; with ``sound`` false if they tell of a failure.
        limit: seconds that it may take.
    """

    about: str
    command: tuple[str, ...]
    read: Callable[[Path], Figures]
    limit: float


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
    summary = f"{text}: {', '.join(bad)}" if bad else text
    return {"summary": summary, "passed": passed, "failed": bad, "skipped": skipped, "sound": bool(passed and not bad)}


def _step(path: Path) -> Figures:
    """Read what ``tests.benchmarks.step`` writes: one recipe, some variants."""
    figures: Figures = json.loads(path.read_text(encoding="utf-8"))
    rows = [row for value in figures.values() if isinstance(value, dict) for row in value.items()]
    texts = [
        f"{name} {row['ms']:.0f} of {row['reference_ms']:.0f} ms, {row['gib']:.1f} of {row['reference_gib']:.1f} GiB"
        for name, row in rows
        if isinstance(row, dict) and "gib" in row
    ]
    texts += [f"{name} failed: {text}" for name, text in figures.get("failed", {}).items()]
    return {"summary": "; ".join(texts) or "no variant was measured to its end", **figures}


def _cost(path: Path) -> Figures:
    figures: Figures = json.loads(path.read_text(encoding="utf-8"))
    return {"summary": f"{figures['ratio']:.2f} times as long", **figures}


def _windows(path: Path) -> Figures:
    """Read what ``tests.benchmarks.windows`` writes; the kernel must be among what was timed."""
    figures: Figures = json.loads(path.read_text(encoding="utf-8"))
    rows = {f"{role} {what}": row for role in ("teacher", "student") for what, row in figures.get(role, {}).items()}
    texts = []
    for where, row in rows.items():
        times = [f"{name} {ms:.2f}{' launched' * (name in row['launched'])}" for name, ms in row["ms"].items()]
        texts.append(f"{where}: {', '.join(times)} ms")
    if left_out := [where for where, row in rows.items() if "triton" not in row["ms"]]:
        texts.insert(0, f"the kernel did not run: {', '.join(left_out)}")
    return {"summary": "; ".join(texts), "sound": not left_out, **figures}


def _said(path: Path) -> Figures:
    return {"summary": "see its output"}


def _pytest(*where: str, seconds: int = _HANGS) -> tuple[str, ...]:
    """Tests marked gpu; one that takes so many seconds shows where it is, and ends the part."""
    hangs = ("-o", f"faulthandler_timeout={seconds}", "-o", "faulthandler_exit_on_timeout=true")
    return ("-m", "pytest", "-m", "gpu", "-rfEs", "-v", *hangs, "--junitxml", OUT, *where)


def _timed(recipe: str, *variants: str) -> tuple[str, ...]:
    fixed = ("--size", "paper", "--rounds", "5", "--json", OUT, "--recipes", recipe)
    return ("-m", "tests.benchmarks.step", *fixed, "--variants", *variants)


def _blocks(*more: str) -> tuple[str, ...]:
    return ("-m", "tests.benchmarks.windows", "--precision", "bf16", *more, "--json", OUT)


_BOTH = ("exact, recorded", "exact")
_ATTENTION = ("auto", "auto, kernel attention", "auto, fused attention")
PARTS: dict[str, Part] = {
    "doctor": Part("what this machine has", ("-m", "dckd_basicsr", "doctor"), _said, 60),
    "recording": Part(
        "tests of recording and attention", _pytest("tests/unit/recording", "tests/unit/swin"), _tests, 180
    ),
    "tests": Part("the other tests marked gpu", _pytest("tests/unit/models", "tests/unit/lmdb"), _tests, 150),
    "swinir": Part("SwinIR, recorded and eager", _timed("swinir", *_BOTH, "bf16, recorded"), _step, 150),
    "edsr": Part("EDSR, auto", _timed("edsr", "auto"), _step, 150),
    "swinir-auto": Part("SwinIR, auto", _timed("swinir", *_ATTENTION), _step, 300),
    "windows": Part("attention in windows, bf16", _blocks(), _windows, 120),
    "resume": Part("exact resume, deterministic", _pytest("tests/e2e/training", seconds=140), _tests, 150),
    "cost": Part("what determinism costs", ("-m", "tests.benchmarks.deterministic", "--json", OUT), _cost, 180),
    "edsr-exact": Part("EDSR, recorded and eager", _timed("edsr", *_BOTH), _step, 150),
    "windows-compiled": Part("attention in windows, compiled", _blocks("--compile"), _windows, 180),
    "rcan": Part("RCAN, recorded and eager", _timed("rcan", *_BOTH), _step, 180),
    "nafnet": Part("NAFNet, recorded and eager", _timed("nafnet", *_BOTH), _step, 180),
    "restormer": Part("Restormer, recorded and eager", _timed("restormer", *_BOTH), _step, 180),
}
"""In order of importance: where time ends early, the first are there. No folder without a test for a GPU is read."""


def run_parts(
    names: Sequence[str],
    parts: Mapping[str, Part],
    path: Path,
    machine: Mapping[str, Any],
    limit: float | None = None,
    total: float = math.inf,
) -> dict[str, Figures]:
    """Run parts one after another and write ``path`` after each.

    Args:
        names: which ones.
        parts: all there are.
        path: of the figures.
        machine: what to tell of it there.
        limit: seconds for each part, in the place of its own.
        total: seconds for all of them.

    Returns:
        What is known of each part: ``status`` (passed, failed, out of time, stopped, not run), ``seconds``,
        ``summary`` and its figures.
    """
    results: dict[str, Figures] = {}
    end, why = time.monotonic() + total, ""
    for name in names:
        left = end - time.monotonic() - GRACE
        if not why and left <= 0:
            why = "the time for all parts was over"
        if why:
            results[name] = {"status": "not run", "seconds": 0.0, "about": parts[name].about, "summary": why}
            continue
        seconds = min(parts[name].limit if limit is None else limit, left)
        print(f"\n=== {name}: {parts[name].about} (at most {seconds:.0f} s)", flush=True)
        results[name] = _run(parts[name], seconds)
        print(f"=== {name}: {results[name]['status']} after {results[name]['seconds']} s", flush=True)
        why = "the run was stopped before" if results[name]["status"] == "stopped" else ""
        _write(path, {"machine": dict(machine), "parts": results})
    _write(path, {"machine": dict(machine), "parts": results})
    return results


def _run(part: Part, limit: float) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "figures")
        command = [sys.executable, *(str(out) if word == OUT else word for word in part.command)]
        start = time.monotonic()
        status, tail = _watched(command, limit)
        result: Figures = {"status": status, "seconds": round(time.monotonic() - start, 1), "limit": limit}
        result["about"] = part.about
        try:  # also of a part that failed: what it measured until then is kept
            result |= part.read(out)
        except (OSError, ValueError, KeyError, ElementTree.ParseError):
            result |= {"summary": tail[-1] if tail else "it said nothing", "sound": False}
        if not result.pop("sound", True) and status == "passed":
            result["status"] = "failed"
        return result if result["status"] == "passed" else {**result, "tail": tail}


def _watched(command: Sequence[str], limit: float) -> tuple[str, list[str]]:
    """Run a command and pass on what it prints; return what became of it and its last lines."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a shell; what is run would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # A group of its own, to be ended with all it has started; in this session, whose end is then its end too.
    group: Figures = {"process_group": 0} if sys.version_info >= (3, 11) else {"start_new_session": True}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", **group,
    )  # fmt: skip
    tail: deque[str] = deque(maxlen=100)

    def pass_on() -> None:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            if line.strip():
                tail.append(line.rstrip())

    reader = threading.Thread(target=pass_on, daemon=True)
    try:
        reader.start()
        status = _awaited(process, limit)
    except (SystemExit, KeyboardInterrupt):  # what SIGTERM and Ctrl-C raise
        status = "stopped"
    finally:
        _end(process)  # also what a part left running
    reader.join(5)
    return status, list(tail)


def _awaited(process: subprocess.Popen, limit: float) -> str:
    """Wait for a process, and interrupt it when its time is over."""
    try:
        return "failed" if process.wait(limit) else "passed"
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)  # upon which pytest writes its JUnit file
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    return "out of time"


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
    cells = [[name, *(str(result[key]).replace("|", "/") for key in keys)] for name, result in results.items()]
    rows = ["| " + " | ".join(row) + " |" for row in cells]
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


def _stop(number: int, frame: object) -> None:
    sys.exit(128 + number)


def main(arguments: Sequence[str] | None = None) -> int:
    start = time.monotonic()
    limits = ", ".join(f"{name} {part.limit:.0f}" for name, part in PARTS.items())
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"), help="where figures go")
    parser.add_argument("--limit", type=float, help=f"seconds for each part (default: {limits})")
    parser.add_argument(
        "--total", type=float, default=math.inf,
        help=f"seconds for all; the last {GRACE} are for a part to write what it has measured",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.parts if name not in PARTS]:
        parser.error(f"no part '{unknown[0]}'; there are {', '.join(PARTS)}")
    signal.signal(signal.SIGTERM, _stop)
    machine = _machine()
    if not machine:
        print("make gpu: PyTorch finds no CUDA device here, so nothing was run", file=sys.stderr)
        return NO_GPU
    print(machine, flush=True)
    left = options.total - (time.monotonic() - start)
    results = run_parts(options.parts or list(PARTS), PARTS, options.json, machine, options.limit, left)
    print(f"\n{table(results)}\n\nFigures: {options.json}", flush=True)
    return int(any(result["status"] != "passed" for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
