"""Where patches lie and how they are turned, and the stages of a run: by hand, at their edges, and evenly."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from dckd_basicsr.data.patches import PatchRequest, PatchSampler, Place, Stage, stages_from
from dckd_basicsr.errors import ConfigError


def places(size: int, shape: tuple[int, ...], scale: int = 2, count: int = 800, **opt: bool) -> list[Place]:
    return [Place.of(PatchRequest(0, size, seed), shape, scale, opt) for seed in range(count)]


def test_places_reach_every_corner_and_no_further() -> None:
    found = places(33, (19, 21, 3))  # 16 px of LQ
    assert {place.size for place in found} == {16}
    assert {place.top for place in found} == {0, 1, 2, 3}
    assert {place.left for place in found} == set(range(6))
    assert len({(place.top, place.left) for place in found}) == 24


@pytest.mark.parametrize("shape", [(16, 16), (9, 16), (16, 9), (3, 3)])
def test_an_image_no_larger_than_the_patch_has_one_place(shape: tuple[int, int]) -> None:
    assert {(place.top, place.left) for place in places(32, shape, count=50)} == {(0, 0)}


def test_one_side_may_be_larger() -> None:
    found = places(32, (9, 18), count=200)
    assert {(place.top, place.left) for place in found} == {(0, 0), (0, 1), (0, 2)}


def test_turns_are_even_and_independent_of_the_place() -> None:
    found = places(32, (17, 17))
    counts = Counter(place.turn for place in found)
    assert set(counts) == set(range(8))
    assert all(60 < count < 140 for count in counts.values())  # 100 each: within 4 sigma
    assert len({(place.top, place.left, place.turn) for place in found}) == 32


@pytest.mark.parametrize(
    ("opt", "turns"),
    [
        ({"use_hflip": True, "use_rot": True}, set(range(8))),
        ({"use_rot": False}, {0, 1}),
        ({"use_hflip": False}, {0, 2, 4, 6}),
        ({"use_hflip": False, "use_rot": False}, {0}),
    ],
)
def test_only_turns_that_are_allowed(opt: dict[str, bool], turns: set[int]) -> None:
    assert {place.turn for place in places(32, (17, 17), count=200, **opt)} == turns


def test_a_switched_off_turn_shifts_no_other_draw() -> None:
    free, fixed = places(32, (30, 30)), places(32, (30, 30), use_hflip=False)
    assert [place._replace(turn=place.turn & 6) for place in free] == fixed


# --- stages


def test_stages_as_they_are_written() -> None:
    rows = [[1, 1, 1], [2, 64, 8]]
    assert stages_from(rows, 1) == [Stage(1, 1, 1), Stage(2, 64, 8)]
    assert stages_from([[5, 16, 12]], world_size=2, accumulate=3) == [Stage(5, 16, 12)]


@pytest.mark.parametrize(
    ("rows", "world", "accumulate", "message"),
    [
        ([[5, 16, 4, 1]], 1, 1, "whole numbers"),
        ([[0, 16, 4]], 1, 1, "whole numbers"),
        ([[5, 0, 4]], 1, 1, "whole numbers"),
        ([[5, 16, 4.0]], 1, 1, "whole numbers"),
        ([[5, 16, "4"]], 1, 1, "whole numbers"),
        ([[1, 8, 4], [9, 16, 4], [9, 32, 4]], 1, 1, r"growing iterations, got \[1, 9, 9\]"),
        ([[5, 16, 6]], 4, 1, "asks for 6 patches of 16 px in total, which 4 processes cannot share evenly;"),
        ([[5, 16, 8]], 2, 3, "2 processes cannot share evenly in 3 accumulated parts;"),
        ([[5, 16, 4], [9, 32, 3]], 2, 1, "asks for 3 patches of 32 px"),
    ],
)
def test_stages_that_cannot_be(rows: list, world: int, accumulate: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        stages_from(rows, world, accumulate)


# --- the sampler's edges


def test_a_sampler_is_alone_and_at_the_start_by_default() -> None:
    sampler, spelled = PatchSampler(6, [Stage(9, 8, 2)]), PatchSampler(6, [Stage(9, 8, 2)], 0, 1, 1, 0, 0)
    assert list(sampler) == list(spelled)
    assert sampler.epoch == 0
    assert len(sampler) == 3


def test_an_epoch_of_exactly_one_batch_is_enough() -> None:
    sampler = PatchSampler(4, [Stage(9, 8, 4)])
    assert [len(batch) for batch in sampler] == [4]
    assert len(sampler) == 1
    assert sampler.position(1) == (0, 4)
    assert sampler.position(2) == (1, 4)
    with pytest.raises(ConfigError, match="an epoch has 2 patches per process, fewer than a batch of 3"):
        PatchSampler(5, [Stage(2, 8, 2), Stage(9, 8, 6)], world_size=2)


def test_what_does_not_fill_a_batch_is_left_and_an_epoch_never_runs_over() -> None:
    sampler = PatchSampler(7, [Stage(2, 8, 3), Stage(4, 16, 2), Stage(9, 8, 3)])
    lengths = []
    for epoch in range(4):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(sampler) == len(batches)
        lengths.append([len(batch) for batch in batches])
        asked = [request.image for batch in batches for request in batch]
        assert len(set(asked)) == len(asked)
    # iterations 1 and 2 take 3 each, 3 and 4 take 2 each in the next epoch, with the first 3 of the last stage
    assert lengths == [[3, 3], [2, 2, 3], [3, 3], [3, 3]]
    assert [sampler.position(i) for i in range(7)] == [(0, 0), (0, 3), (0, 6), (1, 2), (1, 4), (1, 7), (2, 3)]


@pytest.mark.parametrize(
    ("stages", "lengths"),
    [
        ([Stage(2, 8, 2), Stage(9, 16, 3)], [[2, 2], [3, 3]]),  # a third of two would fit, one of three does not
        ([Stage(2, 8, 2), Stage(3, 16, 3), Stage(9, 8, 2)], [[2, 2], [3, 2]]),
        ([Stage(1, 8, 4), Stage(9, 16, 2)], [[4, 2], [2, 2, 2]]),  # a second of four would not fit, one of two does
    ],
)
def test_the_next_batch_decides_whether_an_epoch_goes_on(stages: list[Stage], lengths: list[list[int]]) -> None:
    sampler = PatchSampler(6, stages)
    for epoch, wanted in enumerate(lengths):
        sampler.set_epoch(epoch)
        assert len(sampler) == len(wanted)
        assert [len(batch) for batch in sampler] == wanted
        done = sum(map(len, lengths[: epoch + 1]))
        assert sampler.position(done) == (epoch, sum(wanted))
        assert sampler.position(done + 1) == (epoch + 1, sampler.stage(done + 1).batch)


def test_epochs_may_be_asked_for_in_any_order_and_again() -> None:
    stages = [Stage(3, 8, 4), Stage(6, 16, 2), Stage(9, 8, 3)]

    def read(start: int, epochs: list[int]) -> list[list[list[PatchRequest]]]:
        sampler, found = PatchSampler(9, stages, ratio=2, seed=3, start_iteration=start), []
        for epoch in epochs:
            sampler.set_epoch(epoch)
            found.append(list(sampler))
            assert len(sampler) == len(found[-1])
        return found

    straight = read(0, [0, 1, 2, 3])
    assert read(0, [3, 2, 1, 0])[::-1] == straight
    assert read(0, [2, 2, 0, 1]) == [straight[2], straight[2], straight[0], straight[1]]
    # the first epoch holds six iterations; two of the second were done
    assert read(8, [1, 2, 1]) == [straight[1][2:], straight[2], straight[1][2:]]
    assert read(6, [1, 2]) == straight[1:3]


def test_runs_of_neighbouring_seeds_and_epochs_share_nothing() -> None:
    orders = set()
    for seed in (0, 1, 2):
        for epoch in (0, 1, 2):
            sampler = PatchSampler(30, [Stage(9, 8, 30)], seed=seed)
            sampler.set_epoch(epoch)
            orders.add(tuple(request.image for request in next(iter(sampler))))
    assert len(orders) == 9


def test_seeds_of_patches_are_large_and_do_not_touch_the_global_stream() -> None:
    before = torch.get_rng_state()
    requests = [request for batch in PatchSampler(64, [Stage(9, 8, 64)]) for request in batch]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(0 <= request.seed < 2**62 for request in requests)
    assert max(request.seed for request in requests) > 2**60
    assert sorted(request.image for request in requests) == list(range(64))
