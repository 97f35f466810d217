"""The page of a run, or of several beside each other."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..compare.cells import heading
from ..errors import DatasetError
from .charts import Chart, Line, curve_chart, curve_points, seed_line, validation_points
from .comparison_charts import terms_in
from .pictures import Scene, make_scene
from .run_files import RunFiles, read_run, validation_pictures
from .tables import Cell, Table, best_of, decimals_of, fixed, unit_of
from .writing import draw, write_page

__all__ = ["write_run_page", "write_runs_page"]

_IMAGES = 4


def write_run_page(run_folder: Path, file: Path) -> None:
    """Write the page of one run, finished or not: one HTML file that loads nothing.

    Args:
        run_folder: ``experiments/NAME``.
        file: to write.

    Raises:
        DatasetError: it is no folder of a run, or a file in it is damaged.
    """
    write_runs_page([run_folder], file)


def write_runs_page(run_folders: Sequence[Path], file: Path) -> None:
    """Write one page of several runs: their curves in one chart, their values in one table.

    Raises:
        DatasetError: as for :func:`write_run_page`.
    """
    if not run_folders:
        raise DatasetError("a page needs at least one run")
    runs = [read_run(folder) for folder in run_folders]
    names = _apart([run.name for run in runs])
    write_page(
        "run.html",
        file,
        title=names[0] if len(runs) == 1 else f"{len(runs)} runs",
        several=len(runs) > 1,
        facts=_facts(runs, names),
        tables=_tables(runs, names),
        curves=draw(_validation_charts(runs, names), "val"),
        terms=draw(_term_charts(runs, names), "term"),
        scenes=_scenes(runs[0]) if len(runs) == 1 else [],
        options=[
            (name if file == "options.yml" else f"{name}, resumed with {file}", text)
            for name, run in zip(names, runs, strict=True)
            for file, text in run.option_texts.items()
        ],
        environment=[(name, run.environment) for name, run in zip(names, runs, strict=True) if run.environment],
        commands=[(name, _command(run)) for name, run in zip(names, runs, strict=True)],
    )  # fmt: skip


def _command(run: RunFiles) -> str:
    """Return the command that repeats a run, typed where it was: short where its folder is the usual one."""
    folder, here = run.folder.resolve(), Path.cwd()
    usual = folder.parent.name == "experiments"
    short = Path("experiments", folder.name) if usual else folder
    place = folder.relative_to(here) if folder.is_relative_to(here) else short
    return f"basicsr train -opt {shlex.quote((place / 'options.yml').as_posix())}"


def _facts(runs: Sequence[RunFiles], names: Sequence[str]) -> Table:
    header = [Cell("run"), Cell("model"), Cell("network"), Cell("scale", number=True), Cell("seed", number=True)]
    header += [Cell("iterations", number=True)]
    rows = []
    for run, name in zip(runs, names, strict=True):
        options, network = run.options, run.options.get("network_g") or {}
        ends = [*(each["iteration"] for each in run.validations), *(i or 0 for i in run.curve.get("iter", ()))]
        done = int(max(ends, default=0))
        total = (options.get("train") or {}).get("total_iter")
        reached = f"{done:,} of {total:,.0f}" if isinstance(total, int | float) and done else f"{total or '–'}"
        rows.append([Cell(name), Cell(str(options.get("model_type", "–"))), Cell(str(network.get("type", "–"))),
                     Cell(str(options.get("scale", "–")), number=True),
                     Cell(str(options.get("manual_seed", "–")), number=True), Cell(reached, number=True)])  # fmt: skip
    return Table("Runs" if len(runs) > 1 else "Run", header, rows)


def _tables(runs: Sequence[RunFiles], names: Sequence[str]) -> list[Table]:
    """Return the last values and the best ones of each validation set."""
    tables = []
    for dataset, metrics in _measured(runs).items():
        header = [Cell("run"), Cell("iteration", number=True)]
        for metric in metrics:
            header += [Cell(f"{heading(metric)}, last", number=True), Cell("best", number=True)]
        points = {m: [validation_points(run.validations, dataset, m) for run in runs] for m in metrics}
        lasts = {m: [p[max(p)] if p else None for p in points[m]] for m in metrics}
        rows = []
        for i, name in enumerate(names):
            reached = [int(max(points[m][i])) for m in metrics if points[m][i]]
            if not reached:
                continue
            cells = [Cell(name), Cell(f"{max(reached):,}", number=True)]
            for m in metrics:
                higher = _higher(runs[i].options, m)
                decimals = decimals_of([v for p in points[m] for v in p.values()])
                best = best_of(lasts[m], higher=higher)
                cells.append(Cell(fixed(lasts[m][i], decimals), number=True,
                                  best=best is not None and lasts[m][i] == best))  # fmt: skip
                cells.append(_best_cell(points[m][i], higher, decimals))
            rows.append(cells)
        tables.append(Table(f"Validation on {dataset}", header, rows))
    return tables


def _best_cell(points: Mapping[float, float], higher: bool, decimals: int) -> Cell:
    points = {i: value for i, value in points.items() if not math.isnan(value)}
    if not points:
        return Cell("–", number=True)
    at = max(points, key=lambda i: (points[i] if higher else -points[i], i))  # of equals the latest, as the log says it
    return Cell(fixed(points[at], decimals), number=True, small=f"at {at:,.0f}")


def _higher(options: Mapping[str, Any], metric: str) -> bool:
    block = ((options.get("val") or {}).get("metrics") or {}).get(metric) or {}
    return block.get("better", "higher") == "higher"


def _measured(runs: Sequence[RunFiles]) -> dict[str, list[str]]:
    """Return the metrics of each validation set."""
    found: dict[str, dict[str, None]] = {}
    for run in runs:
        for each in run.validations:
            found.setdefault(each["dataset"], {}).update(dict.fromkeys(each["metrics"]))
    return {dataset: list(metrics) for dataset, metrics in found.items() if metrics}


def _validation_charts(runs: Sequence[RunFiles], names: Sequence[str]) -> list[Chart]:
    charts = []
    for dataset, metrics in _measured(runs).items():
        for metric in metrics:
            points = [validation_points(run.validations, dataset, metric) for run in runs]
            lines = _lines(names, points, unit_of(metric))
            if lines and any(len(line.x) > 1 for line in lines):
                what = heading(metric)
                title, text = f"{what} on {dataset}", "Measured while training."
                charts.append(curve_chart(lines, title, text, "iteration", what, labelled=len(runs) > 1))
    return charts


def _term_charts(runs: Sequence[RunFiles], names: Sequence[str]) -> list[Chart]:
    charts = []
    for term in terms_in([run.curve for run in runs]):
        lines = _lines(names, [curve_points(run.curve, term) for run in runs])
        if lines and any(len(line.x) > 1 for line in lines):
            charts.append(curve_chart(lines, term, "", "iteration", term, labelled=len(runs) > 1))
    return charts


def _lines(names: Sequence[str], points: Sequence[Mapping[float, float]], unit: str = "") -> list[Line]:
    found = [seed_line(name, i, [each], unit) for i, (name, each) in enumerate(zip(names, points, strict=True))]
    return [line for line in found if line is not None]


@dataclass(frozen=True)
class _Kept:
    """An image of which validations kept pictures."""

    dataset: str
    image: str
    files: Mapping[int, Path]


def _scenes(run: RunFiles) -> list[Scene]:
    """Return what validations wrote, the first against the last."""
    kept = [
        _Kept(dataset, image, files)
        for dataset, images in validation_pictures(run.folder).items()
        for image, files in images.items()
    ]
    found = []
    for each in kept[:_IMAGES]:
        first, last = min(each.files), max(each.files)
        titles = {f"{i}": f"iteration {i:,}" for i in dict.fromkeys((first, last))}
        sources = {f"{i}": each.files[i] for i in dict.fromkeys((first, last))}
        pair = (f"{first}", f"{last}")
        scene = make_scene(f"{each.dataset}/{each.image}", "As validations wrote it.", sources, titles, {}, pair)
        found += [scene] if scene else []
    return found


def _apart(names: Sequence[str]) -> list[str]:
    """Return names of which no two are alike."""
    return [name if names.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(names)]
