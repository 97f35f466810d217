"""Runtime options: what is chosen, what stays equal, what changes by rounding only."""

from __future__ import annotations

import copy

import pytest
import torch
from basicsr.archs import build_network
from torch import nn

from dckd_basicsr.archs import VQGAN, ArchFacts
from dckd_basicsr.distill import FrozenEncoder
from dckd_basicsr.runtime.acceleration import (
    PrecisionSettings,
    RuntimeSettings,
    arrange,
    recompute,
    region,
    repeated_blocks,
    set_float32,
)
from tests.tiny import LAYOUT, STUDENT

SWINIR = {
    "type": "SwinIR", "upscale": 2, "img_size": 8, "window_size": 4, "depths": [2, 2], "embed_dim": 8,
    "num_heads": [2, 2], "mlp_ratio": 2, "upsampler": "pixelshuffledirect", "resi_connection": "1conv",
}  # fmt: skip
RESTORMER = {"type": "Restormer", "dim": 8, "num_blocks": [1, 1, 1, 2], "heads": [1, 1, 2, 2]}
NAFNET = {"type": "NAFNet", "width": 4, "enc_blk_nums": [1, 1], "middle_blk_num": 1, "dec_blk_nums": [1, 1]}
RCAN = {"type": "RCAN", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 16, "num_group": 2, "num_block": 2, "upscale": 2}


@pytest.mark.parametrize(
    ("options", "block", "count"),
    [
        ({**STUDENT, "num_block": 4}, "ResidualBlockNoBN", 4),
        (RCAN, "RCAB", 4),
        (SWINIR, "SwinTransformerBlock", 4),
        (NAFNET, "NAFBlock", 5),
        (RESTORMER, "TransformerBlock", 12),
    ],
)
def test_the_blocks_a_network_is_made_of(options, block, count):
    blocks = repeated_blocks(build_network(dict(options)))
    assert (type(blocks[0]).__name__, len(blocks)) == (block, count)


def test_the_encoder_is_made_of_residual_blocks():
    assert (
        type(repeated_blocks(VQGAN(LAYOUT, n_embed=16, embed_dim=6, decoder=False).encoder)[0]).__name__
        == "ResnetBlock"
    )


def test_a_network_without_repetition_has_none():
    assert repeated_blocks(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())) == []


@pytest.mark.parametrize("options", [{**STUDENT, "num_block": 2}, SWINIR])
def test_recomputed_activations_give_the_same_bits(options):
    """Also of the drop path, whose stream is put back for the second pass, and in a copy of the network."""
    plain = build_network(dict(options)).train()
    lean = copy.deepcopy(plain)
    assert recompute(lean) > 0
    assert lean.state_dict().keys() == plain.state_dict().keys()
    x = torch.rand(2, 3, 8, 8)
    for net in (plain, lean):
        torch.manual_seed(3)
        net(x).square().mean().backward()
    for a, b in zip(plain.parameters(), lean.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)
    moved = copy.deepcopy(lean)
    with torch.no_grad():
        for p in moved.parameters():
            p.zero_()
    assert not torch.equal(moved(x), lean(x))  # the copy runs on its own parameters


def test_channels_last_changes_rounding_alone():
    net = build_network({**STUDENT, "num_feat": 16, "num_block": 3})
    other = copy.deepcopy(net)
    assert (
        arrange(other, RuntimeSettings(channels_last="auto"), ArchFacts(scale=2, channels_last=True)) == "channels_last"
    )
    assert other.conv_first.weight.is_contiguous(memory_format=torch.channels_last)
    x = torch.rand(2, 3, 12, 12)
    torch.testing.assert_close(other(x), net(x), rtol=1e-5, atol=1e-6)


def test_auto_asks_the_facts():
    net = build_network(dict(SWINIR))
    assert arrange(net, RuntimeSettings(channels_last="auto"), ArchFacts(scale=2)) == "as it is"
    assert arrange(net, RuntimeSettings(channels_last=False), ArchFacts(scale=2, channels_last=True)) == "as it is"


def test_compiled_blocks_keep_names_and_values():
    net = build_network({**STUDENT, "num_feat": 8, "num_block": 2})
    other = copy.deepcopy(net)
    assert arrange(other, RuntimeSettings(compile=True)) == "2 x ResidualBlockNoBN compiled"
    assert other.state_dict().keys() == net.state_dict().keys()
    x = torch.rand(2, 3, 12, 12)
    torch.testing.assert_close(other(x), net(x), rtol=1e-5, atol=1e-6)


def test_a_bf16_encoder_keeps_its_codebook_and_is_near():
    vqgan = VQGAN(LAYOUT, n_embed=16, embed_dim=6, decoder=False)
    exact, rough = FrozenEncoder(copy.deepcopy(vqgan)), FrozenEncoder(vqgan, dtype=torch.bfloat16)
    assert rough.vqgan.quantize.embedding.weight.dtype == torch.float32
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    a, b = (encoder(images, taps=True, logits=True) for encoder in (exact, rough))
    assert b.logits.dtype == torch.float32
    for one, two in zip(a.taps, b.taps, strict=True):
        assert two.dtype == torch.bfloat16
        assert (one - two.float()).abs().mean() < 0.02 * one.abs().mean()
    b.taps[-1].float().mean().backward()
    assert images.grad.dtype == torch.float32
    assert images.grad.abs().sum() > 0


def test_precision_is_a_region():
    net, x = nn.Conv2d(3, 3, 3), torch.rand(1, 3, 8, 8)
    with region("bf16", torch.device("cpu")):
        assert net(x).dtype == torch.bfloat16
    for name in (None, "fp32", "tf32"):
        with region(name, torch.device("cpu")):
            assert net(x).dtype == torch.float32


def test_tf32_is_switched_only_if_asked():
    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [flag.allow_tf32 for flag in flags]
    try:
        set_float32(PrecisionSettings())
        assert [flag.allow_tf32 for flag in flags] == before
        set_float32(PrecisionSettings(student="fp32", frozen="tf32"))
        assert [flag.allow_tf32 for flag in flags] == [True, True]
        set_float32(PrecisionSettings(student="fp32"))
        assert [flag.allow_tf32 for flag in flags] == [False, False]
    finally:
        for flag, value in zip(flags, before, strict=True):
            flag.allow_tf32 = value
