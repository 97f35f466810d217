"""``python -m tests.mutations``: plant, try, report. The exit status is 1 if fewer than 95 % were noticed."""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .modules import TESTS
from .rules import Mutant, plant
from .trial import PACKAGE, ROOT, Outcome, Trial, import_once

ENOUGH = 0.95
EQUIVALENT = Path(__file__).with_name("equivalent.txt")


@dataclass(frozen=True)
class Result:
    """A planted fault and what became of it."""

    module: str
    mutant: Mutant
    outcome: Outcome


def sampled(mutants: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """Return ``count`` of them: those whose name and the seed give the smallest sums, so that an edit changes few."""

    def draw(mutant: Mutant) -> bytes:
        return hashlib.sha256(f"{seed} {mutant.name}".encode()).digest()

    return sorted(sorted(mutants, key=draw)[:count], key=lambda mutant: mutant.line)


def equivalents(text: str) -> dict[str, str]:
    """Read the list of equivalent faults: a name on a line, then its reason, indented. ``#`` begins a comment.

    Raises:
        ValueError: a name without a reason, or a reason without a name.
    """
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line[0] != " ":
            if name:
                raise ValueError(f"no reason is given for '{name}'")
            name = line.strip()
        elif not name:
            raise ValueError(f"no fault is named before '{line.strip()}'")
        else:
            found[name], name = line.strip(), ""
    if name:
        raise ValueError(f"no reason is given for '{name}'")
    return found


def limits(modules: Sequence[str], sources: dict[str, str], folder: Path) -> dict[str, float]:
    """Run the tests without a fault: they must pass, and how long they take says when a trial is ended."""
    seconds: dict[tuple[str, ...], float] = {}
    for module in modules:
        if TESTS[module] in seconds:
            continue
        trial = Trial(module, sources[module], TESTS[module], folder / "sound", 600)
        while (outcome := trial.outcome()) is None:
            time.sleep(0.02)
        if outcome.noticed:
            sys.exit(f"the tests of {module} fail without any fault:\n{trial.output()}")
        trial.close()
        seconds[TESTS[module]] = outcome.seconds
        print(f"without a fault: {outcome.seconds:5.1f} s of CPU time, {' '.join(TESTS[module])}", flush=True)
    return {module: 10 + 3 * seconds[TESTS[module]] for module in modules}


def tried(planted: Sequence[tuple[str, Mutant]], limit: dict[str, float], folder: Path, jobs: int) -> Iterator[Result]:
    """Run the trials, ``jobs`` at once, and yield what became of them."""
    waiting = list(enumerate(planted))[::-1]
    running: list[tuple[str, Mutant, Trial]] = []
    while waiting or running:
        while waiting and len(running) < jobs:
            number, (module, mutant) = waiting.pop()
            trial = Trial(module, mutant.source, TESTS[module], folder / str(number), limit[module])
            running.append((module, mutant, trial))
        time.sleep(0.02)
        for entry in list(running):
            module, mutant, trial = entry
            if (outcome := trial.outcome()) is not None:
                running.remove(entry)
                trial.close()
                yield Result(module, mutant, outcome)


def report(modules: Sequence[str], sources: dict[str, str], results: Sequence[Result], same: Sequence[str]) -> str:
    """Return the table, and every fault that was not noticed, as a diff."""
    rows = []
    for module in modules:
        own = [result for result in results if result.module == module]
        noticed = sum(result.outcome.noticed for result in own)
        rows.append(
            (module, len(own), noticed, len(own) - noticed, sum(name.startswith(f"{module} ") for name in same))
        )
    rows.append(("all", *(sum(column) for column in list(zip(*rows))[1:])))
    lines = [f"{'module':<32}{'planted':>8}{'noticed':>8}{'not':>5}{'equivalent':>11}"]
    lines += [
        f"{module:<32}{planted:>8}{noticed:>8}{missed:>5}{same:>11}" for module, planted, noticed, missed, same in rows
    ]
    for result in results:
        if not result.outcome.noticed:
            before, after = sources[result.module].splitlines(), result.mutant.source.splitlines()
            lines += ["", f"{PACKAGE}/{result.module}:{result.mutant.line}: not noticed", f"  {result.mutant.name}"]
            lines += [
                line for line in difflib.unified_diff(before, after, lineterm="", n=1) if line[:3] not in ("---", "+++")
            ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("modules", nargs="*", help="parts of module names, such as losses or patches; all if none")
    parser.add_argument("--sample", type=int, default=40, help="faults of each module (default: 40)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (default: 0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="trials at once (default: all cores)")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "mutations.json", help="where results are kept")
    arguments = parser.parse_args(argv)
    modules = [m for m in TESTS if not arguments.modules or any(part in m for part in arguments.modules)]
    if not modules:
        parser.error(f"no module's name holds any of {', '.join(arguments.modules)}; see tests/mutations/modules.py")

    sources = {module: (ROOT / PACKAGE / module).read_text(encoding="utf-8") for module in modules}
    possible = {module: plant(module, source) for module, source in sources.items()}
    known = equivalents(EQUIVALENT.read_text(encoding="utf-8"))
    names = {mutant.name for mutants in possible.values() for mutant in mutants}
    stale = [name for name in known if name.split(" ")[0] in modules and name not in names]
    drawn = [(m, mutant) for m in modules for mutant in sampled(possible[m], arguments.sample, arguments.seed)]
    planted = [(module, mutant) for module, mutant in drawn if mutant.name not in known]
    same = [mutant.name for _, mutant in drawn if mutant.name in known]
    print(
        f"{len(names)} faults are possible, {len(planted)} are planted, {len(same)} equivalent ones left out",
        flush=True,
    )

    import_once()
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        limit = limits(modules, sources, Path(folder))
        began = time.monotonic()
        for result in tried(planted, limit, Path(folder), arguments.jobs):
            results.append(result)
            left = (time.monotonic() - began) / len(results) * (len(planted) - len(results))
            missed = sum(not each.outcome.noticed for each in results)
            print(
                f"{len(results)}/{len(planted)}, {missed} not noticed, {left / 60:.0f} min left: {result.module}",
                flush=True,
            )
            if not result.outcome.noticed:
                print(f"  not noticed: {result.mutant.name}", flush=True)

    print("\n" + report(modules, sources, results, same))
    for name in stale:
        print(f"\n{EQUIVALENT.name} lists what is no longer in the source; remove it or write it anew:\n  {name}")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    kept = [{"name": r.mutant.name, "line": r.mutant.line, **asdict(r.outcome)} for r in results]
    arguments.out.write_text(json.dumps(kept, indent=1), encoding="utf-8")
    share = sum(r.outcome.noticed for r in results) / max(1, len(results))
    seconds = sum(result.outcome.seconds for result in results)
    print(f"\n{share:.1%} noticed, {ENOUGH:.0%} are asked for; {seconds:.0f} s of CPU time")
    return 0 if share >= ENOUGH and not stale else 1


if __name__ == "__main__":
    sys.exit(main())
