"""The numbers of a short run are what they were: see ``tests/curves.py``."""

from __future__ import annotations

import pytest

from tests.curves import CURVES, FOLDER, ITERATIONS, TOLERANCE, machine, read, recorded

TERMS = {"l_pix", "l_logits", "l_contrast", "l_dist", "l_consist", "l_total", "d_teacher", "d_negative"}


@pytest.mark.parametrize("name", CURVES)
def test_every_term_of_every_iteration_is_as_recorded(name, tmp_path):
    where, golden = read(FOLDER / f"curve_{name}.txt")
    curve = recorded(name, tmp_path)
    assert {term for _, term in curve} == TERMS
    assert {iteration for iteration, _ in curve} == set(range(1, ITERATIONS + 1))
    if where == machine():
        assert curve == golden
    else:
        assert curve == pytest.approx(golden, rel=TOLERANCE)
