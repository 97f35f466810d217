"""Tiles: equal to one pass with enough overlap, at any size and scale."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dckd_basicsr.errors import ConfigError
from dckd_basicsr.inference.tiling import TileSettings, run_tiled


class Net(nn.Module):
    """x2 with a reach of 3 pixels."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(3)))
        self.up = nn.PixelShuffle(scale)
        self.widen = nn.Conv2d(3, 3 * scale**2, 1)

    def forward(self, x):
        return self.up(self.widen(self.body(x)))


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("size", [(40, 57), (16, 90), (24, 24), (25, 23), (7, 9)])
def test_equals_one_pass_with_enough_overlap(scale, size):
    net, x = Net(scale), torch.rand(2, 3, *size)
    with torch.no_grad():
        tiled = run_tiled(net, x, scale, TileSettings(size=24, overlap=8))
        torch.testing.assert_close(tiled, net(x), atol=1e-6, rtol=1e-5)


def test_tiles_have_the_stated_size():
    seen = []

    def spy(x):
        seen.append(tuple(x.shape[-2:]))
        return x

    x = torch.rand(1, 3, 30, 50)
    assert torch.equal(run_tiled(spy, x, 1, TileSettings(16, 4)), x)
    assert set(seen) == {(16, 16)}
    assert len(seen) == 3 * 4


def test_too_little_overlap_shows():
    net, x = Net(1), torch.rand(1, 3, 48, 48)
    with torch.no_grad():
        assert (run_tiled(net, x, 1, TileSettings(16, 0)) - net(x)).abs().max() > 1e-3


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (16, 16), (16, -1)])
def test_bad_settings(size, overlap):
    with pytest.raises(ConfigError, match=r"val\.tile needs size"):
        TileSettings(size, overlap)


@pytest.mark.parametrize("batch", [2, 5, 100])
@pytest.mark.parametrize("size", [(40, 57), (16, 90), (25, 23)])
def test_batches_of_tiles_equal_one_pass(batch, size):
    net, x = Net(2), torch.rand(2, 3, *size)
    with torch.no_grad():
        tiled = run_tiled(net, x, 2, TileSettings(size=24, overlap=8, batch=batch))
        torch.testing.assert_close(tiled, net(x), atol=1e-6, rtol=1e-5)


def test_twice_the_reach_is_enough_and_a_pixel_less_on_each_side_is_not():
    net, x = Net(1).double(), torch.rand(1, 3, 60, 70, dtype=torch.float64)
    with torch.no_grad():
        whole = net(x)
        torch.testing.assert_close(run_tiled(net, x, 1, TileSettings(16, 6)), whole, atol=1e-14, rtol=0)
        assert (run_tiled(net, x, 1, TileSettings(16, 4)) - whole).abs().max() > 1e-4


def test_passes_hold_as_many_tiles_as_asked():
    seen = []

    def spy(x):
        seen.append(tuple(x.shape))
        return x.repeat_interleave(2, -1).repeat_interleave(2, -2)

    x = torch.rand(2, 3, 30, 50)
    assert torch.equal(run_tiled(spy, x, 2, TileSettings(16, 4, batch=5)), spy(x))
    assert seen[:-1] == [(10, 3, 16, 16)] * 2 + [(4, 3, 16, 16)]  # 3 x 4 tiles of two images


@pytest.mark.parametrize("size", [(30, 30), (10, 10)])  # in tiles, and in one pass
def test_the_output_is_put_together_where_asked(size):
    x = torch.rand(1, 3, *size)
    out = run_tiled(lambda v: v, x, 1, TileSettings(16, 4), torch.device("meta"))
    assert out.device.type == "meta"
    assert out.shape == x.shape


def test_no_tile_at_a_time():
    with pytest.raises(ConfigError, match=r"val\.tile needs batch >= 1"):
        TileSettings(16, 4, 0)
