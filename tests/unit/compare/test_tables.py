"""Tables of a comparison: what is marked, what is printed, and that LaTeX takes it."""

from __future__ import annotations

import csv
import json
import math
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from dckd_basicsr.compare import Comparison, Variant, load_sweep, marks, write_tables
from dckd_basicsr.compare.latex import escaped, latex_table
from dckd_basicsr.compare.sweep import packaged_sweeps
from dckd_basicsr.compare.tables import as_markdown, csv_name
from tests.made_records import made_records, made_sweep

NASTY = r'[a] 50% & _x_ #1 $~^\{}|<> "q" α ± b*'


def comparison_of(*means: float, teacher: float = 40.0, better: str = "higher") -> Comparison:
    """One image; a student of each mean, and a teacher."""
    sweep = made_sweep([f"v{i}" for i in range(len(means))], seeds=(0,))
    levels = {**{f"v{i}": mean for i, mean in enumerate(means)}, "teacher": teacher}
    options = {"val": {"metrics": {"psnr": {"better": better}}}}
    records = {
        name: replace(record, images={"A": {"i": {"psnr": levels[record.variant]}}}, options=options)
        for name, record in made_records(sweep).items()
    }
    return Comparison(sweep, records)


@pytest.mark.parametrize(
    ("means", "better", "expected"),
    [
        ((30.0, 31.0, 32.0), "higher", {"v2": "best", "v1": "second"}),
        ((30.0, 31.0, 32.0), "lower", {"v0": "best", "v1": "second"}),
        ((31.996, 32.004, 31.0, 30.0), "higher", {"v0": "best", "v1": "best", "v2": "second"}),  # both print 32.00
        ((32.0, 31.001, 30.999, 30.0), "higher", {"v0": "best", "v1": "second", "v2": "second"}),
        ((31.0, 32.0), "higher", {"v1": "best"}),
        ((31.999, 32.001, 32.0), "higher", {}),
        ((32.0,), "higher", {}),
        ((math.inf, 31.0, math.nan), "higher", {"v0": "best"}),
    ],
)
def test_marks_follow_what_is_printed(means: tuple[float, ...], better: str, expected: dict[str, str]) -> None:
    assert marks(comparison_of(*means, better=better), "small", "A", "psnr") == expected


def test_files(tmp_path: Path) -> None:
    sweep = made_sweep(bases=("small", "large"))
    records = made_records(sweep, {"dckd": 0.1})
    del records["made_large_dckd_s2"]
    comparison = Comparison(sweep, records)
    files = write_tables(comparison, tmp_path / "tables")
    assert [file.name for file in files] == [
        "comparison.md",
        "comparison.json",
        "results-made-cpu-torch2.14.1.csv",
        "table-small.tex",
        "table-large.tex",
    ]
    assert sorted(files) == sorted((tmp_path / "tables").iterdir())

    told = json.loads(files[1].read_text(encoding="utf-8"))
    assert (told["differences"], told["missing"]) == (18, [["large", "dckd", 2]])
    row = told["bases"]["small"]["datasets"]["all"]["rows"][-1]
    verdict = comparison.verdict("small", "all", "dckd", "logits", "ssim")
    assert row["gains"]["logits"]["ssim"]["seeds"]["p_value"] == verdict.seeds.p_value
    assert row["gains"]["scratch"]["psnr"]["word"] == "better"

    rows = list(csv.DictReader(files[2].open(encoding="utf-8")))
    assert [(row["base"], row["model"], row["seeds"]) for row in rows] == [
        (base, model, str(seeds))
        for base in ("small", "large")
        for model, seeds in zip(("teacher", "scratch", "logits", "dckd"), (0, 3, 3, 3 if base == "small" else 2))
    ]
    mean = comparison.row("large", "Set14", "dckd").values["ssim"].mean
    assert float(rows[-1]["Set14_ssim"]) == pytest.approx(mean, abs=1e-6)
    assert (rows[0]["Set5_psnr_sd"], rows[0]["parameters"]) == ("", "160000")

    text = files[0].read_text(encoding="utf-8")
    assert "not corrected for the number of comparisons (18 here)" in text
    assert "Not there yet: 1 of 20 runs (large dckd seed 2)" in text
    assert "device CPU, 2 cores" in text
    assert "5 images can never reach p < 0.05" in text


