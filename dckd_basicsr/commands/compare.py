"""``basicsr compare``: make the runs of a sweep that are missing, test them, and say whether they differ."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import install
from ..errors import ConfigError, near_miss
from ..user_modules import add_import_flag
from .arguments import count

if TYPE_CHECKING:
    from ..compare import PlannedRun, RunRecord, Sweep

__all__ = ["add_compare_parser", "run_compare"]


def add_compare_parser(commands: Any) -> None:
    """Add ``compare`` to the command line's subparsers."""
    parser = commands.add_parser(
        "compare",
        help="train and test the variants of a sweep, over seeds, and say with statistics which are better",
        description="Make the runs of a sweep that are missing, through the ordinary training and test, one after the "
        "other or one a GPU; go on with what was stopped, and repeat nothing. Then write tables (Markdown, CSV, LaTeX, "
        "JSON), figures and a page to comparisons/NAME. What a sweep file holds is in docs/guide/compare.md.",
    )
    parser.add_argument("sweep", metavar="SWEEP", help="sweep file: a path, or the name of a packaged one")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--status", action="store_true", help="say how far the sweep is, and run nothing")
    what.add_argument(
        "--commands", action="store_true", help="print one command line for each missing run, for job arrays"
    )
    what.add_argument("--run", metavar="NAME", help="make this one run and its record, no tables")
    what.add_argument("--tables", action="store_true", help="write tables and page of what is done, and run nothing")
    parser.add_argument(
        "--jobs", type=count, metavar="N", help="runs at a time (default: one a GPU; on a CPU one, with all cores)"
    )
    add_import_flag(parser)
    parser.set_defaults(func=run_compare)


def run_compare(options: argparse.Namespace) -> int:
    """Do what the command line asks; returns the exit status."""
    install.everything()
    from ..compare import Maker, Progress, find_sweep, finish, load_sweep, places, planned_runs, same_trainings
    from ..user_modules import import_modules, import_plugins

    import_plugins()
    import_modules(options.imports)
    sweep = load_sweep(find_sweep(options.sweep))
    runs, root = planned_runs(sweep), Path.cwd()
    folder = root / "comparisons" / sweep.name
    maker = Maker(root, folder, options.imports)
    records = {run.name: record for run in runs if (record := maker.record(run)) is not None}
    progress = Progress(runs, records, root)
    if progress.missing and not options.tables and options.run is None:
        for text in same_trainings(runs):
            print(f"basicsr: note: {text}", file=sys.stderr)
    if options.status:
        print(f"{sweep.heading}: {progress.line()}")
        for run in runs:
            print(f"  {'done   ' if run.name in records else 'missing'} {run.name}")
        return 0
    if options.commands:
        for run in progress.missing:
            words = [word for name in options.imports for word in ("--import", name)]
            print(shlex.join(["basicsr", "compare", options.sweep, "--run", run.name, *words]))
        return 0
    if options.tables:
        _write(sweep, records, root, folder)
        return 0
    if options.run is not None:
        runs = [_named(runs, options.run)]
    _check([run for run in runs if run.name not in records], sweep)
    where = places(options.jobs)
    print(f"{sweep.heading}: {Progress(runs, records, root).line(len(where))}; logs in {folder / 'logs'}", flush=True)
    _keep(sweep, folder)
    records, failed = finish(runs, maker, where, sweep.hours)
    for text in failed:
        print(f"basicsr: {text}")
    if options.run is None:
        _write(sweep, records, root, folder)
    return 1 if failed else 0


def _named(runs: list[PlannedRun], name: str) -> PlannedRun:
    known = {run.name: run for run in runs}
    if name not in known:
        hint = near_miss(name, known) or "; --status lists them"
        raise ConfigError(f"the sweep has no run '{name}'{hint}")
    return known[name]


def _check(runs: list[PlannedRun], sweep: Sweep) -> None:
    """Check the options of all trainings and tests before the first one starts; runs that differ in seed are alike.

    Raises:
        ConfigError: with what is wrong in any of them; what several of them share is told once.
    """
    from ..config import report

    alike: dict[tuple[str, str], PlannedRun] = {}
    for run in runs:
        alike.setdefault((run.base, run.variant), run)
    found: dict[str, str] = {}
    for run in alike.values():
        for text in _training_problems(run):
            found.setdefault(text, f"run {run.name}: {text}")
        for text in _test_problems(run):
            found.setdefault(text, f"test of run {run.name}: {text}")
    if found:
        raise ConfigError(report(list(found.values()), str(sweep.file)))


def _training_problems(run: PlannedRun) -> list[str]:
    from ..config import problems_of
    from ..config.problems import block_of

    if run.seed is None:
        return []
    problems = problems_of(run.options, is_train=True)
    if block_of(run.options, "path").get("experiments_root"):
        problems.append(
            f"path.experiments_root of base '{run.base}' would be the folder of all its runs; take it out of "
            "the option file, and every run has experiments/NAME"
        )
    return problems


def _test_problems(run: PlannedRun) -> list[str]:
    from ..config import problems_of
    from ..config.problems import block_of

    test = {**run.test_options, "path": dict(block_of(run.test_options, "path"))}
    if run.seed is not None:  # what the training will leave is not there yet
        test["path"].pop("pretrain_network_g", None)
    problems = problems_of(test, is_train=False)
    if not block_of(test, "val").get("metrics"):
        problems.append(
            f"the test of base '{run.base}' measures nothing; name metrics in val.metrics of '{run.test_file}'"
        )
    return problems


def _keep(sweep: Sweep, folder: Path) -> None:
    """Keep the sweep's file beside its records, which a page may be made of elsewhere."""
    from ..weight_files import atomic_write

    assert sweep.file is not None
    source = sweep.file.read_bytes()
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "sweep.yml").is_file() or not (folder / "sweep.yml").samefile(sweep.file):
        atomic_write(folder / "sweep.yml", lambda temporary: temporary.write_bytes(source))


def _write(sweep: Sweep, records: Mapping[str, RunRecord], root: Path, folder: Path) -> None:
    """Write tables, figures and page of what is done, and show the table."""
    from ..compare import Comparison, write_tables
    from ..page import write_figures, write_sweep_page
    from .report import REPORT

    if not records:
        print("No run is done yet, so there is nothing to compare.")
        return
    comparison, page = Comparison(sweep, records), folder / REPORT
    files = [*write_tables(comparison, folder), *write_figures(comparison, folder / "figures"), page]
    problems = write_sweep_page(comparison, page, root)
    print(f"\n{(folder / 'comparison.md').read_text(encoding='utf-8')}")
    print("\n".join(f"written: {file.relative_to(root)}" for file in files))
    for text in problems:
        print(f"basicsr: note: {text}")
