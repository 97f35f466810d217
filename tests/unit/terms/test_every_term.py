"""Every registered term works on every network in every way a step can run; a new one is in it by registering."""

from __future__ import annotations

import pytest

import dckd_basicsr.distill.terms  # noqa: F401 (registers)
from dckd_basicsr.distill import TERMS
from tests.every_term import CONDITIONS, NETWORKS

NAMES = sorted(TERMS)
KINDS = ("EDSR", "SwinIR")
ENOUGH = {
    **dict.fromkeys(("bf16", "recorded", "compiled", "recomputed"), KINDS),
    **dict.fromkeys(("accumulated", "resumed"), (*KINDS, "NAFNet")),  # U-shaped: its maps have several sizes
}
"""Way -> networks that are enough for it here, one of each kind; `python -m tests.every_term` runs all of them."""


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("term", NAMES)
def test_every_way(term, network):
    for name, check in CONDITIONS.items():
        if network in ENOUGH.get(name, NETWORKS):
            check(term, network)
