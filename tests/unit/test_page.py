"""Pages: one file that loads nothing, every point of a chart with its value, texts escaped, numbers as computed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import pytest

from dckd_basicsr.compare import Comparison, Cost
from dckd_basicsr.compare.cells import marks
from dckd_basicsr.errors import DatasetError
from dckd_basicsr.page import (
    comparison_page,
    write_comparison_page,
    write_figures,
    write_run_page,
    write_runs_page,
)
from dckd_basicsr.page.charts import Line, curve_chart, gain_chart, seed_line
from dckd_basicsr.page.comparison_charts import gain_charts, image_gains, validation_charts
from dckd_basicsr.page.comparison_tables import cost_table, ranked, result_table, wins_table
from dckd_basicsr.page.run_files import thinned
from dckd_basicsr.page.tables import best_of
from tests.made_pages import made_comparison, made_pictures
from tests.made_records import made_records, made_sweep

VOID = {"meta", "link", "img", "input", "br", "path", "use"}


class Document(HTMLParser):
    """A page's elements: tag, attributes, text directly inside; checks that what is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.open: list[int] = []
        self.feed(text)
        assert not self.open, [self.found[i][0] for i in self.open]

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs), []))
        if tag not in VOID or (tag in ("path", "use") and self.get_starttag_text()[-2:] != "/>"):
            self.open.append(len(self.found) - 1)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs), []))

    def handle_endtag(self, tag):
        assert self.found[self.open.pop()][0] == tag

    def handle_data(self, data):
        if self.open:
            self.found[self.open[-1]][2].append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes, _ in self.found if name == tag]

    def texts(self, tag: str) -> list[str]:
        return ["".join(text).strip() for name, _, text in self.found if name == tag]

    @property
    def labels(self) -> list[str]:
        """Names of all points; the first title is the page's own."""
        found = self.texts("title")[1:]
        assert len(found) == len(self.points)
        assert all(found)
        return found

    @property
    def points(self) -> list[dict[str, str | None]]:
        return [attributes for _, attributes, _ in self.found if attributes.get("class") == "point"]


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


def test_seeds_become_a_line_with_a_band() -> None:
    line = seed_line("m", 2, [{10: 1.0, 20: 4.0}, {10: 2.0, 20: float("nan")}])
    assert line is not None
    assert (line.x, line.y, line.low, line.high) == ([10, 20], [1.5, 4.0], [1.0, 4.0], [2.0, 4.0])
    assert line.names == ["m, iteration 10: 1.5, 2 seeds from 1 to 2", "m, iteration 20: 4"]
    assert seed_line("m", 0, [{1: float("inf")}]) is None
    single = seed_line("m", 0, [{1: 3.0}])
    assert single is not None
    assert single.low is None


def test_curves_are_thinned_to_means() -> None:
    lines = [{"iter": i, "l_pix": float(i), "l_rare": 1.0 if i == 3 else None} for i in range(1, 8)]
    found = thinned(lines, points=3)
    assert found == {"iter": [3, 6, 7], "l_pix": [2, 5, 7], "l_rare": [1, None, None]}
    assert thinned(lines[:2], points=3)["l_pix"] == [1, 2]
    assert thinned([]) == {}


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


def test_the_best_is_that_of_the_tables_for_papers() -> None:
    sweep = made_sweep(("scratch", "logits", "dckd", "far"), seeds=(0,))
    records = made_records(sweep, sets={"Set5": 1}, noise=0)
    values = {"scratch": 28.9214, "logits": 28.9236, "dckd": 28.9199, "far": 28.5, "teacher": 30.0}
    for name, each in records.items():
        image = {"psnr": values[each.variant], "ssim": 0.8, "lpips": values[each.variant] / 100}
        lower = {**each.options, "val": {"metrics": {"lpips": {"better": "lower"}}}}
        records[name] = replace(each, images={"Set5": {"a": image}}, options=lower)
    comparison = Comparison(sweep, records, resamples=20)
    table = result_table(comparison, "small", "Set5")
    best = {heading.text: [row[0].text for row in table.rows if row[i].best] for i, heading in enumerate(table.header)}
    for metric, shown, expected in (
        ("psnr", "PSNR (dB)", ["scratch", "logits", "dckd"]),  # 28.92 all three
        ("ssim", "SSIM", []),
        ("lpips", "LPIPS", ["far"]),
    ):
        found = marks(comparison, "small", "Set5", metric)
        assert best[shown] == [name for name, mark in found.items() if mark == "best"] == expected


