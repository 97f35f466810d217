"""Charts: every point with its name, labels as text, and figures for papers."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import matplotlib
import pytest

from dckd_basicsr.compare import Comparison
from dckd_basicsr.page import (
    write_comparison_page,
    write_figures,
)
from dckd_basicsr.page.charts import Line, curve_chart, gain_chart, seed_line
from dckd_basicsr.page.comparison_charts import gain_charts, image_gains, validation_charts
from dckd_basicsr.page.comparison_tables import wins_table
from tests.made_pages import made_comparison
from tests.made_records import made_records, made_sweep
from tests.page_document import Document


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return made_comparison(seeds=(0, 1))


def test_seeds_become_a_line_with_a_band() -> None:
    line = seed_line("m", 2, [{10: 1.0, 20: 4.0}, {10: 2.0, 20: float("nan")}])
    assert line is not None
    assert (line.x, line.y, line.low, line.high) == ([10, 20], [1.5, 4.0], [1.0, 4.0], [2.0, 4.0])
    assert line.names == ["m, iteration 10: 1.5, 2 seeds from 1 to 2", "m, iteration 20: 4"]
    assert seed_line("m", 0, [{1: float("inf")}]) is None
    single = seed_line("m", 0, [{1: 3.0}])
    assert single is not None
    assert single.low is None


def test_labels_of_other_alphabets_and_of_markup_are_text(tmp_path: Path) -> None:
    lines = [
        Line(f"<b>$\\alpha{i}$ 蒸馏 & a very long name", [1, 2], [i, i], None, None, i, ["a", "b"]) for i in (0, 1)
    ]
    chart = curve_chart(lines, "t", "d", "iteration", "PSNR")
    texts = Document(f"<html>{chart.markup('p')}</html>").texts("text")
    assert "<b>$\\alpha0…ong name" in texts
    chart.write(tmp_path / "a.pdf")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")


def test_of_many_methods_the_baselines_and_the_best_stand_out(tmp_path: Path) -> None:
    names = ["scratch", "logits", *(f"m{i}" for i in range(13))]
    sweep = made_sweep(names, (0, 1), ("small", "large"))
    gains = {f"m{i}": 0.1 * i for i in range(13)}
    comparison = Comparison(sweep, made_records(sweep, gains, sets={"Set5": 100, "B100": 120}), resamples=20)
    chart = validation_charts(comparison, "large")[0]
    document = Document(f"<html>{chart.markup('p')}</html>")
    labels = [text for text in document.texts("text") if text in names]
    assert sorted(labels) == sorted(["scratch", "logits", "m12", "m11", "m10", "m9"])
    assert "the other 9 are grey" in chart.description
    assert len(document.points) == 15 * 5  # those in grey have their names under the pointer
    write_comparison_page(comparison, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.count("Charts of the best 11 of 14 methods") == 2
    assert not re.findall("m0 less scratch", text)


def test_where_lower_is_better_a_gain_says_what_it_is(tmp_path: Path) -> None:
    whole = made_comparison(seeds=(0,))
    lower = {"val": {"metrics": {"psnr": {"better": "lower"}}}}
    records = {n: replace(r, options={**r.options, **lower}) for n, r in whole.records.items()}
    comparison = Comparison(whole.sweep, records, resamples=20)
    gains = {"dckd": image_gains(comparison, "small", "dckd", "scratch")}
    assert max(gains["dckd"].values()) < 0
    assert gain_charts(comparison, "small", gains, "scratch")[0].title == "scratch less dckd"
    assert "lower, which is better" in wins_table(comparison, "small", gains, "scratch").notes[0]


def test_a_style_of_the_user_changes_nothing() -> None:
    gains = {"a": 0.1, "b": -0.2}
    plain = gain_chart(gains, "t", "d").markup("p")
    theirs = {"text.usetex": True, "axes.facecolor": "pink", "svg.fonttype": "path", "axes.spines.bottom": False}
    with matplotlib.rc_context(theirs):
        assert gain_chart(gains, "t", "d").markup("p") == plain
        assert matplotlib.rcParams["axes.facecolor"] == "pink"


def test_a_name_for_each_point_or_none() -> None:
    chart = gain_chart({"a": 0.1, "b": -0.2}, "t", "d")
    with pytest.raises(ValueError, match="group 'bar-gain' has 1 points, and 2 names"):
        replace(chart, names={"bar-gain": ["one", "two"]}).markup("p")


def test_figures_for_papers(comparison: Comparison, tmp_path: Path) -> None:
    files = write_figures(comparison, tmp_path)
    names = sorted(file.name for file in files)
    assert names == sorted(f"{n}.{k}" for n in ("curves", "gains", "cost", "cost_2") for k in ("svg", "pdf"))
    first = (tmp_path / "curves.svg").read_text(encoding="utf-8")
    assert "#0072b2" in first
    assert "var(" not in first
    write_figures(comparison, tmp_path)
    assert (tmp_path / "curves.svg").read_text(encoding="utf-8") == first  # no date, no random ids
