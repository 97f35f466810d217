"""Self-ensemble: the mean of eight turned answers, counted by hand, at any shape and scale."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dckd_basicsr.archs import ArchFacts
from dckd_basicsr.inference.ensemble import run_ensembled
from dckd_basicsr.inference.restore import restorer


def enlarge(x):
    return x.repeat_interleave(2, -1).repeat_interleave(2, -2)


@pytest.mark.parametrize("shape", [(1, 3, 5, 9), (3, 1, 9, 4), (2, 3, 6, 6), (1, 3, 1, 7)])
def test_a_function_that_commutes_with_turns_is_unchanged_to_the_bit(shape):
    x = torch.randn(shape)
    assert torch.equal(run_ensembled(lambda v: enlarge(v) * 0.7 + 0.1, x), enlarge(x) * 0.7 + 0.1)


def test_each_pixel_is_the_mean_of_eight_by_hand():
    """Marking the top left corner of what arrives: each turn brings the mark to a corner of the image.

    Four turns that keep the shape reach four corners, and so do the four others: every corner is marked twice in eight.
    """

    def mark(v):
        out = torch.zeros_like(v)
        out[..., 0, 0] = 8.0
        return out

    expected = torch.zeros(1, 1, 2, 3)
    expected[..., [0, 0, -1, -1], [0, -1, 0, -1]] = 2.0
    assert torch.equal(run_ensembled(mark, torch.zeros(1, 1, 2, 3)), expected)


def test_transposed_turns_differ_from_the_straight_ones():
    """Column numbers of what arrives, by hand on 2 x 3: columns and their mirror, rows and theirs, each twice in eight.

    2 (j + (2 - j)) + 2 (i + (1 - i)) = 6, over 8.
    """

    def columns(v):
        return torch.arange(v.shape[-1], dtype=torch.float32).expand_as(v)

    assert torch.equal(run_ensembled(columns, torch.zeros(1, 1, 2, 3)), torch.full((1, 1, 2, 3), 0.75))


def turned(x, k, flip):
    return (x.flip(-1) if flip else x).rot90(k, (-2, -1))


@pytest.mark.parametrize("shape", [(2, 3, 7, 12), (1, 3, 8, 8)])
def test_equals_rotations_and_flips_one_by_one(shape):
    """The paper turns by rotation and flip: the same eight."""
    torch.manual_seed(0)
    net, x = nn.Conv2d(3, 3, 3, padding=1).double(), torch.rand(shape, dtype=torch.float64)
    answers = []
    for flip in (False, True):
        for k in range(4):
            back = net(turned(x, k, flip)).rot90(-k, (-2, -1))
            answers.append(back.flip(-1) if flip else back)
    expected = torch.stack(answers).mean(0)
    assert (expected - net(x)).abs().max() > 0.05
    torch.testing.assert_close(run_ensembled(net, x), expected, atol=1e-14, rtol=0)


def test_two_passes_of_four_turns():
    seen = []

    def spy(v):
        seen.append(tuple(v.shape))
        return v

    run_ensembled(spy, torch.rand(2, 3, 4, 6))
    assert seen == [(8, 3, 4, 6), (8, 3, 6, 4)]


class Window(nn.Module):
    """A convolution, x2, that fails like a window network on a size that does not fit."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        assert x.shape[-1] % 8 == 0
        assert x.shape[-2] % 8 == 0
        return enlarge(self.conv(x))


@torch.no_grad()
def test_with_padding_and_tiles():
    """Tiles give what whole images give, for sizes that are no multiples; each with all its turns."""
    net, facts, x = Window(), ArchFacts(scale=2, multiple_of=8), torch.rand(2, 3, 21, 37)
    whole = restorer(net, facts, {"self_ensemble": True})(x)
    assert whole.shape == (2, 3, 42, 74)
    tiled = restorer(net, facts, {"self_ensemble": True, "tile": {"size": 16, "overlap": 4, "batch": 3}})(x)
    inner = (..., slice(4, -4), slice(4, -4))  # padding turns with the image, so outer edges may differ
    torch.testing.assert_close(tiled[inner], whole[inner], atol=1e-6, rtol=0)
    assert (whole - restorer(net, facts, {})(x)).abs().max() > 0.01
