"""Every registered term works on every network in every way a step can run; a new one is in it by registering."""

from __future__ import annotations

import pytest

import dckd_basicsr.distill.terms  # noqa: F401 (registers)
from dckd_basicsr.distill import TERMS
from tests.every_term import CONDITIONS, NETWORKS, check_shared, two_processes

NAMES = sorted(TERMS)
SLOW, KINDS = ("recorded", "compiled"), ("EDSR", "SwinIR")
"""Ways for which a network of each kind is enough here; `python -m tests.every_term` runs all of them."""


@pytest.fixture(scope="module")
def shared():
    return two_processes(NAMES, KINDS)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("term", NAMES)
def test_every_way(term, network):
    for name, check in CONDITIONS.items():
        if name not in SLOW or network in KINDS:
            check(term, network)


@pytest.mark.parametrize("term", NAMES)
def test_in_two_processes(term, shared):
    for network in KINDS:
        check_shared(shared[term, network], term, network)
