"""Every registered term has the same gradients in two processes as in one; a new one is in it by registering."""

from __future__ import annotations

import pytest

import dckd_basicsr.distill.terms  # noqa: F401 (registers)
from dckd_basicsr.distill import TERMS
from tests.every_term import check_shared, two_processes

NAMES = sorted(TERMS)
KINDS = ("EDSR", "SwinIR")
"""A network of each kind is enough here; `python -m tests.every_term` runs all of them."""


@pytest.fixture(scope="module")
def shared():
    return two_processes(NAMES, KINDS)


@pytest.mark.parametrize("term", NAMES)
def test_in_two_processes(term, shared):
    for network in KINDS:
        check_shared(shared[term, network], term, network)
