"""Label consistency: the inverse undoes every composition, also on an enlarged image."""

from __future__ import annotations

import itertools

import pytest
import torch

from dckd_basicsr.distill import ConsistencySettings, Generators, Transform, draw_transform

ALL = torch.tensor(list(itertools.product([False, True], repeat=4))).T  # (4, 16): every composition once


def test_inverse_undoes_every_composition():
    x = torch.rand(16, 3, 6, 6, dtype=torch.float64)
    transform = Transform(ALL)
    torch.testing.assert_close(transform.inverse(transform(x)), x, rtol=0, atol=1e-15)


def test_geometry_is_exact_in_float32():
    x = torch.rand(16, 3, 5, 5)
    switches = ALL.clone()
    switches[0] = False
    transform = Transform(switches)
    assert torch.equal(transform.inverse(transform(x)), x)


def test_the_inverse_fits_an_enlarged_image():
    x = torch.rand(16, 3, 4, 4)
    transform = Transform(ALL)
    large = transform(x).repeat_interleave(3, 2).repeat_interleave(3, 3)
    torch.testing.assert_close(
        transform.inverse(large), x.repeat_interleave(3, 2).repeat_interleave(3, 3), rtol=0, atol=1e-6
    )


def test_order_by_hand():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 1, 2, 2)
    hflip_transpose = Transform(torch.tensor([[False], [False], [True], [True]]))
    # horizontal flip: [[2, 1], [4, 3]]; then transpose: [[2, 4], [1, 3]]
    assert torch.equal(hflip_transpose(x), torch.tensor([[2.0, 4.0], [1.0, 3.0]]).view(1, 1, 2, 2))


def test_each_sample_draws_for_itself():
    transform = draw_transform(200, ConsistencySettings(prob=0.5), Generators(0), torch.device("cpu"))
    share = transform.switches.float().mean(1)
    assert ((share > 0.38) & (share < 0.62)).all()
    assert len(torch.unique(transform.switches.T, dim=0)) == 16


def test_probability_zero_is_the_identity():
    transform = draw_transform(4, ConsistencySettings(prob=0.0), Generators(0), torch.device("cpu"))
    x = torch.rand(4, 3, 8, 8)
    assert torch.equal(transform(x), x)


def test_needs_square_patches():
    with pytest.raises(ValueError, match="square patches, got 8x6"):
        Transform(ALL[:, :1])(torch.zeros(1, 3, 8, 6))
    with pytest.raises(ValueError, match="square patches, got 6x8"):
        Transform(ALL[:, :1]).inverse(torch.zeros(1, 3, 6, 8))


def test_the_draw_is_of_the_methods_own_stream():
    before = torch.get_rng_state()
    first, second = (draw_transform(32, ConsistencySettings(), Generators(1), torch.device("cpu")) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.switches, second.switches)
