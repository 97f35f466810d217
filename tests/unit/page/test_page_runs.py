"""Pages of runs: alone, beside each other, and of folders that are incomplete."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dckd_basicsr.errors import DatasetError
from dckd_basicsr.page import (
    write_run_page,
    write_runs_page,
)
from dckd_basicsr.page.run_files import thinned
from tests.page_document import Document


def test_curves_are_thinned_to_means() -> None:
    lines = [{"iter": i, "l_pix": float(i), "l_rare": 1.0 if i == 3 else None} for i in range(1, 8)]
    found = thinned(lines, points=3)
    assert found == {"iter": [3, 6, 7], "l_pix": [2, 5, 7], "l_rare": [1, None, None]}
    assert thinned(lines[:2], points=3)["l_pix"] == [1, 2]
    assert thinned([]) == {}


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
