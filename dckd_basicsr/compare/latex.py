r"""A base's table for a paper: ``\input`` it, after ``\usepackage{booktabs,graphicx}``."""

from __future__ import annotations

import re

from .cells import heading, marks, notes, shown
from .comparison import ALL, Comparison, Row
from .record import TEACHER

__all__ = ["escaped", "latex_table"]

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": "$-$",
    "→": r"$\rightarrow$",
} | {each: "\\" + each for each in "&%$#_{}"}
_GREEK = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi - pi rho - sigma tau upsilon phi "
_GREEK += "chi psi omega"
_SPECIAL |= {chr(0x3B1 + i): f"$\\{name}$" for i, name in enumerate(_GREEK.split()) if name != "-"}
_ORDER = (
    "Best values are bold, second ones underlined, of the students and as printed; "
    "this alone says nothing about whether a difference is one."
)
_SIGNS = {"better": "$^{+}$", "worse": "$^{-}$"}


def escaped(text: str) -> str:
    """Return plain text so that LaTeX prints it: its special characters, lower-case Greek letters, some signs.

    Letters of other scripts stay as they are; pdflatex then asks for a package.
    """
    return re.sub(r"\s+", " ", "".join(_SPECIAL.get(each, each) for each in text)).strip()


def latex_table(comparison: Comparison, base: str) -> str:
    """Return a complete ``table`` environment: methods as rows, test sets as columns, ``PSNR/SSIM`` in the cells.

    The best value of a column is bold, the second underlined, of the students only and as printed. A sign at the first
    metric says what may be said about the difference to the first reference. A table wider than the text is shrunk.
    """
    datasets, references = comparison.datasets(base), comparison.references(base)
    tables = {name: {row.variant: row for row in comparison.rows(base, name)} for name in datasets}
    rows = [  # titles in braces: a "[" at a row's start would be read as an argument of the row before
        " & ".join(
            ["{" + escaped(row.title) + "}", f"{row.cost.parameters / 1e6:.2f}"]
            + [_cell(comparison, tables[name][variant]) for name in datasets]
        )
        + r" \\"
        for variant, row in tables[datasets[0]].items()
    ]
    if comparison.runs(base, TEACHER) and len(rows) > 1:
        rows.insert(1, r"\midrule")
    metrics = "/".join(heading(name) for name in comparison.metrics(base, datasets[0]))
    names = ["all" if name == ALL else name for name in datasets]
    below = escaped(" ".join([*notes(comparison, gains=False), _ORDER]))
    if references:
        below += rf" $^{{+}}$ and $^{{-}}$: better and worse than {escaped(comparison.sweep.title_of(references[0]))}."
    title = escaped(f"{comparison.sweep.heading}: {comparison.sweep.base_title(base)}")
    lines = [
        r"% needs \usepackage{booktabs,graphicx}",
        r"\begin{table}",
        r"\centering\small\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{title}, {escaped(metrics)}}}",
        rf"\label{{tab:{comparison.sweep.name}-{base}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{lr{'c' * len(datasets)}}}",
        r"\toprule",
        " & ".join(["method", "params (M)", *map(escaped, names)]) + r" \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}}",
        rf"\par\medskip\parbox{{\linewidth}}{{\footnotesize {below}}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _cell(comparison: Comparison, row: Row) -> str:
    parts = []
    for metric, value in row.values.items():
        mark = marks(comparison, row.base, row.dataset, metric).get(row.variant)
        text = shown(metric, value.mean)
        parts.append({"best": rf"\textbf{{{text}}}", "second": rf"\underline{{{text}}}"}.get(mark or "", text))
    for name in comparison.references(row.base)[:1]:
        parts[0] += _SIGNS.get(row.gains[name].word, "") if name in row.gains else ""
    return "/".join(parts)
