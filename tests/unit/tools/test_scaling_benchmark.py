"""The scaling benchmark measures what it says: that many images, negatives and processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tests.benchmarks import scaling
from tests.benchmarks.recipes import Recipe
from tests.tiny import STUDENT, TEACHER

LAYOUT: dict[str, Any] = {"ch": 32, "ch_mult": [1] * 5, "num_res_blocks": 1, "attn_resolutions": [], "z_channels": 8}
RECIPE = Recipe(dict(TEACHER), dict(STUDENT), scale=2, gt_size=32, batch=2, vqgan=LAYOUT)
CASE = scaling.Case(RECIPE, torch.device("cpu"), rounds=1)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Steps this small take seconds where threads wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(scaling, "machine", lambda: {"cores": 1})
    yield
    torch.set_num_threads(threads)


def passes(net: torch.nn.Module, seen: list[torch.Size]) -> None:
    """Note the size of every input of a network."""
    net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))


def test_relations_are_taken_within_rounds() -> None:
    rows = scaling.relations({"1": [10.0, 100.0, 30.0], "2": [16.0, 200.0, 45.0]}, "1", {"1": 4, "2": 8})
    assert rows["1"]["relative"] == rows["1"]["efficiency"] == 1
    two = rows["2"]
    assert (two["ms"], two["ms_per_image"]) == (45, 45 / 8)
    assert two["relative"] == 1.6  # of 1.6, 2 and 1.5
    assert two["efficiency"] == pytest.approx(1 / 1.6)
    assert two["images_per_second"] == pytest.approx(8 / 0.045)


def test_the_recipe_is_among_its_values() -> None:
    assert scaling.values("batch", RECIPE) == (2, [1, 2, 4])
    assert scaling.values("patch", RECIPE) == (32, [32, 64])
    assert scaling.values("negatives", RECIPE) == (5, [0, 1, 2, 5, 10])


@pytest.mark.parametrize(("axis", "value", "shape"), [("batch", 3, (3, 3, 16, 16)), ("patch", 64, (2, 3, 32, 32))])
def test_a_step_has_that_many_images_of_that_size(axis: str, value: int, shape: tuple[int, ...]) -> None:
    job = scaling.job_at(axis, value, CASE)
    seen: list[torch.Size] = []
    passes(job.student, seen)
    job.step()
    assert seen == [shape]
    assert job.gt.shape[-1] == 2 * shape[-1]


def test_a_step_has_that_many_negatives() -> None:
    for number in (1, 3):
        job = scaling.job_at("negatives", number, CASE)
        seen: list[torch.Size] = []
        passes(job.sources.history, seen)
        assert "l_contrast" in job.step()
        assert sum(shape[0] for shape in seen) == 2 * number
    job = scaling.job_at("negatives", 0, CASE)
    assert job.sources.history is None
    assert {"l_contrast"}.isdisjoint(job.step())


def test_a_table_has_a_row_for_every_value(monkeypatch: pytest.MonkeyPatch) -> None:
    make = scaling.job_at

    def too_much(axis: str, value: int, case: scaling.Case) -> Any:
        if value == 4:
            raise torch.cuda.OutOfMemoryError
        return make(axis, value, case)

    monkeypatch.setattr(scaling, "job_at", too_much)
    lines = scaling.table("batch", scaling.grow("batch", CASE), 2).splitlines()
    assert lines[0] == "| batch | ms per step | against 2 | ms per image |"
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| 1", "| 2", "| 4"]
    assert " | 1.00 | " in lines[3]
    assert lines[4] == "| 4 | no memory left beside the others | - | - |"


def test_two_processes_run_and_exchange_gradients() -> None:
    rows = scaling.alongside(CASE, [2], limit=120)
    assert list(rows) == ["1", "2"]
    first, second = rows["2"]["gradient_norms"]
    assert first == pytest.approx(second, rel=1e-6)  # although each has images of its own
    assert rows["1"]["gradient_norms"] != pytest.approx([first], rel=1e-3)
    assert rows["2"]["images_per_second"] == pytest.approx(4 / (1e-3 * rows["2"]["ms"]))
    assert [rows[n]["threads"] for n in rows] == [1, 1]
    assert "efficiency" in scaling.table("processes", rows, 1)


def test_processes_that_hang_end_in_an_error() -> None:
    with pytest.raises(TimeoutError, match="2 processes not done in 0"):
        scaling.alongside(CASE, [2], limit=0.2)
    assert not multiprocessing.active_children()


def test_more_processes_than_gpus_are_skipped_visibly(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ended:
        processes = ()

        def join(self, timeout: float) -> bool:
            return True

    def spawn(_: Any, arguments: tuple[Any, ...], nprocs: int, join: bool) -> Ended:
        report = '{"times": {"1": [5.0]}, "rows": {"1": {"gradient_norm": 1.0, "gib": 0.5}}}'
        assert nprocs == 1
        (arguments[-1] / "0.json").write_text(report)
        return Ended()

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(scaling.mp, "spawn", spawn)
    rows = scaling.alongside(scaling.Case(RECIPE, torch.device("cuda"), 1), [1, 2])
    assert scaling.table("processes", rows, 1).splitlines()[-1] == "| 2 | only 1 GPU here | - | - | - | - |"
    assert rows["1"]["gib"] == 0.5
