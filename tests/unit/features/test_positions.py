"""Feature maps by share of a network's depth, and by what goes into a module."""

from __future__ import annotations

import pytest
import torch
from basicsr.archs import build_network
from torch import nn

from dckd_basicsr.distill.features import FeatureMaps, Place, located
from dckd_basicsr.errors import ConfigError
from tests.terms import EDSR

SR = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "upscale": 2}
RCAN = {**SR, "type": "RCAN", "num_group": 10, "num_block": 1, "squeeze_factor": 2}
SWINIR = {"type": "SwinIR", "upscale": 2, "img_size": 8, "window_size": 4, "depths": [1] * 4, "embed_dim": 4,
          "num_heads": [1] * 4, "mlp_ratio": 1, "upsampler": "pixelshuffle", "resi_connection": "1conv"}  # fmt: skip
NAFNET = {"type": "NAFNet", "width": 4, "enc_blk_nums": [1, 1], "middle_blk_num": 1, "dec_blk_nums": [1, 1]}
RESTORMER = {"type": "Restormer", "dim": 4, "num_blocks": [1, 1, 1, 1], "num_refinement_blocks": 1, "heads": [1] * 4}
LQ = torch.rand(1, 3, 8, 8)

PLACES = [
    ({**EDSR, "num_block": 32}, "body.10", "body.21", "upsample"),  # FAKD's successors: blocks 10 and 21 of 32
    ({**EDSR, "num_block": 16}, "body.5", "body.10", "upsample"),
    (RCAN, "body.2", "body.6", "upsample"),  # FAKD: groups 2 and 6 of 10
    ({**RCAN, "num_group": 1}, "body.0", "body.0", "upsample"),
    (SWINIR, "layers.1", "layers.2", "conv_before_upsample"),
    ({**SWINIR, "upsampler": "pixelshuffledirect"}, "layers.1", "layers.2", "upsample"),
    ({**SWINIR, "upsampler": ""}, "layers.1", "layers.2", "conv_last"),
    (NAFNET, "encoders.1", "decoders.0", "ending"),
    (RESTORMER, "encoder_level3", "decoder_level2", "output"),
]


@pytest.mark.parametrize(("options", "third", "two_thirds", "after"), PLACES, ids=lambda each: None)
def test_shares_of_known_networks(options, third, two_thirds, after):
    net = build_network(dict(options))
    assert located(net, "1/3") == Place(third)
    assert located(net, "2/3") == Place(two_thirds)
    assert located(net, "end") == Place(after, before=True)
    wrapped = nn.Module()
    wrapped.net = net
    assert located(wrapped, "1/3") == Place(f"net.{third}")
    assert located(wrapped, "end") == Place(f"net.{after}", before=True)
    maps = FeatureMaps(net, ["1/3", "2/3", "end"], "student")
    with maps.taking() as taken:
        net.eval()(LQ)
    assert set(taken) == {"1/3", "2/3", "end"}


def test_every_share_of_ten_blocks():
    net = build_network({**EDSR, "num_block": 10})
    shares = [f"{i}/10" for i in range(1, 11)]
    assert [located(net, each).module for each in shares] == [f"body.{i}" for i in range(10)]
    assert located(net, "1/100") == Place("body.0")


def test_the_input_of_a_module_is_after_the_long_skip():
    net = build_network(EDSR)
    maps = FeatureMaps(net, ["conv_first", "conv_after_body", "end", "conv_last@input"], "student")
    with maps.taking() as taken, torch.no_grad():
        net(LQ)
    torch.testing.assert_close(taken["end"], taken["conv_first"] + taken["conv_after_body"])
    torch.testing.assert_close(taken["conv_last@input"], net.upsample(taken["end"]))


def test_networks_that_nobody_knows():
    class Mine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1))
            self.rows = nn.ModuleList([nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)])

    assert [located(Mine(), each).module for each in ("1/3", "2/3", "end")] == ["rows.0", "rows.2", "rows.3"]
    with pytest.raises(ConfigError, match="Linear has no repeated blocks by which 'end' could be found; name module"):
        located(nn.Linear(1, 1), "end")
    other = type("EDSR", (Mine,), {})()  # of a known name, with an inside of its own
    assert located(other, "1/3") == Place("rows.0")


@pytest.mark.parametrize("share", ["0/3", "4/3", "1/0"])
def test_shares_out_of_range(share):
    with pytest.raises(ConfigError, match=f"the position '{share}' must be a share of the depth"):
        located(build_network(EDSR), share)


def test_the_input_of_a_module_that_is_not_there():
    with pytest.raises(ConfigError, match="has no module 'upsampel'; near are: upsample"):
        FeatureMaps(build_network(EDSR), ["upsampel@input"], "student")
