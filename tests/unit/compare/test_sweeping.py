"""Making what is missing of a sweep, with runs that only pretend."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

import dckd_basicsr  # noqa: F401 (registers)
from dckd_basicsr.compare import Maker, PlannedRun, Progress, RunRecord, finish, places, planned_runs
from dckd_basicsr.compare.progress import duration
from dckd_basicsr.compare.run import Busy, RunFailed
from tests.made_records import made_records, made_sweep

SWEEP = replace(
    made_sweep(seeds=(0, 1)), bases={"small": replace(made_sweep().bases["small"], train="demo_x4_edsr.yml")}
)
RECORDS = made_records(SWEEP)


class Pretending(Maker):
    """Runs take no time, but for those that fail, or that another process holds for the first two attempts."""

    fails: tuple[str, ...] = ()
    busy: tuple[str, ...] = ()

    def start(self, there: Mapping[str, RunRecord]) -> Pretending:
        self.there, self.made, self.asked = dict(there), list[str](), dict[str, int]()
        return self

    def record(self, run: PlannedRun) -> RunRecord | None:
        return self.there.get(run.name)

    def make(self, run: PlannedRun, variables: Mapping[str, str] | None = None) -> RunRecord:
        self.asked[run.name] = self.asked.get(run.name, 0) + 1
        if run.name in self.fails:
            raise RunFailed(f"{run.name} failed")
        if run.name in self.busy and self.asked[run.name] < 3:
            raise Busy(f"{run.name} is being made")
        self.made.append(run.name)
        return RECORDS[run.name]


def pretending(tmp_path: Path, there: Mapping[str, RunRecord] | None = None) -> Pretending:
    return Pretending(tmp_path, tmp_path / "comparisons").start(there or {})


@pytest.mark.parametrize("jobs", [1, 3])
def test_what_is_missing_is_made_once(tmp_path: Path, jobs: int) -> None:
    runs = planned_runs(SWEEP)
    there = {name: RECORDS[name] for name in ("made_small_teacher", "made_small_logits_s0")}
    maker = pretending(tmp_path, there)
    records, failed = finish(runs, maker, [{}] * jobs)
    assert failed == []
    assert records == RECORDS
    assert sorted(maker.made) == sorted(set(RECORDS) - set(there))
    assert jobs > 1 or maker.made == [run.name for run in runs if run.name not in there]


def test_one_that_fails_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    maker = pretending(tmp_path)
    maker.fails = ("made_small_logits_s0",)
    seen: list[int] = []
    records, failed = finish(planned_runs(SWEEP), maker, [{}], after=lambda found: seen.append(len(found)))
    assert failed == ["made_small_logits_s0 failed"]
    assert sorted(records) == sorted(set(RECORDS) - {"made_small_logits_s0"})
    assert seen == list(range(1, len(RECORDS)))


def test_a_run_of_another_process_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dckd_basicsr.compare.sweeping._LOOK", 0.01)
    maker = pretending(tmp_path)
    maker.busy = ("made_small_scratch_s0",)
    records, failed = finish(planned_runs(SWEEP), maker, [{}])
    assert failed == []
    assert len(records) == len(RECORDS)
    assert maker.asked["made_small_scratch_s0"] == 3


def test_an_error_nobody_foresaw_stops_no_other_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maker, make = pretending(tmp_path), Pretending.make

    def full(run: PlannedRun, variables: Mapping[str, str] | None = None) -> RunRecord:
        if run.name == "made_small_logits_s0":
            raise OSError("No space left on device")
        return make(maker, run, variables)

    monkeypatch.setattr(maker, "make", full)
    records, failed = finish(planned_runs(SWEEP), maker, [{}])
    assert failed == ["made_small_logits_s0: OSError: No space left on device"]
    assert len(records) == len(RECORDS) - 1


@pytest.mark.parametrize(("number", "raised"), [(errno.EWOULDBLOCK, Busy), (errno.ENOLCK, RunFailed)])
def test_a_lock_that_cannot_be_had_is_no_lock_that_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, raised: type[Exception]
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(raised):
        Maker(tmp_path, tmp_path / "comparisons").make(planned_runs(SWEEP)[0])


def test_no_run_starts_after_the_hours(tmp_path: Path) -> None:
    # Each record has 0.03 hours of training: the third student starts after 0.06, the fourth would after 0.09.
    records, failed = finish(planned_runs(SWEEP), pretending(tmp_path), [{}], hours=0.08)
    trained = [record for record in records.values() if record.seed is not None]
    assert len(trained) == 3
    assert failed == ["3 runs were not started: the sweep's 0.08 hours are used up"]


def test_what_is_left_is_reckoned_from_runs_alike(tmp_path: Path) -> None:
    runs = planned_runs(SWEEP)
    assert Progress(runs, {}, tmp_path).remaining_hours() is None
    done = {name: RECORDS[name] for name in ("made_small_scratch_s0", "made_small_logits_s0")}
    slow = replace(
        done["made_small_logits_s0"], cost=replace(done["made_small_logits_s0"].cost, seconds_per_iteration=1.0)
    )
    done["made_small_logits_s0"] = slow
    left = Progress(runs, done, tmp_path).remaining_hours()
    # 640 iterations each: scratch at 0.1 s, logits at 1 s, and twice dckd at the median of both.
    assert left == pytest.approx(640 * (0.1 + 1.0 + 2 * 0.55) / 3600)


def test_records_of_other_runs_are_not_those_of_one(tmp_path: Path) -> None:
    others = {name: record for name, record in RECORDS.items() if name != "made_small_logits_s0"}
    alone = [run for run in planned_runs(SWEEP) if run.name == "made_small_logits_s0"]
    assert Progress(alone, others, tmp_path).line().startswith("0 of 1 runs done; about ")


def test_lengths_of_time() -> None:
    assert [duration(h) for h in (0.004, 0.3, 5.26, 50)] == ["14 s", "18 min", "5 h 16 min", "2 d 2 h"]


def test_runs_share_the_gpus_or_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("torch.get_num_threads", lambda: 8)
    assert places(None) == [{}]
    assert places(3) == [{"OMP_NUM_THREADS": "2"}] * 3
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the user's word counts
    assert places(2) == [{}, {}]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert places(None) == [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]
    assert places(3)[2] == {"CUDA_VISIBLE_DEVICES": "0"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-7")
    assert places(None) == [{"CUDA_VISIBLE_DEVICES": "5"}, {"CUDA_VISIBLE_DEVICES": "GPU-7"}]
