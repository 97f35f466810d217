"""Tables of a page: the best as in the tables for papers, and costs."""

from __future__ import annotations

from dataclasses import replace

from dckd_basicsr.compare import Comparison, Cost
from dckd_basicsr.compare.cells import marks
from dckd_basicsr.page.comparison_tables import cost_table, ranked, result_table
from dckd_basicsr.page.tables import best_of
from tests.made_pages import made_comparison
from tests.made_records import made_records, made_sweep


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


def test_the_best_of_one_is_none() -> None:
    assert best_of([1.0, None]) is None
    assert best_of([1.0, 2.0, float("nan")]) == 2.0
    assert best_of([1.0, 2.0], higher=False) == 1.0
