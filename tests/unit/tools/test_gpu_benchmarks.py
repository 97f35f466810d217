"""The benchmarks of ``make gpu`` keep what they measured, and time what they say. No GPU is needed for this."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dckd_basicsr.training.runtime import RuntimeSettings
from tests.benchmarks import deterministic, limits, step, windows
from tests.benchmarks.recipes import RECIPES

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def start(monkeypatch: pytest.MonkeyPatch, module: Any, *words: object) -> Any:
    monkeypatch.setattr(sys, "argv", ["benchmark", *map(str, words)])
    return module.main()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "CHANNELS", {"teacher": 12, "student": 6})


@pytest.mark.usefixtures("small")
def test_windows_of_a_cpu_are_launched_and_all_figures_are_written(tmp_path, monkeypatch, capsys):
    path = tmp_path / "figures.json"
    start(monkeypatch, windows, "--batch", 1, "--side", 8, "--rounds", 2, "--json", path)
    found, said = json.loads(path.read_text()), capsys.readouterr().out
    for role in ("teacher", "student"):
        for what in ("forward", "and backward"):
            row = found[role][what]
            assert {"original", "other size", "any size", "sdpa"} <= set(row["ms"]) == set(row["launched"])
            assert all(len(values) == 2 for values in row["rounds"].values())
            assert row["ratio"]["original"] == 1
            assert f"{role}, {what}, sdpa: {row['ms']['sdpa']:.2f} ms (" in said
    assert found["machine"]["versions"]["torch"] == torch.__version__


@pytest.mark.usefixtures("small")
def test_windows_write_after_each_round(tmp_path, monkeypatch):
    path, rounds = tmp_path / "figures.json", []

    def until_the_fourth(variants, count):
        assert count == 1
        rounds.append(len(rounds))
        if len(rounds) == 4:
            raise KeyboardInterrupt
        return {name: [float(len(rounds))] for name in variants}

    monkeypatch.setattr(windows, "paired_rounds", until_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        start(monkeypatch, windows, "--batch", 1, "--side", 8, "--rounds", 2, "--json", path)
    found = json.loads(path.read_text())
    assert found["teacher"]["forward"]["rounds"]["original"] == [1, 2]
    assert found["teacher"]["forward"]["ms"]["original"] == 1.5
    assert found["teacher"]["and backward"]["rounds"]["original"] == [3]
    assert "student" not in found


def test_on_a_gpu_replays_are_timed_where_there_can_be_any(monkeypatch, capsys):
    done: list[str] = []

    def record(run, generators):
        assert generators == []
        run()
        done.append("recorded")
        return None, lambda: done.append("replayed")

    def run() -> None:
        done.append("run")

    monkeypatch.setattr(windows, "warm_up", lambda run, device: done.append(f"warm on {device.type}"))
    monkeypatch.setattr(windows, "record_cuda_graph", record)
    assert windows.replayed(run, CPU, "teacher") is run
    assert done == []
    windows.replayed(run, CUDA, "teacher")()
    assert done == ["warm on cuda", "run", "recorded", "replayed"]

    def waits(run, device):
        raise RuntimeError("called a synchronizing operation\nhere")

    monkeypatch.setattr(windows, "warm_up", waits)
    assert windows.replayed(run, CUDA, "teacher, other size") is run
    said = (
        "teacher, other size is not recorded, so launches are timed (RuntimeError: called a synchronizing operation)\n"
    )
    assert capsys.readouterr().out == said


@pytest.mark.usefixtures("small")
def test_a_step_with_backward_writes_gradients_as_training_does(monkeypatch):
    """A second step's are not added to the first one's, which would also be another graph."""
    taken: list[Any] = []
    monkeypatch.setattr(windows, "replayed", lambda step, device, name: taken.append(step) or step)
    options = SimpleNamespace(batch=1, side=8, precision=None, compile=False, rounds=1)
    windows.compared("student", options, CPU, lambda found: None)
    backward = taken[len(taken) // 2]
    gradients = []
    for _ in range(2):
        backward()
        gradients.append([p.grad.clone() for p in backward.args[0].parameters()])
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two)


def test_exact_steps_differ_in_the_recording_alone():
    found = {name: settings for name, (settings, _) in step.variants(CUDA).items()}
    assert found["exact, recorded"] == replace(found["exact"], cuda_graph=True)
    assert found["bf16, recorded"] == replace(found["bf16, not compiled"], cuda_graph=True)
    assert found["auto, kernel attention"] == replace(found["auto"], attention="triton")
    assert "exact, recorded" not in step.variants(CPU)


def test_the_kernel_is_tried_as_the_step_runs_it(monkeypatch):
    """In the precision of each network, on maps of the size of LQ; where it was left out nothing is timed."""
    asked: list[tuple[bool, int, torch.dtype]] = []
    said = "2 Swin blocks with attention in a kernel"

    def arrange(net, *, frozen, compiled, attention, side, region):
        with region():
            asked.append((frozen, side, (torch.ones(1, 1) @ torch.ones(1, 1)).dtype))
        assert (attention, compiled) == ("triton", False)
        return said

    monkeypatch.setattr(step, "arrange_windows", arrange)
    recipe = RECIPES["small"]["swinir"]
    base = step.build(recipe, CPU)
    settings = RuntimeSettings(precision=step.PrecisionSettings("bf16", "fp32"), attention="triton")
    job = step.variant(base, settings)
    side = recipe.gt_size // recipe.scale
    assert asked == [(True, side, torch.float32)] * 2 + [(False, side, torch.bfloat16)]
    assert job.windows == [said] * 3
    said = ""
    with pytest.raises(RuntimeError, match="attention: triton is not what would be timed"):
        step.variant(base, settings)
    assert step.variant(step.build(RECIPES["small"]["edsr"], CPU), settings).windows == ["", "", ""]


ROW = {
    "reference_ms": 4.0, "ms": 1.0, "ratio": 4.0, "calls": 1, "reference_calls": 2, "start": 3.0, "parts": {},
    "loss_difference": 0.0, "gradient_difference": 0.0, "reference_parts": {},
}  # fmt: skip


def test_a_variant_that_fails_does_not_take_the_others(tmp_path, monkeypatch, capsys):
    def apart(size, recipe, name, rounds):
        if name == "exact":
            raise RuntimeError("no memory\nat all")
        return ROW

    monkeypatch.setattr(step, "apart", apart)
    monkeypatch.setattr(step, "ceilings", lambda device: {})
    path = tmp_path / "figures.json"
    words = ("--size", "small", "--recipes", "edsr", "--json", path, "--variants")
    assert start(monkeypatch, step, *words, "exact", "plain") == 1
    found = json.loads(path.read_text())
    assert found["failed"] == {"edsr, exact": "RuntimeError: no memory"}
    assert found["edsr"] == {"plain": ROW}
    assert "| plain | 4 | 1.0 | 4.00x |" in capsys.readouterr().out
    assert start(monkeypatch, step, *words, "plain") == 0


def test_the_longest_kernels_are_told(monkeypatch):
    device, host = torch.autograd.DeviceType.CUDA, torch.autograd.DeviceType.CPU

    def event(name: str, us: float, where: Any = device) -> SimpleNamespace:
        return SimpleNamespace(name=name, device_type=where, time_range=SimpleNamespace(elapsed_us=lambda: us))

    events = [event("short", 100), event("long", 2000), event("long", 3000), event("aten::mm", 9e6, host)]
    events += [event(f"other {i}", 1) for i in range(50)]

    @contextmanager
    def profile(activities):
        yield SimpleNamespace(events=lambda: events)

    monkeypatch.setattr(limits, "profile", profile)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    count, longest = limits.calls(lambda: None, CUDA)
    assert count == 53
    assert longest[:2] == [("long", 2, 5.0), ("short", 1, 0.1)]
    assert len(longest) == 40


def test_determinism_writes_after_each_round(tmp_path: Path, monkeypatch):
    times = iter([2.0, 3.0, 2.0, 5.0, 2.0])

    class Pool:
        def __init__(self, workers, mp_context): ...
        def __enter__(self):
            return self

        def __exit__(self, *error): ...
        def submit(self, function, *arguments):
            return SimpleNamespace(result=lambda: next(times))

    monkeypatch.setattr(deterministic, "ProcessPoolExecutor", Pool)
    path = tmp_path / "figures.json"
    with pytest.raises(StopIteration):
        start(monkeypatch, deterministic, "--size", "small", "--rounds", 3, "--json", path)
    found = json.loads(path.read_text())
    assert [row["deterministic"] for row in found["rounds"]] == [3.0, 5.0]
    assert found["ratio"] == 2.0
