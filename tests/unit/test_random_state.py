"""Random streams are saved, restored and lent out exactly."""

from __future__ import annotations

import random

import numpy as np
import torch

from dckd_basicsr.checkpoint import load_state, save_state
from dckd_basicsr.runtime.random_state import random_state, restore_random_state, seeded


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


def test_an_error_inside_gives_the_streams_back():
    before = random.getstate()
    try:
        with seeded(1):
            raise KeyError
    except KeyError:
        pass
    assert random.getstate() == before
