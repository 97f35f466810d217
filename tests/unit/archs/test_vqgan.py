"""VQGAN: official numbers, official layout, and the lazy passes."""

from __future__ import annotations

import pytest
import torch

from dckd_basicsr.archs import VQGAN, vqgan_options_from_state
from dckd_basicsr.config import resolve_weights
from dckd_basicsr.errors import CheckpointError, ConfigError
from dckd_basicsr.weight_files import load_weights

SMALL = {
    "ch": 32,
    "ch_mult": [1, 1, 2],
    "attn_resolutions": [8],
    "resolution": 32,
    "z_channels": 8,
}


def small(decoder: bool = False) -> VQGAN:
    return VQGAN(SMALL, n_embed=20, embed_dim=6, decoder=decoder).eval()


@pytest.mark.shared
def test_matches_the_official_encoder(golden):
    tensors, config = golden("vqgan")
    net = VQGAN(config["ddconfig"], config["n_embed"], config["embed_dim"], decoder=False).eval()
    net.load_state_dict({k.removeprefix("state."): v for k, v in tensors.items() if k.startswith("state.")})
    with torch.no_grad():
        encoding = net.analyse(tensors["input"], logits=True)
        latent = net.encode(tensors["input"])
    for i, tap in enumerate(encoding.taps):
        torch.testing.assert_close(tap, tensors[f"tap.{i}"], atol=5e-6, rtol=1e-5)
    torch.testing.assert_close(latent, tensors["latent"], atol=5e-6, rtol=1e-5)
    torch.testing.assert_close(-encoding.logits, tensors["squared_distance"], atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(
        net.code_distribution(tensors["input"]), tensors["code_distribution"], atol=2e-6, rtol=1e-5
    )


def test_default_is_the_imagenet_model():
    with torch.device("meta"):
        net = VQGAN(decoder=False)
    assert sum(p.numel() for p in net.parameters()) == 29_626_112  # 29.63 M, the encoder side of the f16 model
    assert net.num_taps == 5


def test_taps_have_the_published_shapes():
    net = VQGAN({"ch": 32}, n_embed=8, embed_dim=4, decoder=False)
    taps = net.analyse(torch.rand(1, 3, 64, 32), logits=False).taps
    assert [tuple(t.shape[1:]) for t in taps] == [(32, 64, 32), (32, 32, 16), (64, 16, 8), (64, 8, 4), (128, 4, 2)]


def test_layout_names_are_the_official_ones():
    keys = set(small(decoder=True).state_dict())
    assert {
        "encoder.conv_in.weight",
        "encoder.down.0.block.1.norm2.bias",
        "encoder.down.2.block.0.nin_shortcut.weight",
        "encoder.down.2.attn.1.proj_out.weight",
        "encoder.down.1.downsample.conv.weight",
        "encoder.mid.attn_1.q.weight",
        "encoder.norm_out.weight",
        "quant_conv.weight",
        "quantize.embedding.weight",
        "decoder.up.2.block.2.conv1.weight",
        "decoder.up.1.upsample.conv.weight",
        "decoder.mid.block_2.conv2.bias",
        "post_quant_conv.weight",
    } <= keys
    assert "encoder.down.2.downsample.conv.weight" not in keys
    assert "decoder.up.0.upsample.conv.weight" not in keys


def test_the_last_tap_is_taken_before_attention():
    net = small()
    x = torch.rand(1, 3, 16, 16)
    before = net.analyse(x).taps[-1]
    for p in net.encoder.down[2].attn.parameters():
        p.data.add_(1.0)
    torch.testing.assert_close(net.analyse(x).taps[-1], before, rtol=0, atol=0)


def test_one_pass_equals_separate_passes():
    net, x = small(), torch.rand(3, 3, 16, 24)
    both = net.analyse(x, taps=True, logits=True)
    first = net.analyse(x, taps=True, logits=2)
    assert net.analyse(x, taps=False, logits=True).taps == ()
    assert net.analyse(x).logits is None
    assert both.logits.shape == (3 * 4 * 6, 20)
    torch.testing.assert_close(first.logits, both.logits[: 2 * 4 * 6], atol=1e-5, rtol=1e-5)


def test_logits_are_minus_the_squared_distances():
    net = small()
    z = torch.randn(2, 6, 2, 3)
    rows = z.permute(0, 2, 3, 1).reshape(-1, 6)
    expected = -(rows[:, None] - net.quantize.embedding.weight[None]).pow(2).sum(-1)
    torch.testing.assert_close(net.quantize.logits(z), expected, atol=1e-5, rtol=1e-5)


def test_stopping_at_the_last_tap_skips_the_rest(monkeypatch):
    net = small()
    monkeypatch.setattr(net.encoder, "from_last_tap", lambda tap: pytest.fail("ran past the last tap"))
    assert len(net.analyse(torch.rand(1, 3, 16, 16), taps=True, logits=False).taps) == 3


def test_reconstruction_has_the_input_size_and_a_straight_through_gradient():
    net = small(decoder=True)
    x = torch.rand(1, 3, 16, 24, requires_grad=True)
    out = net(x)
    assert out.shape == x.shape
    out.sum().backward()
    assert x.grad.abs().sum() > 0


def test_layout_is_read_off_a_state_dict():
    net = VQGAN({**SMALL, "ch_mult": (1, 2, 2, 4), "num_res_blocks": 1, "attn_resolutions": (4,)}, 12, 5)
    rebuilt = VQGAN(**vqgan_options_from_state(net.state_dict()))
    rebuilt.load_state_dict(net.state_dict())
    x = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(rebuilt.eval()(x), net.eval()(x), rtol=0, atol=0)


def test_shipped_weights_fit_their_own_description():
    weights = load_weights(resolve_weights("builtin:vqgan_f16_ch32_n1024"))
    net = VQGAN(**vqgan_options_from_state(weights.state))
    net.load_state_dict(weights.state)
    assert {v.dtype for v in weights.state.values()} == {torch.float32}
    assert list(net.config.ch_mult) == weights.config["ddconfig"]["ch_mult"]
    assert sum(p.numel() for p in net.parameters()) == 1_907_648


def test_a_foreign_state_dict_is_refused_by_name():
    with pytest.raises(CheckpointError, match=r"not a VQGAN's.*encoder.conv_in.weight"):
        vqgan_options_from_state({"conv_first.weight": torch.zeros(1)})


def test_unknown_layout_key_has_a_hint():
    with pytest.raises(ConfigError, match="did you mean 'ch_mult'"):
        VQGAN({"ch_mul": [1, 2]})


def test_widths_must_divide_into_groups():
    with pytest.raises(ConfigError, match="multiples of 32"):
        VQGAN({"ch": 20})
