"""Random streams are saved, restored and lent out exactly."""

from __future__ import annotations

import random

import numpy as np
import torch

from dckd_basicsr.data.random_state import random_state, restore_random_state, seeded
from dckd_basicsr.weight_files import load_state, save_state


def draw() -> tuple:
    return random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(()).item()


def test_every_stream_goes_on_from_a_file(tmp_path):
    draw()  # gauss and randn keep a second number back, which belongs to the state
    save_state({"streams": random_state()}, tmp_path / "state")
    wanted = [draw() for _ in range(3)]
    random.seed(9)
    np.random.seed(9)
    torch.manual_seed(9)
    restore_random_state(load_state(tmp_path / "state")["streams"])
    assert [draw() for _ in range(3)] == wanted


def test_a_seeded_block_depends_on_its_seed_alone_and_leaves_no_trace():
    before = random_state()
    with seeded(2**62 - 1):
        first = draw()
    draw()
    with seeded(2**62 - 1):
        assert draw() == first
    with seeded(5):
        assert draw() != first
    restore_random_state(before)
    wanted = draw()
    restore_random_state(before)
    with seeded(7):
        draw()
    assert draw() == wanted


def test_every_stream_follows_the_seed():
    def first(seed: int) -> tuple:
        with seeded(seed):
            return random.random(), np.random.rand(), torch.rand(()).item()

    seeds = (5, 6, 69, 2**32 + 4, 2**62)
    for stream in zip(*map(first, seeds)):
        assert len(set(stream)) == len(seeds)


def test_a_gpus_stream_is_kept_and_put_back_where_there_is_one(monkeypatch):
    put = []
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: torch.tensor([device.index]))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: put.append((state.item(), str(device))))
    on_gpu, on_cpu = random_state("cuda:1"), random_state()
    for state in (on_gpu, on_cpu):
        for device in ("cuda:0", "cpu"):
            restore_random_state(state, device)
    assert on_cpu["cuda"] is None
    assert put == [(1, "cuda:0")]


def test_an_error_inside_gives_the_streams_back():
    before = random.getstate()
    try:
        with seeded(1):
            raise KeyError
    except KeyError:
        pass
    assert random.getstate() == before
