"""Batches of equal size out of an ordered set: every sample once, bounded, decided by shapes alone."""

from __future__ import annotations

import random

import pytest
import torch

from dckd_basicsr.inference.grouping import WINDOW, equal_sizes, joined


def samples(*widths):
    return [{"lq": torch.full((1, 3, 4, w), float(i)), "lq_path": [str(i)]} for i, w in enumerate(widths)]


def places(groups):
    return [[place for place, _ in group] for group in groups]


def test_one_by_one():
    assert places(equal_sizes(samples(5, 5, 6), 1)) == [[0], [1], [2]]


def test_equal_sizes_meet_across_others():
    assert places(equal_sizes(samples(5, 6, 5, 6, 5), 2)) == [[0, 2], [1, 3], [4]]


def test_the_longest_waiting_leaves_when_the_window_is_full():
    """Two in a batch: of eight that wait the first goes out with those of its size, and the next size may gather."""
    widths = [1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 2]
    assert places(equal_sizes(samples(*widths), 2)) == [[0], [1], [8, 9], [2], [3], [4], [5], [6], [7], [10]]


def test_gt_of_another_size_keeps_images_apart():
    found = samples(5, 5)
    for i, sample in enumerate(found):
        sample["gt"] = torch.zeros(1, 3, 8, 10 + i)
    assert places(equal_sizes(found, 2)) == [[0], [1]]


@pytest.mark.parametrize("batch", [2, 3, 7])
def test_every_sample_once_and_few_waiting(batch):
    draw = random.Random(batch)
    found = samples(*(draw.choice([4, 5, 6, 40, 41, 42, 43, 44, 45, 46, 47]) for _ in range(200)))
    taken = 0

    def counted():
        nonlocal taken
        for sample in found:
            taken += 1
            yield sample

    seen, most = [], 0
    for group in equal_sizes(counted(), batch):
        seen += [place for place, _ in group]
        most = max(most, taken - len(seen) + len(group))
        assert len({sample["lq"].shape for _, sample in group}) == 1
        assert 1 <= len(group) <= batch
        assert all(sample is found[place] for place, sample in group)
    assert sorted(seen) == list(range(200))
    assert most <= WINDOW * batch


def test_joined():
    batch = joined(samples(5, 5, 5))
    assert batch["lq"].shape == (3, 3, 4, 5)
    assert batch["lq"][:, 0, 0, 0].tolist() == [0, 1, 2]
    assert batch["lq_path"] == ["0", "1", "2"]


def test_one_sample_is_not_copied():
    (sample,) = samples(5)
    assert joined([sample])["lq"] is sample["lq"]
