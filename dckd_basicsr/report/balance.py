"""The tables from which one chooses the weights of loss terms."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from .gradients import Gradients
from .table import markdown_table

__all__ = ["balance_tables"]


def balance_tables(found: Gradients, weights: Mapping[str, float], reference: str) -> str:
    """Return two tables, Markdown: what each term brings, and how the terms' gradients lie to each other.

    Args:
        found: what was measured.
        weights: of the terms, as the option file has them at that point of the run.
        reference: the term with whose gradient the others are compared.

    A mean over batches is followed by its spread, the standard deviation between batches, if there are several.
    """
    return f"{_terms(found, weights, reference)}\n\n{_cosines(found)}"


def _terms(found: Gradients, weights: Mapping[str, float], reference: str) -> str:
    values, norms = found.values.mean(0).tolist(), found.norms.mean(0).tolist()
    measure = norms[found.names.index(reference)]
    rows = []
    for i, name in enumerate(found.names):
        cells = [name, "-", _figure(values[i]), "-", _with_spread(found.norms[:, i]), "-", "-"]
        if name in weights:
            cells[1] = _figure(weights[name])
            cells[3] = f"{100 * values[i] / values[-1]:.1f} %" if values[-1] else "-"
        if measure > 0:
            cells[5] = _figure(norms[i] / measure)
        if name in weights and norms[i] > 0:
            cells[6] = _figure(weights[name] * measure / norms[i])
        rows.append(cells)
    header = ["term", "weight", "value", "share of total", "gradient", f"ratio to {reference}", "equal at weight"]
    return markdown_table(header, rows)


def _cosines(found: Gradients) -> str:
    rows = [
        [name, *("1" if i == j else _with_spread(found.cosines[:, i, j], fixed=True) for j in range(len(found.names)))]
        for i, name in enumerate(found.names)
    ]
    return markdown_table(["cosine", *found.names], rows)


def _with_spread(values: Tensor, fixed: bool = False) -> str:
    """Mean and standard deviation of (N,); ``fixed`` for numbers within [-1, 1]."""
    mean, write = values.mean().item(), _cosine if fixed else _figure
    return f"{write(mean)} ± {write(values.std().item())}" if len(values) > 1 and not math.isnan(mean) else write(mean)


def _figure(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"


def _cosine(value: float) -> str:
    return "-" if math.isnan(value) else f"{round(value, 3) + 0.0:.3f}"
