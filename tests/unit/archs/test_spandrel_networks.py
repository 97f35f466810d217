"""spandrel's architectures as students: checked, trained, averaged, and read back by spandrel itself."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch

from dckd_basicsr.archs import build, merged, outline, spandrel_names
from dckd_basicsr.archs.buffers import follow
from dckd_basicsr.config.components import network_problems
from dckd_basicsr.errors import ConfigError

SPAN = {"type": "spandrel:SPAN", "num_in_ch": 3, "num_out_ch": 3, "feature_channels": 8, "upscale": 2}
NETWORKS: list[dict[str, Any]] = [
    SPAN,
    {"type": "spandrel:Compact", "num_feat": 8, "num_conv": 2, "upscale": 3},
    {"type": "spandrel:PLKSR", "dim": 8, "n_blocks": 2, "upscaling_factor": 4, "kernel_size": 5},
    {"type": "spandrel:RCAN", "n_resgroups": 1, "n_resblocks": 1, "n_feats": 16, "scale": 2},
    {"type": "spandrel:NAFNet", "width": 4, "middle_blk_num": 1, "enc_blk_nums": [1], "dec_blk_nums": [1]},
    {"type": "spandrel:DnCNN", "in_nc": 4, "out_nc": 3, "nc": 4, "nb": 9, "act_mode": "R", "mode": "FDnCNN"},
]


def read_back(net: torch.nn.Module) -> Any:
    import spandrel

    return spandrel.MAIN_REGISTRY.load({key: value.clone() for key, value in net.state_dict().items()})


@pytest.mark.parametrize("options", NETWORKS, ids=lambda options: options["type"].split(":")[1])
def test_a_student_trains_and_spandrel_reads_its_file(options):
    net, facts = build(options)
    x = torch.rand(2 if "DnCNN" not in options["type"] else 1, 3, 16, 16)
    before = x.clone()
    net.train()
    net(x).square().mean().backward()
    trained = [p for p in net.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained), "every parameter that trains gets a gradient"
    assert torch.equal(x, before), "the batch is as it was"
    torch.optim.SGD(trained, 1e-6).step()
    found = read_back(net)
    assert (found.scale, found.input_channels) == (facts.scale, facts.input_channels)
    with torch.no_grad():
        mine = deepcopy(net).eval()(x)
        torch.testing.assert_close(mine.clamp(0, 1), found(x.clone()), atol=1e-5, rtol=1e-5)
    assert mine.shape[-1] == 16 * facts.scale


def test_answers_are_not_clamped():
    net = build(SPAN).net
    with torch.no_grad():
        net.upsampler[0].bias += 2
        assert net.eval()(torch.rand(1, 3, 8, 8)).max() > 1


def test_merged_weights_follow_the_branches_of_an_average():
    """A state dict, an average and a copy for inference hold the convolution that the averaged branches amount to."""
    net = build(SPAN).net
    average = deepcopy(net)
    with torch.no_grad():
        for p in net.parameters():
            p += 0.1 * torch.randn_like(p)
    follow(average, net, 0.5)
    x = torch.rand(1, 3, 12, 10)
    with torch.no_grad():
        branches = average.train()(x)
        saved = average.state_dict()
        torch.testing.assert_close(merged(average)(x), branches, atol=3e-5, rtol=1e-4)
        torch.testing.assert_close(average.eval()(x), branches, atol=3e-5, rtol=1e-4)
    plain = deepcopy(merged(average))
    assert not any(hasattr(module, "update_params") for module in plain.modules())
    torch.testing.assert_close(plain.conv_1.weight, saved["conv_1.eval_conv.weight"])
    assert not torch.equal(saved["conv_1.eval_conv.weight"], net.state_dict()["conv_1.eval_conv.weight"])


def test_only_what_trains_is_given_to_an_optimizer():
    net = build(SPAN).net
    assert {name for name, p in net.named_parameters() if not p.requires_grad} == {
        name for name, _ in net.named_parameters() if "eval_conv" in name
    }


def test_an_outline_knows_scale_and_channels():
    for options in NETWORKS[:3]:
        facts = outline(options).facts
        assert facts == build(options).facts
    assert build(NETWORKS[1]).facts.channels_last


def test_arguments_that_a_file_does_not_tell_are_refused():
    with pytest.raises(ConfigError, match=r"does not tell img_range.*img_range 255\.0.*leave it out"):
        build({**SPAN, "img_range": 1.0})
    with pytest.raises(ConfigError, match=r"would not recognise a NAFNet"):
        build({"type": "spandrel:NAFNet", "middle_blk_num": 0})


def test_names_and_arguments_are_checked_as_of_other_networks():
    assert network_problems("network_g", SPAN) == []
    (unknown,) = network_problems("network_g", {"type": "spandrel:SPANN"})
    assert "unknown network 'spandrel:SPANN' in network_g; did you mean 'spandrel:SPAN'?" in unknown
    (typo,) = network_problems("network_g", {**SPAN, "feature_chanels": 8})
    assert "did you mean 'feature_channels'?" in typo
    missing = network_problems("network_g", {"type": "spandrel:SPAN"})
    assert any("num_in_ch" in text for text in missing)
    assert len(spandrel_names()) > 40
