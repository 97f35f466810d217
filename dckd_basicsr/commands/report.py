"""``basicsr report``: the page of a run, of several beside each other, or of a comparison."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import install
from ..errors import ConfigError, DCKDError, message_of, near_miss
from ..user_modules import add_import_flag

if TYPE_CHECKING:
    from ..compare import Sweep

__all__ = ["REPORT", "add_report_parser", "run_report", "write_report"]

REPORT = "report.html"
"""The page's file in the folder of its run or comparison."""


def add_report_parser(commands: Any) -> None:
    """Add ``report`` to the command line's subparsers."""
    parser = commands.add_parser(
        "report",
        help="one HTML file with charts, tables and pictures of a run, of several runs, or of a comparison",
        description="Write one HTML file that needs no network: of a run (validations, loss terms, pictures, options), "
        "of several runs beside each other, or of what a sweep has so far (tables with verdicts, charts, pictures, "
        "costs). It lands in the folder of the run or comparison; of several runs, in the folder that holds the first.",
    )
    parser.add_argument(
        "what",
        nargs="+",
        metavar="RUN|SWEEP",
        help="folders or names of runs below experiments/; or a folder of comparisons/, a sweep's file or name",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"the file to write (default: {REPORT}, see above)")
    add_import_flag(parser)
    parser.set_defaults(func=run_report)


def run_report(options: argparse.Namespace) -> int:
    """Write the page and print its path; returns the exit status."""
    install.everything()
    from ..user_modules import import_modules, import_plugins

    import_plugins()  # test sets of a comparison may be theirs
    import_modules(options.imports)
    runs = [_run_folder(name) for name in options.what]
    if None not in runs:
        _of_runs([folder for folder in runs if folder is not None], options.out)
    elif len(options.what) == 1:
        _of_sweep(options.what[0], options.out)
    else:
        no_runs = [name for name, folder in zip(options.what, runs, strict=True) if folder is None]
        raise ConfigError(
            f"'{no_runs[0]}' is no folder or name of a run, and a page shows either runs or one comparison; give runs "
            "of experiments/, or a comparison alone"
        )
    return 0


def write_report(run: Path) -> Path | None:
    """Write the page of a run that has ended; one that cannot be written is a warning in the log, and None."""
    import logging

    file, log = run / REPORT, logging.getLogger("basicsr")
    try:
        from ..page import write_run_page

        write_run_page(run, file)
    except Exception as error:  # whatever it is, the training is done and saved
        reason = message_of(error) if isinstance(error, DCKDError) else f"{type(error).__name__}: {error}"
        log.warning("The page of this run was not written: %s. Try it again: basicsr report %s", reason, run)
        return None
    log.info("Report: %s", file)
    return file


def _run_folder(name: str) -> Path | None:
    """Return the run that is meant, if it is one."""
    return next((each for each in (Path(name), Path("experiments", name)) if (each / "options.yml").is_file()), None)


def _of_runs(folders: list[Path], out: Path | None) -> None:
    from ..page import write_runs_page

    file = out or (folders[0] if len(folders) == 1 else folders[0].parent) / REPORT
    write_runs_page(folders, file)
    print(file)


def _of_sweep(name: str, out: Path | None) -> None:
    from ..compare import Comparison, read_records
    from ..page import write_sweep_page

    sweep, folder = _sweep(name)
    records = read_records(folder / "records")
    if not records:
        raise ConfigError(
            f"sweep '{sweep.name}' has no finished run in '{folder / 'records'}'; make them: basicsr compare {name}"
        )
    file = out or folder / REPORT
    for problem in write_sweep_page(Comparison(sweep, records), file):
        print(f"basicsr: note: {problem}", file=sys.stderr)
    print(file)


def _sweep(name: str) -> tuple[Sweep, Path]:
    """Return the sweep that is meant, and the folder of its records."""
    from ..compare import find_sweep, load_sweep

    for folder in (Path(name), Path("comparisons", name)):
        if (folder / "sweep.yml").is_file():
            return load_sweep(folder / "sweep.yml"), folder
    if Path(name).is_dir():
        raise ConfigError(_no_run(Path(name)))
    try:
        sweep = load_sweep(find_sweep(name))
    except ConfigError as error:
        if Path(name).exists():
            raise
        if Path("experiments", name).is_dir():
            raise ConfigError(_no_run(Path("experiments", name))) from error
        runs = [file.parent.name for file in sorted(Path("experiments").glob("*/options.yml"))]
        hint = near_miss(name, runs) or f": {message_of(error)}"
        raise ConfigError(f"'{name}' is no run of experiments/, and no comparison{hint}") from error
    return sweep, Path("comparisons", sweep.name)


def _no_run(folder: Path) -> str:
    return (
        f"'{folder}' holds neither options.yml, which `basicsr train` writes into the folder of a run (BasicSR's own "
        "training does not), nor sweep.yml, as the folder of a comparison does"
    )
