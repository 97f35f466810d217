"""``basicsr report`` on what trainings leave, and the page that a training writes when it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

import dckd_basicsr.page
from dckd_basicsr.cli import main
from dckd_basicsr.compare import read_records
from tests.browser import Page, browser
from tests.e2e.given.layouts import Job
from tests.made_pages import made_comparison, made_pictures
from tests.made_records import write_all

SHORT = ("--force_yml", "train:total_iter=2", "val:val_freq=1", "val:save_img=true")
SWEEP = """
name: made
bases: {small: {train: dckd_x4_edsr.yml, test: test_x4_edsr.yml}}
variants: {scratch: {with: [scratch]}, logits: {with: [logits]}, dckd: {title: "<script>", with: [dckd]}}
seeds: [0, 1]
"""


def test_a_training_ends_with_its_page(job: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    options = yaml.safe_load((job / "job.yml").read_text())
    assert options["logger"].pop("report") is False  # nothing said is true
    (job / "job.yml").write_text(yaml.safe_dump(options))
    here = Job(job, monkeypatch)
    said = here.basicsr("train", "-opt", "job.yml", *SHORT)
    page = job / "experiments/tiny/report.html"
    assert f"Report: {page}" in said
    first = page.read_text(encoding="utf-8")
    for text in ("l_contrast", "held_out/photo0", "iteration 1", "2 of 2", "Validation on held_out"):
        assert text in first
    capsys.readouterr()
    assert main(["report", "tiny"]) == 0
    assert capsys.readouterr().out == "experiments/tiny/report.html\n"
    assert page.read_text(encoding="utf-8") == first

    here.basicsr("train", "-opt", "job.yml", *SHORT, "name=quiet", "logger:report=false")
    assert not (job / "experiments/quiet/report.html").exists()
    assert main(["report", "experiments/quiet", "tiny", "--out", "both.html"]) == 0
    assert "quiet" in (job / "both.html").read_text(encoding="utf-8")

    def broken(run: Path, file: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dckd_basicsr.page, "write_run_page", broken)
    said = here.basicsr("train", "-opt", "job.yml", *SHORT, "name=full")
    assert "The page of this run was not written: OSError: [Errno 28] No space left on device." in said
    assert (job / "experiments/full/models/net_g_latest.pth").is_file()


def test_a_comparison_and_what_is_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "comparisons/made"
    write_all(made_comparison(seeds=(0, 1)).records, folder)
    assert len(read_records(folder / "records")) == 7
    (folder / "sweep.yml").write_text(SWEEP)
    assert main(["report", "made"]) == 0
    out, noted = capsys.readouterr()
    assert out == "comparisons/made/report.html\n"
    assert "note: small: no pictures" in noted  # no test set is here
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "All 7 runs are finished" in text
    assert "&lt;script&gt;" in text

    def fussy(*arguments: object) -> None:
        raise AssertionError("lq and gt datasets have different number of images")

    monkeypatch.setattr("dckd_basicsr.page.sweep_page.comparison_pictures", fussy)
    assert main(["report", str(folder), "--out", "else.html"]) == 0
    assert "no pictures: AssertionError: lq and gt datasets" in capsys.readouterr().err
    assert (tmp_path / "else.html").is_file()
    (tmp_path / "experiments/tiny").mkdir(parents=True)
    (tmp_path / "experiments/tiny/options.yml").write_text("name: tiny\n")
    (tmp_path / "experiments/stock").mkdir()
    (tmp_path / "mine.yml").write_text(SWEEP.replace("name: made", "name: empty"))
    capsys.readouterr()
    for arguments, message in (
        (["tinny"], "'tinny' is no run of experiments/, and no comparison; did you mean 'tiny'?"),
        (["tiny", "made"], "'made' is no folder or name of a run, and a page shows either runs or one comparison"),
        (["."], "'.' holds neither options.yml, which `basicsr train` writes into the folder of a run (BasicSR's own"),
        (["stock"], "'experiments/stock' holds neither options.yml, which `basicsr train` writes"),
        (["mine.yml"], "sweep 'empty' has no finished run in 'comparisons/empty/records'; make them: basicsr compare"),
    ):
        assert main(["report", *arguments]) == 1
        assert message in capsys.readouterr().err


def test_pages_in_a_browser(tmp_path: Path) -> None:
    command = browser()
    comparison = made_comparison(title="A long title of a comparison with/a/path/in/it_that_cannot_be_broken_anywhere")
    file = tmp_path / "report.html"
    dckd_basicsr.page.write_comparison_page(comparison, file, {"small": made_pictures(comparison)})
    page = Page(command, tmp_path / "profile")
    try:
        papers = []
        for width, dark in ((390, False), (390, True), (1280, False)):
            page.open(file, width, dark)
            assert page.run("innerWidth") == width
            assert page.run("document.documentElement.scrollWidth") <= width
            papers.append(page.run("getComputedStyle(document.body).backgroundColor"))
            assert page.said == []
            assert [url for url in page.loaded if not url.startswith(("data:", file.as_uri()))] == []
        assert papers[0] == papers[2] != papers[1]

        def focused(what: str) -> str:
            return page.run(f"document.activeElement.{what} || ''")

        page.press("Tab")
        assert focused("textContent") == "Skip to the content"
        stops = []
        while focused("type") != "range" and len(stops) < 200:
            page.press("Tab")
            stops.append(page.run("document.activeElement.getAttribute('aria-label')"))
        assert focused("type") == "range"
        page.press("ArrowRight")
        at = "document.activeElement.parentElement.querySelector('.stage').style.getPropertyValue('--at')"
        assert page.run(at) == "51%"
        assert any(stop and stop.startswith("scratch, iteration 200: ") for stop in stops)

        page.run("document.querySelector('.point').focus()")
        page.press("ArrowRight")
        name = page.run("document.activeElement.getAttribute('aria-label')")
        assert name.startswith("scratch, iteration 400: ")
        assert page.run("document.getElementById('tip').textContent") == name
        assert page.run("getComputedStyle(document.getElementById('tip')).visibility") == "visible"
        page.press("Escape")
        assert page.run("getComputedStyle(document.getElementById('tip')).visibility") == "hidden"

        left = "document.querySelector('.stage .l').textContent"
        assert page.run(left) == "scratch"
        picture = "document.querySelector('.stage .before').src"
        first = page.run(picture)
        page.run("document.querySelectorAll('.slider input[type=radio]')[1].click()")
        assert page.run(left) == "LQ, enlarged"
        assert page.run(picture) != first
        page.run("document.querySelectorAll('.slider input[type=radio]')[0].click()")
        assert page.run(left) == "scratch"
        assert page.run(picture) == first
        assert page.said == []
    finally:
        page.close()


def test_what_is_drawn_is_what_is_recorded(tmp_path: Path) -> None:
    """The file alone is enough: records written, read, and shown have the same page."""
    comparison = made_comparison(seeds=(0, 1))
    write_all(comparison.records, tmp_path)
    records = read_records(tmp_path / "records")
    assert json.dumps(sorted(records)) == json.dumps(sorted(comparison.records))
    again = type(comparison)(comparison.sweep, records, resamples=200)
    for name, each in (("one", comparison), ("two", again)):
        dckd_basicsr.page.write_comparison_page(each, tmp_path / f"{name}.html")
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()