def test_a_row_as_it_is_printed() -> None:
    sweep = made_sweep(("scratch", "dckd"), seeds=(0, 1))
    records = made_records(sweep)
    levels = {("scratch", 0): 30.0, ("scratch", 1): 30.2, ("dckd", 0): 31.0, ("dckd", 1): 31.2, ("teacher", None): 40}
    for name, record in records.items():
        level = levels[record.variant, record.seed]
        records[name] = replace(record, images={"A": {f"i{i}": {"psnr": level * (1 + i / 1e6)} for i in range(6)}})
    text = as_markdown(Comparison(sweep, records))
    # 2 / 2^6, and as in test_seed_test_by_hand: variances 0.02, t^2 = 1 / 0.02, p = 1 - sqrt(50 / 52)
    assert "| dckd    | 31.100 ± 0.141 | 2     | +1.000 [+1.000, +1.000] | 0.0312 / 0.0194  | better       |" in text
    assert "| dckd    | **31.10**    | 160,000 " in text


def test_the_environment_in_the_name() -> None:
    sweep = made_sweep()
    records = made_records(sweep)
    first = records["made_small_dckd_s0"]
    gpu = {"device": "NVIDIA H100 80GB, 1 of 8", "torch": "2.14.1+cu130", "precision": "bf16"}
    alone = {name: replace(record, environment=gpu) for name, record in records.items()}
    assert csv_name(Comparison(sweep, alone)) == "results-made-nvidia-h100-80gb-torch2.14.1+cu130-bf16.csv"
    records[first.name] = replace(first, environment={**first.environment, "device": "GPU"})
    assert csv_name(Comparison(sweep, records)) == "results-made-mixed-torch2.14.1.csv"


def test_nothing_there_yet(tmp_path: Path) -> None:
    files = write_tables(Comparison(made_sweep(), {}), tmp_path)
    assert [file.name for file in files] == ["comparison.md", "comparison.json", "results-made.csv"]
    assert "Not there yet: 10 of 10 runs" in files[0].read_text(encoding="utf-8")


def test_a_value_that_is_infinite(tmp_path: Path) -> None:
    text = write_tables(comparison_of(math.inf, 30.0), tmp_path)[1].read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=pytest.fail)["sweep"] == "made"


def test_escaped_by_hand() -> None:
    assert escaped("a_b & 5 %\n {x}") == r"a\_b \& 5 \% \{x\}"
    assert escaped("\\~^") == r"\textbackslash{}\textasciitilde{}\textasciicircum{}"
    assert escaped("α→μ ω") == r"$\alpha$$\rightarrow$$\mu$ $\omega$"


def test_latex_by_hand() -> None:
    lines = latex_table(comparison_of(30.0, 31.0, 32.0), "small").splitlines()
    assert r"{teacher} & 0.16 & 40.00 \\" in lines
    assert r"{v1} & 0.16 & \underline{31.00} \\" in lines
    assert r"{v2} & 0.16 & \textbf{32.00} \\" in lines
    sweep = made_sweep()
    signed = latex_table(Comparison(sweep, made_records(sweep, {"logits": -0.5, "dckd": 0.5})), "small")
    assert signed.count("$^{+}$/") == signed.count("}$^{+}$/") == 2  # Set14 and all; Set5 is too small
    assert signed.count("$^{-}$/") == 2


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")
def test_latex_compiles(tmp_path: Path) -> None:
    sets = {"Set5": 5, "Set14": 14, "BSD100": 100, "Urban_100": 100}
    sweep = made_sweep(bases=("small", "large"))
    sweep = replace(sweep, title=NASTY, variants={name: Variant(title=NASTY + name) for name in sweep.variants})
    files = write_tables(Comparison(sweep, made_records(sweep, {"dckd": 0.1}, sets=sets)), tmp_path)
    compile_tables(files, tmp_path)


def test_the_papers_table_comes_from_its_sweep(tmp_path: Path) -> None:
    sweep = load_sweep(packaged_sweeps()["table2_swinir"])
    sets = {"Set5": 5, "Set14": 14, "BSD100": 100, "Urban100": 100}
    files = write_tables(Comparison(sweep, made_records(sweep, {"dckd": 0.1}, sets=sets)), tmp_path)
    tables = {file.name: file.read_text() for file in files if file.suffix == ".tex"}
    assert list(tables) == ["table-x2.tex", "table-x3.tex", "table-x4.tex"]
    rows = {
        name: [line.split("&")[0].strip(" {}") for line in text.splitlines() if "&" in line]
        for name, text in tables.items()
    }
    assert rows["table-x2.tex"][1:] == ["teacher", "Scratch", "Logits", "FAKD", "MiPKD (approximate)", "DCKD"]
    assert rows["table-x4.tex"][1:] == [*rows["table-x2.tex"][1:], "DCKD*"]
    if shutil.which("pdflatex"):
        compile_tables(files, tmp_path)


def compile_tables(files: list[Path], folder: Path) -> None:
    tables = "".join(f"\\input{{{file.name}}}\n" for file in files if file.suffix == ".tex")
    (folder / "paper.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}\n" + tables + "\\end{document}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    assert (folder / "paper.pdf").stat().st_size > 0
