"""Pages of comparisons: one file that loads nothing, every point with its value, texts escaped, numbers as computed."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dckd_basicsr.compare import Comparison
from dckd_basicsr.page import (
    comparison_page,
    write_comparison_page,
)
from dckd_basicsr.page.comparison_charts import image_gains
from tests.made_pages import made_comparison, made_pictures
from tests.made_records import made_records, made_sweep
from tests.page_document import Document


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return made_comparison(title="Edges & <script>alert(1)</script> at $x_4$")


@pytest.fixture(scope="module")
def page(comparison: Comparison, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("page") / "report.html"
    write_comparison_page(comparison, file, {"small": made_pictures(comparison)})
    assert file.stat().st_size < 5_000_000
    return file.read_text(encoding="utf-8")


def test_the_page_is_whole_and_loads_nothing(page: str) -> None:
    document = Document(page)
    ids = [attributes["id"] for _, attributes, _ in document.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes, _ in document.found:
        for name in ("src", "href", "srcset", "data", "action"):
            value = attributes.get(name) or "data:"
            assert value.startswith(("data:", "#")), (name, value[:80])
            assert not value.startswith("#") or value[1:] in ids
    used = re.findall(r"url\(#([^)]+)\)", page)
    assert used
    assert set(used) <= set(ids)
    assert "@import" not in page
    assert not re.findall(r"url\((?!#)", page)


def test_texts_are_escaped(page: str) -> None:
    document = Document(page)
    assert document.texts("h1") == ["Edges & <script>alert(1)</script> at $x_4$"]
    assert len(document.all("script")) == 1
    assert "alert" not in document.texts("script")[0]


def test_every_point_says_its_value(page: str, comparison: Comparison) -> None:
    document = Document(page)
    points, titles = document.points, document.labels
    # 3 methods x 5 validations; 2 methods x 19 images; 3 dots of hours, 4 of multiply-adds; l_pix 3 x 3, l_logits 3 x 2
    assert len(points) == 15 + 38 + 3 + 4 + 9 + 6
    first = [run.validations[0]["metrics"]["psnr"] for run in comparison.runs("small", "dckd")]
    low, high = (f"{value:.5g}" for value in (min(first), max(first)))
    assert f"dckd, iteration 200: {sum(first) / 3:.5g} dB, 3 seeds from {low} to {high}" in titles
    assert all(chart["aria-label"] for chart in document.all("svg"))
    # one stop of the Tab key for each line, for all gains and all losses of a method, for each dot
    losses = sum(min(image_gains(comparison, "small", name, "scratch").values()) < 0 for name in ("logits", "dckd"))
    assert sum(point["tabindex"] == "0" for point in points) == 3 + 2 + losses + 7 + 6
    styles = " ".join(attributes.get("style") or "" for _, attributes, _ in document.found)
    assert "var(--s1)" in styles
    assert not re.search("#[0-9a-f]{6}", styles)


def test_tables_have_the_values_and_verdicts(page: str, comparison: Comparison) -> None:
    rows = re.findall(r"<tr>\s*<th scope=\"row\">dckd</th>(.*?)</tr>", page, re.DOTALL)
    cells = [re.sub(r"<[^>]+>", " ", cell).split() for cell in re.findall(r"<td.*?</td>", rows[0], re.DOTALL)]
    row = comparison.row("small", "all", "dckd")
    value, gain = row.values["psnr"], row.gains["scratch"]
    assert cells[0] == ["3"]
    assert cells[1] == [f"{value.mean:.3f}", "(best)", "±", f"{value.spread:.3f}"]
    assert cells[3][0] == f"{gain.difference:+.3f}"
    assert cells[4][0] == "better"
    assert "All 10 runs are finished" in page
    assert Document(page).texts("caption")[:3] == [
        "all test sets together, 19 images",
        "Set5, 5 images",
        "Set14, 14 images",
    ]
    assert "train:dckd_opt:loss_weight" in page
    assert "manual_seed</th>" not in page


def test_missing_runs_and_pictures_are_said(tmp_path: Path) -> None:
    whole = made_comparison(bases=("small", "large"), seeds=(0, 1))
    records = {name: each for name, each in whole.records.items() if name != "made_small_logits_s1"}
    write_comparison_page(Comparison(whole.sweep, records, resamples=50), tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "13 of 14 runs are finished" in text
    assert "<li>EDSR small, logits, seed 1</li>" in text
    assert text.count("there are no pictures") == 2
    assert "range" not in [attributes.get("type") for attributes in Document(text).all("input")]


def test_pictures_take_the_room_that_charts_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = made_comparison(seeds=(0, 1))
    pictures = {"small": made_pictures(whole)}
    write_comparison_page(whole, tmp_path / "all.html", pictures)
    assert "left out" not in (tmp_path / "all.html").read_text(encoding="utf-8")
    monkeypatch.setattr(comparison_page, "_PAGE", (tmp_path / "all.html").stat().st_size // 2)
    write_comparison_page(whole, tmp_path / "half.html", pictures)
    text = (tmp_path / "half.html").read_text(encoding="utf-8")
    left_out = int(re.findall(r"(\d) images? (?:is|are) left out", text)[0])
    assert Document(text).texts("article").count("") == 4 - left_out
    assert 0 < left_out < 4


def test_values_that_are_no_numbers_are_left_out_of_charts(tmp_path: Path) -> None:
    whole = made_comparison(seeds=(0,))
    records = dict(whole.records)
    run = records["made_small_dckd_s0"]
    images = {**run.images, "Set5": {**run.images["Set5"], "set5/00": {"psnr": float("inf"), "ssim": 1.0}}}
    records[run.name] = replace(run, images=images, curve={"iter": [1, 2], "l_pix": [float("nan"), 0.5]})
    write_comparison_page(Comparison(whole.sweep, records, resamples=50), tmp_path / "report.html")
    labels = Document((tmp_path / "report.html").read_text(encoding="utf-8")).labels
    assert sum("dB" in label and label.startswith("Set5/set5/00") for label in labels) == 1  # logits alone
    assert "dckd, iteration 2: 0.5" in labels
    assert "dckd, iteration 1: nan" not in labels


def test_a_page_without_curves_and_baselines_says_so(tmp_path: Path) -> None:
    sweep = made_sweep(("one", "two"), seeds=(0,))
    records = {n: replace(r, curve={}) for n, r in made_records(sweep).items()}
    write_comparison_page(Comparison(sweep, records, resamples=20), tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "no difference is judged" in text
    assert "#losses" not in text
    assert ">There are no pictures" in text


def test_nothing_of_pyplot_and_no_page_without_one() -> None:
    code = (
        "import sys, dckd_basicsr; assert 'matplotlib' not in sys.modules and 'dckd_basicsr.page' not in sys.modules;"
        "import dckd_basicsr.page; assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)
