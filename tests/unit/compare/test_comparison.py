"""What the records of a sweep say: rows, gains, directions, and records that do not belong together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dckd_basicsr.compare import ALL, Comparison, Cost, RunRecord, Sweep
from dckd_basicsr.errors import DatasetError
from tests.made_records import made_records, made_sweep


def with_values(sweep: Sweep, values: dict[tuple[str, int | None], dict[str, list[float]]]) -> dict[str, RunRecord]:
    """Return records with these values of PSNR: (variant, seed) -> test set -> image by image."""
    found = made_records(sweep)
    for name, record in found.items():
        images = {
            dataset: {f"i{i}": {"psnr": value} for i, value in enumerate(row)}
            for dataset, row in values[record.variant, record.seed].items()
        }
        found[name] = replace(record, images=images)
    return found


def test_rows_by_hand() -> None:
    sweep = made_sweep(("scratch", "dckd"), seeds=(0, 1))
    records = with_values(
        sweep,
        {
            ("teacher", None): {"A": [40, 42], "B": [44]},
            ("scratch", 0): {"A": [30, 32], "B": [37]},
            ("scratch", 1): {"A": [32, 34], "B": [39]},
            ("dckd", 0): {"A": [31, 35], "B": [42]},
            ("dckd", 1): {"A": [33, 33], "B": [42]},
        },
    )
    name = "made_small_dckd_s1"
    records[name] = replace(records[name], cost=Cost(160_000, None, 0.3, 0.05, 0.7))
    comparison = Comparison(sweep, records)
    assert comparison.datasets("small") == ("A", "B", ALL)
    teacher, scratch, dckd = comparison.rows("small", "A")
    assert (teacher.is_teacher, teacher.seeds, teacher.values["psnr"].mean) == (True, (), 41)
    assert teacher.values["psnr"].spread is None
    assert teacher.gains == scratch.gains == {}
    assert scratch.values["psnr"].runs == (31, 33)
    assert scratch.values["psnr"].spread == pytest.approx(2**0.5)
    assert (dckd.seeds, dckd.images, dckd.values["psnr"].mean) == ((0, 1), 2, 33)
    assert dckd.gains["scratch"].difference == 1
    assert (dckd.cost.seconds_per_iteration, dckd.cost.multiply_adds) == (pytest.approx(0.2), 9.5e9)
    together = comparison.row("small", ALL, "dckd")  # over 3 images, not over 2 sets
    assert (together.images, together.values["psnr"].runs) == (3, (36, 36))
    assert comparison.images("small", ALL) == ("A/i0", "A/i1", "B/i0")
    assert together.gains["scratch"].difference == pytest.approx(36 - 34)
    assert comparison.differences() == 3


def test_a_reference_has_gains_over_those_before_it_only() -> None:
    comparison = Comparison(made_sweep(), made_records(made_sweep()))
    assert [tuple(row.gains) for row in comparison.rows("small", "Set14")] == [
        (),
        (),
        ("scratch",),
        ("scratch", "logits"),
    ]


def test_runs_that_are_missing_and_runs_nobody_asked_for() -> None:
    sweep = made_sweep(seeds=(0, 1))
    records = made_records(made_sweep((*sweep.variants, "other"), seeds=(0, 1, 2), bases=("small", "large")))
    for name in ("made_small_logits_s0", "made_small_logits_s1", "made_small_dckd_s1", "made_small_teacher"):
        del records[name]
    comparison = Comparison(sweep, records)
    assert comparison.bases == ("small",)
    assert comparison.variants("small") == ("scratch", "dckd")
    assert comparison.references("small") == ("scratch",)
    assert [row.seeds for row in comparison.rows("small", "Set5")] == [(0, 1), (0,)]
    assert comparison.row("small", "Set14", "dckd").gains["scratch"].word == "cannot be told"
    assert set(comparison.missing) == {
        ("small", "teacher", None),
        ("small", "logits", 0),
        ("small", "logits", 1),
        ("small", "dckd", 1),
    }


def test_a_base_without_a_teacher_lacks_none() -> None:
    records = made_records(sweep := made_sweep())
    del records["made_small_teacher"]
    assert Comparison(sweep, records).missing == (("small", "teacher", None),)
    alone = {name: replace(record, options={"network_g": {"type": "EDSR"}}) for name, record in records.items()}
    assert Comparison(sweep, alone).missing == ()


def test_costs_are_medians_over_seeds() -> None:
    records = made_records(sweep := made_sweep(("scratch",)))
    for seed, share in enumerate((0.1, 0.9, 0.3)):
        cost = Cost(100 + seed, 7.0, 0.5 + seed, 2.0 + seed, share, share / 2)
        records[f"made_small_scratch_s{seed}"] = replace(records[f"made_small_scratch_s{seed}"], cost=cost)
    assert Comparison(sweep, records).row("small", "Set5", "scratch").cost == Cost(101, 7.0, 1.5, 3.0, 0.3, 0.15)


def test_a_metric_of_which_less_is_better() -> None:
    sweep = made_sweep()
    records = made_records(sweep, {"dckd": 0.1})
    val = {"metrics": {"psnr": {"type": "calculate_psnr", "better": "lower"}, "ssim": {"type": "calculate_ssim"}}}
    # The test's metrics count, whatever the validation during training measures.
    told = {name: replace(record, test_options={"val": val}) for name, record in records.items()}
    usual, lower = Comparison(sweep, records), Comparison(sweep, told)
    assert usual.verdict("small", "Set14", "dckd", "scratch").word == "better"
    assert lower.verdict("small", "Set14", "dckd", "scratch").word == "worse"
    assert lower.verdict("small", "Set14", "dckd", "scratch", "ssim").word == "better"


@pytest.mark.parametrize("lacks", ["image", "metric", "set"])
def test_records_of_other_images(lacks: str) -> None:
    sweep = made_sweep()
    records = made_records(sweep)
    images = {name: dict(rows) for name, rows in records["made_small_dckd_s1"].images.items()}
    if lacks == "image":
        del images["Set14"]["set14/07"]
    elif lacks == "metric":
        images["Set14"]["set14/07"] = {"psnr": 30.0}
    else:
        images["BSD100"] = {"set14/07": {"psnr": 30.0}}
    records["made_small_dckd_s1"] = replace(records["made_small_dckd_s1"], images=images)
    with pytest.raises(DatasetError, match="set14/07") as raised:
        Comparison(sweep, records)
    assert "made_small_dckd_s1" in str(raised.value)
    assert ("ssim" in str(raised.value)) == (lacks == "metric")


def test_a_set_without_images() -> None:
    sweep = made_sweep(("scratch",), seeds=(0,))
    with pytest.raises(DatasetError, match="no metric"):
        Comparison(sweep, made_records(sweep, sets={"Set5": 0}))
