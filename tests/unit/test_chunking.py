"""How many images pass a frozen network at once."""

from __future__ import annotations

import torch

from dckd_basicsr.distill.chunking import images_at_once


def test_the_options_win():
    assert images_at_once(torch.zeros(8, 3, 192, 192), 3, width=128) == 3


def test_a_cpu_takes_what_its_cache_holds():
    assert images_at_once(torch.zeros(8, 3, 96, 96), None, width=80) == (12 << 20) // (4 * 80 * 96 * 96) == 4
    assert images_at_once(torch.zeros(64, 3, 96, 96), None, width=80, dtype=torch.bfloat16) == 8
    assert images_at_once(torch.zeros(8, 3, 192, 192), None, width=128) == 1
    assert images_at_once(torch.zeros(2, 3, 8, 8), None) == 2


def test_pieces_are_equal_where_that_costs_little():
    assert images_at_once(torch.zeros(18, 3, 96, 96), None, width=80) == 3  # not four times 4 and 2
    assert images_at_once(torch.zeros(11, 3, 96, 96), None, width=80) == 4  # rather than singly


def test_other_devices_take_all():
    assert images_at_once(torch.zeros(8, 3, 192, 192, device="meta"), None, width=128) == 8
