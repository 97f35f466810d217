"""Sizes: facts of networks, padding to them, cropping back."""

from __future__ import annotations

import pytest
import torch
from basicsr.archs import build_network
from torch import nn

from dckd_basicsr.archs import ArchFacts, Bicubic, facts_from_options, facts_of
from dckd_basicsr.inference.padding import pad_to, run_padded
from dckd_basicsr.inference.restore import restorer


class Strict(nn.Module):
    """x2, and fails like a window network on a size that does not fit."""

    def __init__(self, multiple: int) -> None:
        super().__init__()
        self.multiple = multiple

    def forward(self, x):
        assert x.shape[-1] % self.multiple == 0
        assert x.shape[-2] % self.multiple == 0
        return x.repeat_interleave(2, -1).repeat_interleave(2, -2)


@pytest.mark.parametrize("size", [(1, 1), (7, 8), (8, 8), (9, 31), (3, 20)])
def test_padded_and_cropped_back(size):
    x = torch.rand(1, 3, *size)
    out = run_padded(Strict(8), x, ArchFacts(scale=2, multiple_of=8, minimum=8))
    assert torch.equal(out, x.repeat_interleave(2, -1).repeat_interleave(2, -2))


def test_padding_reflects():
    x = torch.arange(3.0).view(1, 1, 1, 3).expand(1, 1, 3, 3)
    assert pad_to(x, ArchFacts(1, multiple_of=5))[0, 0, 0].tolist() == [0, 1, 2, 1, 0]


def test_a_fitting_image_is_not_copied():
    x = torch.rand(1, 3, 16, 16)
    assert pad_to(x, ArchFacts(1, multiple_of=8)) is x


def test_minimum_size():
    assert pad_to(torch.rand(1, 1, 5, 40), ArchFacts(1, multiple_of=8, minimum=32)).shape[-2:] == (32, 40)


class Square(nn.Module):
    """x2, and fails on an image that is not square, or no multiple of 8."""

    def forward(self, x):
        assert x.shape[-1] == x.shape[-2]
        assert x.shape[-1] % 8 == 0
        return x.repeat_interleave(2, -1).repeat_interleave(2, -2)


@pytest.mark.parametrize("size", [(16, 16), (16, 40), (31, 9), (1, 50), (7, 7)])
def test_square_inputs(size):
    facts = ArchFacts(scale=2, multiple_of=8, square=True)
    x = torch.rand(1, 3, *size)
    assert pad_to(x, facts).shape[-2:] == (-(-max(size) // 8) * 8,) * 2
    assert torch.equal(run_padded(Square(), x, facts), x.repeat_interleave(2, -1).repeat_interleave(2, -2))


def test_square_inputs_in_tiles_and_turned():
    """Every tile and every turn is padded by itself."""
    x = torch.rand(1, 3, 21, 50)
    for val in ({"self_ensemble": True}, {"tile": {"size": 24, "overlap": 8}}):
        out = restorer(Square(), ArchFacts(scale=2, multiple_of=8, square=True), val)(x)
        torch.testing.assert_close(out, x.repeat_interleave(2, -1).repeat_interleave(2, -2))


def test_what_needs_no_padding():
    facts = ArchFacts(1, multiple_of=8, minimum=16, square=True)
    assert [side for side in range(40) if facts.admits(side)] == [16, 24, 32]
    assert facts.padded(17, 40) == (40, 40)
    assert ArchFacts(1, multiple_of=8, minimum=12).padded(3, 17) == (16, 24)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", ["EDSR", "RCAN", "SwinIR"])
def test_stock_networks_run_at_any_size(name, scale):
    options = {
        "EDSR": {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1},
        "RCAN": {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 16, "num_group": 1, "num_block": 1},
        "SwinIR": {"img_size": 16, "window_size": 8, "embed_dim": 12, "depths": [1], "num_heads": [2],
                   "upsampler": "pixelshuffle"},
    }[name]  # fmt: skip
    block = {"type": name, "upscale": scale, **options}
    net = build_network(block).eval()
    facts = facts_of(net, block, scale)
    assert facts.scale == scale
    assert facts.multiple_of == (8 if name == "SwinIR" else 1)
    with torch.no_grad():
        assert run_padded(net, torch.rand(1, 3, 13, 18), facts).shape == (1, 3, 13 * scale, 18 * scale)


def test_unknown_networks_take_the_scale_of_the_run():
    assert facts_from_options({"type": "Somebody's"}) is None
    assert facts_of(nn.Identity(), {"type": "Somebody's"}, 3) == ArchFacts(scale=3)


def test_bicubic_network_keeps_constants_and_ramps():
    net = Bicubic(4)
    assert net.facts.scale == 4
    torch.testing.assert_close(net(torch.full((1, 3, 5, 6), 0.3)), torch.full((1, 3, 20, 24), 0.3))
    ramp = torch.arange(12.0).view(1, 1, 1, 12).expand(1, 1, 12, 12)
    out = net(ramp)[0, 0, 24, 8:-8]
    torch.testing.assert_close(out.diff(), torch.full_like(out.diff(), 0.25))
