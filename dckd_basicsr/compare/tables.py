"""Tables of a comparison as files: Markdown to read, CSV for spreadsheets, LaTeX for papers, JSON for programs."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..report import markdown_table
from ..weight_files import atomic_write
from .cells import decimals, heading, marks, notes, p_value, set_title, shown, signed
from .comparison import Comparison, Row
from .latex import latex_table

__all__ = ["as_csv", "as_json", "as_markdown", "csv_name", "write_tables"]


def write_tables(comparison: Comparison, folder: Path) -> list[Path]:
    r"""Write all tables, each file whole or not at all.

    Returns:
        The files: ``comparison.md``, ``comparison.json``, ``results-SWEEP-DEVICE-torchVERSION.csv``, and for each base
        a ``table-BASE.tex`` to ``\input``.

    Raises:
        CheckpointError: a file cannot be written.
    """
    texts = {
        "comparison.md": as_markdown(comparison),
        "comparison.json": as_json(comparison),
        csv_name(comparison): as_csv(comparison),
    }
    texts |= {f"table-{base}.tex": latex_table(comparison, base) for base in comparison.bases}
    for name, text in texts.items():
        atomic_write(folder / name, lambda file, text=text: file.write_bytes(text.encode()))  # type: ignore[misc]
    return [folder / name for name in texts]


def as_markdown(comparison: Comparison) -> str:
    """Return everything to read: for each base a table with the sets as columns, then each set with its gains."""
    parts = [f"# {comparison.sweep.heading}"]
    for base in comparison.bases:
        parts += [f"## {comparison.sweep.base_title(base)}", _overview(comparison, base)]
        for dataset in comparison.datasets(base):
            rows = comparison.rows(base, dataset)
            parts += [f"### {set_title(dataset, rows[0].images)}", _gains(comparison, rows)]
            verdicts = [gain for row in rows for gain in row.gains.values()]
            reasons = dict.fromkeys(each.reason for each in verdicts if each.word == "cannot be told")
            parts += [f"Cannot be told: {reason}." for reason in reasons]
    return "\n\n".join([*parts, "\n".join(f"- {note}" for note in notes(comparison))]) + "\n"


def _overview(comparison: Comparison, base: str) -> str:
    """One row a method, one column a set, as papers have it."""
    datasets = comparison.datasets(base)
    tables = {name: {row.variant: row for row in comparison.rows(base, name)} for name in datasets}
    metrics = "/".join(map(heading, comparison.metrics(base, datasets[0])))
    titles = [set_title(name, len(comparison.images(base, name))) for name in datasets]
    costs = ["parameters", "multiply-adds (G)", "s / iteration", "hours"]
    lines = []
    for variant, row in tables[datasets[0]].items():
        cost = row.cost
        adds = None if cost.multiply_adds is None else cost.multiply_adds / 1e9
        numbers = [_number(adds, ".1f"), _number(cost.seconds_per_iteration, ".3g"), _number(cost.hours, ".3g")]
        cells = [_marked(comparison, tables[name][variant]) for name in datasets]
        lines.append([_plain(row.title), *cells, f"{cost.parameters:,}", *numbers])
    return f"{metrics}; bold: the best of the students, as printed.\n\n" + markdown_table(
        ["method", *titles, *costs], lines
    )


def _marked(comparison: Comparison, row: Row) -> str:
    parts = []
    for metric, value in row.values.items():
        best = marks(comparison, row.base, row.dataset, metric).get(row.variant) == "best"
        parts.append(f"**{shown(metric, value.mean)}**" if best else shown(metric, value.mean))
    return "/".join(parts)


def _gains(comparison: Comparison, rows: Sequence[Row]) -> str:
    """One row a method, with its gain over each reference in the first metric, and what may be said of it."""
    metrics = list(rows[0].values)
    references = list(dict.fromkeys(name for row in rows for name in row.gains))
    header = ["method", *map(heading, metrics), "seeds"]
    for name in references:
        title = _plain(comparison.sweep.title_of(name))
        header += [f"{metrics[0].upper()} over {title}", "p images / seeds", f"than {title}"]
    lines = []
    for row in rows:
        line = [_plain(row.title), *(_spread(name, row) for name in metrics), str(len(row.seeds) or "-")]
        for name in references:
            gain = row.gains.get(name)
            if gain is None or gain.paired is None or gain.seeds is None:
                line += ["-", "-", gain.word if gain else "-"]
                continue
            low, high = signed(metrics[0], gain.paired.low), signed(metrics[0], gain.paired.high)
            line += [f"{signed(metrics[0], gain.difference)} [{low}, {high}]"]
            line += [f"{p_value(gain.paired.p_value)} / {p_value(gain.seeds.p_value)}", gain.word]
        lines.append(line)
    return markdown_table(header, lines)


def _spread(metric: str, row: Row) -> str:
    value = row.values[metric]
    spread = "" if value.spread is None else f" ± {value.spread:.{decimals(metric) + 1}f}"
    return shown(metric, value.mean, 1) + spread


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _plain(text: str) -> str:
    return text.replace("|", "\\|")


def as_csv(comparison: Comparison) -> str:
    """Return one row a method on a base: means over images and seeds with their spread, and costs."""
    lines = []
    for base in comparison.bases:
        tables = {name: {row.variant: row for row in comparison.rows(base, name)} for name in comparison.datasets(base)}
        for variant, first in next(iter(tables.values())).items():
            line: dict[str, Any] = {"base": base, "model": variant, "seeds": len(first.seeds)}
            for name, rows in tables.items():
                for metric, value in rows[variant].values.items():
                    line[f"{name}_{metric}"] = round(value.mean, 6)
                    line[f"{name}_{metric}_sd"] = None if value.spread is None else round(value.spread, 6)
            lines.append((line, asdict(first.cost)))
    columns = dict.fromkeys(["base", "model", "seeds", *(key for line, _ in lines for key in line)])
    costs = dict.fromkeys(key for _, cost in lines for key in cost)
    text = io.StringIO()
    table = csv.DictWriter(text, [*columns, *costs], lineterminator="\n")
    table.writeheader()
    table.writerows({**line, **cost} for line, cost in lines)
    return text.getvalue()


def csv_name(comparison: Comparison) -> str:
    """Return the CSV file's name, which says where the runs ran: ``results-SWEEP-cpu-torch2.14.1.csv``."""
    found = comparison.environment()

    def part(key: str) -> str:
        values = {re.sub(r"[^a-z0-9.+]+", "-", each.split(",")[0].lower()).strip("-") for each in found.get(key, ())}
        return "mixed" if len(values) > 1 else "".join(values)

    parts = [part("device"), f"torch{part('torch')}" if "torch" in found else "", part("precision")]
    return "-".join(["results", comparison.sweep.name, *filter(None, parts)]) + ".csv"


def as_json(comparison: Comparison) -> str:
    """Return everything, with all tests in all metrics; a number that is not finite is null."""
    bases = {}
    for base in comparison.bases:
        datasets = {}
        for name in comparison.datasets(base):
            metrics = comparison.metrics(base, name)
            rows = []
            for row in comparison.rows(base, name):
                gains = {
                    reference: {m: asdict(comparison.verdict(base, name, row.variant, reference, m)) for m in metrics}
                    for reference in row.gains
                }
                rows.append({**asdict(row), "gains": gains})
            better = {m: "higher" if comparison.higher_is_better(base, m) else "lower" for m in metrics}
            datasets[name] = {"images": comparison.images(base, name), "better": better, "rows": rows}
        bases[base] = {"title": comparison.sweep.base_title(base), "datasets": datasets}
    whole = {
        "sweep": comparison.sweep.name,
        "title": comparison.sweep.heading,
        "environment": comparison.environment(),
        "missing": comparison.missing,
        "differences": comparison.differences(),
        "notes": notes(comparison),
        "bases": bases,
    }
    return json.dumps(_finite(whole), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
