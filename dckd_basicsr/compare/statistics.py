"""Whether a difference between two methods is one: over images, and over seeds.

Two things vary between runs: the images (a method is better on some, worse on others) and the training (another seed
gives another network). A test over images says nothing about the second, so a difference is called one only if two
tests agree:

- over images: Wilcoxon's signed-rank test (Wilcoxon 1945) of the differences of each image, averaged over seeds, and a
  percentile bootstrap interval of their mean (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13);
- over seeds: Welch's t-test (Welch 1947) of the means of whole runs. Images are nested in seeds: all images of a run
  share its luck, so a run's mean is one observation. Why the spread of training belongs into a comparison: Bouthillier
  et al., Accounting for Variance in Machine Learning Benchmarks, MLSys 2021, arXiv 2103.03098.

Both look at the same difference, so they cannot disagree about its sign.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

__all__ = ["LEAST_IMAGES", "LEVEL", "PairedTest", "SeedTest", "Verdict", "Word", "judge", "paired_test", "seed_test"]

Word = Literal["better", "worse", "no difference shown", "cannot be told"]
Values = npt.NDArray[np.float64]

LEVEL = 0.05
"""Below this a p-value counts."""
LEAST_IMAGES = 6
"""With n images the two-sided signed-rank test has no p-value under 2 / 2^n: 0.0625 for 5, 0.03125 for 6."""


@dataclass(frozen=True)
class PairedTest:
    """A difference over images.

    Attributes:
        images: how many.
        difference: mean over the images, in the metric's unit.
        low: lower end of the bootstrap's 95 % interval of that mean.
        high: upper end.
        statistic: the smaller of the sums of positive and of negative ranks.
        p_value: two-sided, of the signed-rank test.
    """

    images: int
    difference: float
    low: float
    high: float
    statistic: float
    p_value: float


@dataclass(frozen=True)
class SeedTest:
    """A difference over seeds.

    Attributes:
        seeds: numbers of runs of the variant and of its reference.
        difference: of the means of the runs' means, in the metric's unit.
        p_value: two-sided, of Welch's t-test; None where it cannot be said: fewer than two runs on a side, or no spread
            at all between the runs.
    """

    seeds: tuple[int, int]
    difference: float
    p_value: float | None


@dataclass(frozen=True)
class Verdict:
    """What may be said about a variant and a reference.

    Attributes:
        word: ``better`` and ``worse`` take into account whether higher or lower is better.
        reason: a short sentence.
        difference: variant minus reference, mean over seeds and images, in the metric's unit; its sign is the plain
            one, whichever direction is better.
        paired: over images; None where a value is not finite.
        seeds: over seeds; None where a value is not finite.
    """

    word: Word
    reason: str
    difference: float
    paired: PairedTest | None
    seeds: SeedTest | None


def paired_test(differences: npt.ArrayLike, resamples: int = 10_000, seed: int = 0) -> PairedTest:
    """Test whether differences of images are about zero.

    Args:
        differences: one of each image, finite, shape (n,), n at least 1.
        resamples: of the bootstrap.
        seed: of its draws: ``Generator(PCG64(seed)).integers(0, n, size=(resamples, n))``.
    """
    d = np.asarray(differences, dtype=np.float64)
    draws = np.random.Generator(np.random.PCG64(seed)).integers(0, d.size, size=(resamples, d.size))
    low, high = np.percentile(d[draws].mean(axis=1), [2.5, 97.5])
    statistic, p_value = 0.0, 1.0  # of differences that are all zero, for which SciPy has no number
    if d.any():
        with warnings.catch_warnings():  # older versions of SciPy warn that few images, or zeros, make p approximate
            warnings.simplefilter("ignore")
            found = stats.wilcoxon(d)
        statistic, p_value = float(found.statistic), float(found.pvalue)
    return PairedTest(d.size, float(d.mean()), float(low), float(high), statistic, p_value)


def seed_test(variant: npt.ArrayLike, reference: npt.ArrayLike) -> SeedTest:
    """Test whether the means of runs differ, against their spread over seeds.

    Args:
        variant: one mean of each run, finite, shape (s,), s at least 1.
        reference: the same of the other, shape (r,); its runs need not have the same seeds.
    """
    a, b = np.asarray(variant, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    p_value = None
    if min(a.size, b.size) > 1 and (np.ptp(a) > 0 or np.ptp(b) > 0):
        sizes = [(float(x.mean()), float(x.std(ddof=1)), x.size) for x in (a, b)]
        p_value = float(stats.ttest_ind_from_stats(*sizes[0], *sizes[1], equal_var=False).pvalue)
    return SeedTest((a.size, b.size), float(a.mean() - b.mean()), p_value)


def judge(
    variant: npt.ArrayLike, reference: npt.ArrayLike, *, higher: bool = True, resamples: int = 10_000, seed: int = 0
) -> Verdict:
    """Return what may be said about a variant in comparison with a reference.

    Args:
        variant: one metric, shape (seeds, images).
        reference: the same of the other, shape (its seeds, images), images in the same order.
        higher: whether higher values are better.
        resamples: of the bootstrap.
        seed: of its draws.
    """
    a, b = np.asarray(variant, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return Verdict("cannot be told", "the value of an image is not a finite number", math.nan, None, None)
    images = paired_test(a.mean(axis=0) - b.mean(axis=0), resamples, seed)
    seeds = seed_test(a.mean(axis=1), b.mean(axis=1))
    word, reason = _word(images, seeds, higher)
    return Verdict(word, reason, images.difference, images, seeds)


def _word(images: PairedTest, seeds: SeedTest, higher: bool) -> tuple[Word, str]:
    if min(seeds.seeds) < 2:
        return "cannot be told", "one seed says nothing about the next; at least 2 of each are needed"
    if images.images < LEAST_IMAGES:
        return "cannot be told", (
            f"{images.images} {'image' if images.images == 1 else 'images'} can never reach p < {LEVEL} "
            f"in a two-sided signed-rank test; at least {LEAST_IMAGES} are needed"
        )
    if seeds.p_value is None:
        return "cannot be told", "all seeds gave exactly the same values, so they are no independent runs"
    failed = []
    if images.p_value >= LEVEL or images.low <= 0 <= images.high:
        failed.append("images")
    if seeds.p_value >= LEVEL:
        failed.append("seeds")
    if failed:
        return "no difference shown", f"it is within the spread over {' and over '.join(failed)}"
    above = images.difference > 0
    return ("better" if above == higher else "worse"), "it is beyond the spread over images and over seeds"