def test_shares_of_teachers_and_of_frozen_networks() -> None:
    whole = made_comparison(seeds=(0, 1))
    cost = Cost(160_000, 9.5e9, 0.1, 0.03, teacher_share=0.25, frozen_share=0.93)
    records = {n: replace(r, cost=cost) if r.seed is not None else r for n, r in whole.records.items()}
    table = cost_table(Comparison(whole.sweep, records, resamples=20), "small")
    shares = dict(zip([cell.text for cell in table.header], [cell.text for cell in table.rows[1]], strict=True))
    assert shares["teachers' share"] == "25 %"
    assert shares["frozen networks' share"] == "93 %"


def test_a_run_whose_value_is_no_number_is_not_the_best() -> None:
    whole = made_comparison(seeds=(0,))
    run = whole.records["made_small_logits_s0"]
    images = {**run.images, "Set5": {**run.images["Set5"], "set5/00": {"psnr": float("nan"), "ssim": 0.5}}}
    records = {**whole.records, run.name: replace(run, images=images)}
    assert ranked(Comparison(whole.sweep, records, resamples=20), "small") == ["dckd", "scratch", "logits"]


def test_where_lower_is_better_a_gain_says_what_it_is(tmp_path: Path) -> None:
    whole = made_comparison(seeds=(0,))
    lower = {"val": {"metrics": {"psnr": {"better": "lower"}}}}
    records = {n: replace(r, options={**r.options, **lower}) for n, r in whole.records.items()}
    comparison = Comparison(whole.sweep, records, resamples=20)
    gains = {"dckd": image_gains(comparison, "small", "dckd", "scratch")}
    assert max(gains["dckd"].values()) < 0
    assert gain_charts(comparison, "small", gains, "scratch")[0].title == "scratch less dckd"
    assert "lower, which is better" in wins_table(comparison, "small", gains, "scratch").notes[0]


