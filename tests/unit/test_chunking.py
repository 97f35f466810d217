"""How many images pass a frozen network at once."""

from __future__ import annotations

import torch

from dckd_basicsr.distill.chunking import images_at_once


def test_the_options_win():
    assert images_at_once(torch.zeros(8, 3, 192, 192), 3, width=128) == 3


def test_a_cpu_takes_what_its_cache_holds():
    assert images_at_once(torch.zeros(8, 3, 96, 96), None, width=32) == (10 << 20) // (4 * 32 * 96 * 96) == 8
    assert images_at_once(torch.zeros(64, 3, 96, 96), None, width=32, dtype=torch.bfloat16) == 16
    assert images_at_once(torch.zeros(8, 3, 192, 192), None, width=128) == 1
    assert images_at_once(torch.zeros(2, 3, 8, 8), None) == 2


def test_pieces_are_equal_where_that_costs_little():
    assert images_at_once(torch.zeros(20, 3, 96, 96), None, width=32) == 5  # not 8, 8 and 4
    assert images_at_once(torch.zeros(11, 3, 96, 96), None, width=32) == 8  # rather than singly


def test_other_devices_take_all():
    assert images_at_once(torch.zeros(8, 3, 192, 192, device="meta"), None, width=128) == 8
