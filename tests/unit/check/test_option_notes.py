"""Plans by iteration that do not come to pass within a run: notes where it merely has no effect, else problems."""

from __future__ import annotations

from typing import Any

import pytest

from dckd_basicsr.config import apply_overrides, load_options, option_notes, option_problems, packaged_options
from tests.tiny import job_options


def notes(*overrides: str) -> list[str]:
    opt = apply_overrides(job_options(), overrides)
    assert option_problems(opt) == []
    return option_notes(opt)


@pytest.mark.parametrize(
    ("overrides", "start", "end"),
    [
        (
            ["train:total_iter=20000", "train:scheduler:milestones=[100000, 200000]"],
            "train.scheduler: none of the milestones [100000, 200000] comes within total_iter 20000, so the learning",
            "for instance milestones: [8000, 16000]",
        ),
        (
            ["train:total_iter=150000", "train:scheduler:milestones=[100000, 200000]"],
            "train.scheduler: of the milestones, [200000] do not come within total_iter 150000",
            "milestones: [60000, 120000]",
        ),
        (["train:total_iter=3"], "train.scheduler: none of the milestones [4] comes within", "milestones: [2]"),
        (["train:scheduler:milestones=[0]"], "train.scheduler: none of the milestones [0]", "stays as it starts"),
        (
            ["train:scheduler={type: CosineAnnealingLR, T_max: 10}"],
            "train.scheduler: T_max, 10, lies beyond total_iter 6, so the rate does not come down to its end",
            "6 fits",
        ),
        (
            ["train:scheduler={type: CosineAnnealingLR, T_max: 3}"],
            "train.scheduler: after T_max 3 the rate rises again, and total_iter is 6",
            "T_max: 6 fits",
        ),
        (
            ["train:scheduler={type: CosineAnnealingRestartLR, periods: [4, 4], restart_weights: [1, 1]}"],
            "train.scheduler: the sum of the periods, 8, lies beyond total_iter 6",
            "6 fits",
        ),
        (["train:warmup_iter=6"], "train.warmup_iter 6 is not over at total_iter 6", "full learning rate never comes"),
        (
            ["train:history={schedule: [[100000, 1000]]}"],
            "train.history.schedule: the first update comes at iteration 1000, not within total_iter 6",
            "schedule: [[6, 1]]",
        ),
        (
            ["train:history={schedule: [[5, 7], [9, 4]]}"],
            "train.history.schedule: the first update comes at iteration 8",
            "for instance schedule: [[6, 1]]",
        ),
        (["train:history=~"], "train.history.schedule: the first update comes at iteration 1000", "schedule: [[6, 1]]"),
        (
            [
                "datasets:train:type=PairedPatchDataset", "datasets:train:gt_size=~",
                "datasets:train:progressive=[[3, 16, 4], [6, 32, 2], [9, 32, 1]]",
            ],
            "datasets.train.progressive: 1 of its 3 rows begin after total_iter 6",
            "in proportion",
        ),
    ],
)  # fmt: skip
def test_each_note(overrides: list[str], start: str, end: str) -> None:
    (found,) = notes(*overrides)
    assert found.startswith(start)
    assert found.endswith(end)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["train:scheduler={type: CosineAnnealingLR, T_max: 6}"],
        ["train:scheduler={type: CosineAnnealingRestartCyclicLR, periods: [2, 2], restart_weights: [1, 1], "
         "eta_mins: [0, 0]}"],
        ["train:scheduler={type: MultiStepLR, milestones: []}"],
        ["train:history={schedule: [[5, 7], [9, 4]]}", "train:contrastive_opt=~"],
        ["train:warmup_iter=5"],
    ],
)  # fmt: skip
def test_nothing_to_note(overrides: list[str]) -> None:
    assert notes(*overrides) == []


def test_a_model_without_history_is_told_nothing_of_it() -> None:
    opt = apply_overrides(job_options(), ["train:history=~", "model_type=SRModel"])
    assert option_notes(opt) == []
    assert option_notes(opt | {"model_type": "DCKDModel"}) != []


@pytest.mark.parametrize("name", [name for name in packaged_options() if "test" not in name])
def test_the_packaged_files_plan_within_their_length(name: str) -> None:
    assert option_notes(load_options(packaged_options()[name])[0]) == []


@pytest.mark.parametrize("junk", [None, 5, "x", [], {}, [[1]], [None], float("nan"), True])
@pytest.mark.parametrize(
    "place", ["train", "train:scheduler", "train:scheduler:milestones", "train:history:schedule", "datasets:train"]
)
def test_junk_is_for_the_check(place: str, junk: Any) -> None:
    opt = job_options()
    block: Any = opt
    *path, last = place.split(":")
    for key in path:
        block = block[key]
    block[last] = junk
    assert all(isinstance(note, str) for note in option_notes(opt))


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ("{type: CosineAnnealingLR, T_max: 0}", "'T_max' in train.scheduler must be at least 1, got [0]"),
        (
            "{type: CosineAnnealingRestartLR, periods: [3, 0], restart_weights: [1, 1]}",
            "'periods' in train.scheduler must be at least 1, got [3, 0]",
        ),
        (
            "{type: CosineAnnealingRestartLR, periods: [2, 2], restart_weights: [1, 1]}",
            "train.scheduler: the periods end at iteration 4, after which CosineAnnealingRestartLR has no rate, and "
            "total_iter is 6; let them add up to 6",
        ),
    ],
)
def test_schedules_that_would_fail(scheduler: str, message: str) -> None:
    assert option_problems(apply_overrides(job_options(), [f"train:scheduler={scheduler}"])) == [message]
