"""Plain-text tables for the terminal; the same rows as Markdown for documents."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["markdown_table"]


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned Markdown: readable in a terminal, rendered in a document.

    >>> print(markdown_table(["net", "dB"], [["EDSR", "31.62"]]))
    | net  | dB    |
    |------|-------|
    | EDSR | 31.62 |
    """
    widths = [max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(str(cell).ljust(width) for cell, width in zip(cells, widths)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([line(header), rule, *(line(row) for row in rows)])
