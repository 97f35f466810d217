"""Statistics of comparisons: golden numbers, numbers by hand, and sweeps whose differences are known."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from dckd_basicsr.compare import Comparison
from dckd_basicsr.compare.statistics import judge, paired_test, seed_test
from tests.made_records import made_records, made_sweep

NAMES = ["n14", "n14_zeros", "n14_ties", "n100", "n100_zeros"]


@pytest.fixture(autouse=True)
def _no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("name", NAMES)
def test_paired_test_has_the_golden_numbers(shared: Path, name: str) -> None:
    case = json.loads((shared / "golden" / "kd" / "paired_statistics.json").read_text())["cases"][name]
    found = paired_test(np.array(case["psnr_a"]) - np.array(case["psnr_b"]), 10_000, case["bootstrap"]["seed"])
    methods = case["wilcoxon"]["wilcox"]  # versions of SciPy choose differently where there are zeros or ties
    assert {found.statistic} == {each["statistic"] for each in methods.values()}
    assert any(found.p_value == pytest.approx(each["p_value"], abs=1e-9) for each in methods.values())
    assert found.difference == pytest.approx(case["mean_difference"], abs=1e-12)
    assert [found.low, found.high] == pytest.approx([case["bootstrap"]["low"], case["bootstrap"]["high"]], abs=1e-9)


def test_paired_test_by_hand() -> None:
    """Six images: 2^6 signs, of which the two extreme ones are at least as extreme as all positive."""
    found = paired_test([1, 2, 3, 4, 5, 6])
    assert (found.images, found.difference, found.statistic, found.p_value) == (6, 3.5, 0, pytest.approx(2 / 64))
    assert paired_test([-1, 2, 3, 4, 5, 6]).p_value == pytest.approx(4 / 64)
    two = paired_test([0.0, 1.0])  # drawn twice: means 0, 1/2, 1 with chances 1/4, 1/2, 1/4
    assert (two.low, two.high) == (0, 1)


def test_paired_test_of_nothing_much() -> None:
    same = paired_test(np.zeros(20))
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    one = paired_test([0.5])
    assert (one.images, one.low, one.high, one.p_value) == (1, 0.5, 0.5, 1)
    assert paired_test([0, 0, 0, 0.1]).p_value > 0.05


def test_seed_test_by_hand() -> None:
    """Variances 2 and 2 of two runs each: t^2 = 100 / 2; with 2 degrees of freedom p = 1 - sqrt(t^2 / (t^2 + 2))."""
    found = seed_test([0, 2], [10, 12])
    assert (found.seeds, found.difference) == ((2, 2), -10)
    assert found.p_value == pytest.approx(1 - (50 / 52) ** 0.5, abs=1e-12)
    a, b = [1.0, 2.0, 4.0], [3.0, 3.1, 3.3, 3.2]  # other numbers and spreads
    assert seed_test(a, b).p_value == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue, abs=1e-12)


@pytest.mark.parametrize(("a", "b"), [([1.0], [1.0, 2.0]), ([1.0, 2.0], [3.0]), ([1.0, 1.0], [2.0, 2.0])])
def test_seed_test_without_spread_says_nothing(a: list[float], b: list[float]) -> None:
    assert seed_test(a, b).p_value is None


def test_seed_test_with_spread_on_one_side_does() -> None:
    assert seed_test([5.0, 5.0, 5.0], [1.0, 1.01, 0.99]).p_value < 0.001


STEADY = np.linspace(-0.001, 0.001, 3)[:, None]


@pytest.mark.parametrize(
    ("difference", "images", "seeds", "word", "reason"),
    [
        (0.1, 14, STEADY, "better", "beyond"),
        (-0.1, 14, STEADY, "worse", "beyond"),
        (0.0, 14, STEADY, "no difference shown", "images and over seeds"),
        (0.1, 14, 300 * STEADY, "no difference shown", "over seeds"),
        (0.1, 14, STEADY[:1], "cannot be told", "one seed"),
        (0.1, 14, 0 * STEADY, "cannot be told", "same values"),
        (0.1, 5, STEADY, "cannot be told", "5 images can never reach p < 0.05"),
        (0.1, 1, STEADY, "cannot be told", "1 image can never"),
        (0.1, 6, STEADY, "better", "beyond"),
    ],
)
def test_verdicts(difference: float, images: int, seeds: np.ndarray, word: str, reason: str) -> None:
    level = np.linspace(25, 35, images) + seeds
    wave = 0.01 * np.where(np.arange(images) % 2, 1, -1) * np.linspace(1, 1.1, images)
    found = judge(level + difference + wave, level)
    assert found.word == word
    assert reason in found.reason
    assert found.difference == pytest.approx(difference + wave.mean())
    opposite = {"better": "worse", "worse": "better"}.get(word, word)
    assert judge(level + difference + wave, level, higher=False).word == opposite


def test_images_that_differ_alone_are_no_difference() -> None:
    """Seeds agree on a small mean difference, which comes from one image of many."""
    a = np.full((3, 20), 30.0) + STEADY
    b = a.copy()
    b[:, 0] += 1.0
    found = judge(b, a)
    assert found.seeds.p_value < 0.05 < found.paired.p_value
    assert (found.word, found.reason) == ("no difference shown", "it is within the spread over images")


def test_a_value_that_is_not_finite() -> None:
    a = np.full((3, 20), 30.0)
    a[0, 0] = np.inf
    assert judge(a, np.full((3, 20), 30.0)).word == "cannot be told"


def rate(gain: float, seed_spread: float, noise: float, repetitions: int) -> float:
    """Return how often the second of two methods is called better or worse, with 3 seeds on 19 images."""
    sweep, called = made_sweep(("scratch", "dckd")), 0
    for i in range(repetitions):
        records = made_records(sweep, {"dckd": gain}, seed_spread=seed_spread, noise=noise, random=i)
        verdict = Comparison(sweep, records, resamples=400).verdict("small", "all", "dckd", "scratch")
        called += verdict.word in ("better", "worse")
        assert verdict.word != "worse" or gain == 0
    return called / repetitions


@pytest.mark.parametrize(("seed_spread", "noise"), [(0.0, 0.03), (0.015, 0.0), (0.015, 0.03), (0.05, 0.2)])
def test_equal_methods_are_rarely_called_different(seed_spread: float, noise: float) -> None:
    """1.3, 3.1, 3.4 and 2.5 % in 5000 repetitions; of 200, one such rate is above 5 % by chance now and then."""
    found = rate(0.0, seed_spread, noise, 1000)
    print(f"seeds {seed_spread} dB, images {noise} dB: {found:.1%} false differences")
    assert found <= 0.05


def test_a_gain_of_a_tenth_is_found() -> None:
    """99.7 % in 2000 repetitions; of a gain of 0.05 dB 70 %."""
    found = rate(0.1, 0.015, 0.03, 200)
    print(f"{found:.1%} found")
    assert found >= 0.9