def test_a_page_without_curves_and_baselines_says_so(tmp_path: Path) -> None:
    sweep = made_sweep(("one", "two"), seeds=(0,))
    records = {n: replace(r, curve={}) for n, r in made_records(sweep).items()}
    write_comparison_page(Comparison(sweep, records, resamples=20), tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "no difference is judged" in text
    assert "#losses" not in text
    assert ">There are no pictures" in text


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


def test_the_best_of_one_is_none() -> None:
    assert best_of([1.0, None]) is None
    assert best_of([1.0, 2.0, float("nan")]) == 2.0
    assert best_of([1.0, 2.0], higher=False) == 1.0


def test_figures_for_papers(comparison: Comparison, tmp_path: Path) -> None:
    files = write_figures(comparison, tmp_path)
    names = sorted(file.name for file in files)
    assert names == sorted(f"{n}.{k}" for n in ("curves", "gains", "cost", "cost_2") for k in ("svg", "pdf"))
    first = (tmp_path / "curves.svg").read_text(encoding="utf-8")
    assert "#0072b2" in first
    assert "var(" not in first
    write_figures(comparison, tmp_path)
    assert (tmp_path / "curves.svg").read_text(encoding="utf-8") == first  # no date, no random ids


def write_run(folder: Path, name: str, shift: float = 0.0) -> Path:
    """A folder as a training leaves it, without weights."""
    run = folder / name
    run.mkdir(parents=True)
    better = "{psnr: {type: x}, lpips: {type: y, better: lower}}"
    (run / "options.yml").write_text(
        f"name: {name}\nmodel_type: DCKDModel\nscale: 4\nnetwork_g: {{type: EDSR}}\ntrain: {{total_iter: 40}}\n"
        f"val: {{metrics: {better}}}\n"
    )
    values = [{"psnr": 20 + i / 10 + shift, "lpips": 0.5 - i / 100 + shift} for i in (3, 1)]
    entries = [{"iteration": i, "dataset": "Set5", "metrics": v} for i, v in zip((20, 40), values, strict=True)]
    (run / "validations.json").write_text(json.dumps(entries))
    (run / "curve.jsonl").write_text("".join(json.dumps({"iter": i, "epoch": 0, "lr": 1e-3, "l_pix": 1 / i}) + "\n"
                                             for i in (10, 20, 30, 40)) + '{"iter": 50, "l_')  # fmt: skip
    (run / f"train_{name}.log").write_text("2026-01-02 03:04:05,678 INFO: \nVersion Information: \n\tBasicSR: 1.4.2\n")
    return run


def test_a_run_alone(tmp_path: Path) -> None:
    run = write_run(tmp_path, "mine")
    write_run_page(run, run / "report.html")
    text = (run / "report.html").read_text(encoding="utf-8")
    document = Document(text)
    rows = re.findall(r"<tr>\s*<th scope=\"row\">mine</th>(.*?)</tr>", text, re.DOTALL)
    cells = [re.sub(r"<[^>]+>", " ", cell).split() for cell in re.findall(r"<td.*?</td>", rows[0], re.DOTALL)]
    assert cells == [["40"], ["20.100"], ["20.300", "at", "20"], ["0.4900"], ["0.4700", "at", "20"]]
    assert document.labels[-4:] == [
        f"mine, iteration {i}: {v}" for i, v in ((10, "0.1"), (20, "0.05"), (30, "0.033333"), (40, "0.025"))
    ]
    assert "40 of 40" in document.texts("dd")
    assert "2026-01-02 03:04" in document.texts("dd")
    assert f"basicsr train -opt {run}/options.yml" in text
    (tmp_path / "experiments").mkdir()
    moved = run.rename(tmp_path / "experiments/mine")
    (moved / "options_20260103_000000.yml").write_text("name: mine\ntrain: {total_iter: 80}\n")
    (moved / "options_of_mine.yml").write_text("name: no\n")
    write_run_page(moved, tmp_path / "moved.html")
    document = Document((tmp_path / "moved.html").read_text(encoding="utf-8"))
    assert "40 of 80" in document.texts("dd")
    assert document.texts("summary") == ["mine", "mine, resumed with options_20260103_000000.yml"]
    assert "basicsr train -opt experiments/mine/options.yml" in document.texts("pre")


def test_runs_beside_each_other(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "a", "one"), write_run(tmp_path / "b", "one", 0.05)]
    write_runs_page(runs, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    best = re.findall(r'<td class="num best">.*?class="value">([\d.]+)<', text)
    assert sorted(best) == ["0.4900", "20.150"]
    assert {"one (1)", "one (2)"} <= set(Document(text).texts("text"))


def test_a_run_that_has_not_validated_and_one_that_is_none(tmp_path: Path) -> None:
    run = write_run(tmp_path, "early")
    for name in ("validations.json", "curve.jsonl"):
        (run / name).unlink()
    write_run_page(run, tmp_path / "early.html")
    assert "No validation is recorded here" in (tmp_path / "early.html").read_text(encoding="utf-8")
    with pytest.raises(DatasetError, match=r"is no folder of a run: it holds no options\.yml"):
        write_run_page(tmp_path, tmp_path / "none.html")
    values = '{"iteration": 20, "dataset": "S", "metrics": {"psnr": %s}}'
    entries = ", ".join((values % "NaN", values.replace("20", "30") % "null", values.replace("20", "40") % "31.5"))
    (run / "validations.json").write_text(f"[{entries}]")
    write_run_page(run, tmp_path / "nan.html")
    assert ">31.500</span><small>at 40<" in (tmp_path / "nan.html").read_text(encoding="utf-8")
    (run / "validations.json").write_text('[{"iteration": 1}]')
    with pytest.raises(DatasetError, match=r"validations\.json' is damaged \(KeyError: 'dataset'\)"):
        write_run_page(run, tmp_path / "none.html")
    assert not (tmp_path / "none.html").exists()


def test_nothing_of_pyplot_and_no_page_without_one() -> None:
    code = (
        "import sys, dckd_basicsr; assert 'matplotlib' not in sys.modules and 'dckd_basicsr.page' not in sys.modules;"
        "import dckd_basicsr.page; assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)
