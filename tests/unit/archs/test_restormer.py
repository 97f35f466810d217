"""Restormer: official numbers, official layout, the transposed attention, sizes and precisions."""

from __future__ import annotations

import math

import pytest
import torch
from basicsr.archs import build_network

from dckd_basicsr.archs import ArchFacts, Restormer, facts_from_options, facts_of
from dckd_basicsr.archs.networks.restormer_blocks import ChannelAttention, GatedFeedForward, cosines
from dckd_basicsr.errors import ConfigError
from dckd_basicsr.inference.padding import run_padded

TINY = {"dim": 8, "num_blocks": (1, 1, 1, 2), "num_refinement_blocks": 1}
BLOCK = {
    **{f"{norm}.body.{part}": (8,) for norm in ("norm1", "norm2") for part in ("weight", "bias")},
    "attn.temperature": (1, 1, 1), "attn.qkv.weight": (24, 8, 1, 1), "attn.qkv_dwconv.weight": (24, 1, 3, 3),
    "attn.project_out.weight": (8, 8, 1, 1), "ffn.project_in.weight": (42, 8, 1, 1),
    "ffn.dwconv.weight": (42, 1, 3, 3), "ffn.project_out.weight": (8, 21, 1, 1),
}  # fmt: skip


def tiny(**options) -> Restormer:
    net = Restormer(**{**TINY, **options}).eval()
    with torch.no_grad():
        for name, p in net.named_parameters():
            if "temperature" in name or "norm" in name:
                p.add_(0.3 * torch.randn_like(p))
    return net


@pytest.mark.shared
def test_matches_the_official_network(golden):
    tensors, config = golden("restormer")
    net = Restormer(**config).eval()
    net.load_state_dict({k.removeprefix("state."): v for k, v in tensors.items() if k.startswith("state.")})
    with torch.no_grad():
        torch.testing.assert_close(net(tensors["input"]), tensors["output"], atol=2e-6, rtol=1e-6)


def test_layout_names_and_shapes_are_the_official_ones():
    shapes = {key: tuple(value.shape) for key, value in Restormer(**TINY).state_dict().items()}
    first = "encoder_level1.0."
    assert {k.removeprefix(first): s for k, s in shapes.items() if k.startswith(first)} == BLOCK
    blocks = [f"{part}_level{level}.0" for part in ("encoder", "decoder") for level in (1, 2, 3)]
    blocks += ["latent.0", "latent.1", "refinement.0"]
    others = {
        "patch_embed.proj.weight": (8, 3, 3, 3), "output.weight": (3, 16, 3, 3),
        "down1_2.body.0.weight": (4, 8, 3, 3), "down2_3.body.0.weight": (8, 16, 3, 3),
        "down3_4.body.0.weight": (16, 32, 3, 3), "up4_3.body.0.weight": (128, 64, 3, 3),
        "up3_2.body.0.weight": (64, 32, 3, 3), "up2_1.body.0.weight": (32, 16, 3, 3),
        "reduce_chan_level3.weight": (32, 64, 1, 1), "reduce_chan_level2.weight": (16, 32, 1, 1),
    }  # fmt: skip
    assert set(shapes) == {f"{block}.{key}" for block in blocks for key in BLOCK} | set(others)
    assert {key: shapes[key] for key in others} == others
    assert shapes["decoder_level1.0.attn.qkv.weight"] == (48, 16, 1, 1)  # twice as wide as its encoder
    assert shapes["latent.1.attn.temperature"] == (8, 1, 1)


def test_options_add_their_parameters():
    plain = set(Restormer(**TINY).state_dict())
    assert "skip_conv.weight" in set(Restormer(**TINY, inp_channels=6, dual_pixel_task=True).state_dict()) - plain
    unbiased = set(Restormer(**TINY, LayerNorm_type="BiasFree").state_dict())
    assert plain - unbiased == {key for key in plain if key.endswith("body.bias")}
    biased = set(Restormer(**TINY, bias=True).state_dict()) - plain
    assert {"encoder_level1.0.attn.qkv.bias", "latent.0.ffn.dwconv.bias", "output.bias"} <= biased
    assert not any(key.startswith(("down", "up", "patch_embed")) for key in biased)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 26_126_644),
        ({"dim": 24, "num_blocks": [2, 3, 3, 4], "num_refinement_blocks": 2}, 3_813_230),
    ],
)
def test_parameter_counts_of_teacher_and_student(options, count):
    with torch.device("meta"):
        net = Restormer(**options)
    assert sum(p.numel() for p in net.parameters()) == count


def reference_attention(attn: ChannelAttention, x: torch.Tensor) -> torch.Tensor:
    """The equation in loops: per head, each channel of the output is a softmax-weighted sum of v's channels."""
    batch, channels, height, width = x.shape
    size = channels // attn.heads
    qkv = attn.qkv_dwconv(attn.qkv(x)).reshape(batch, 3, attn.heads, size, height * width)
    mixed = torch.zeros(batch, attn.heads, size, height * width, dtype=x.dtype)
    for b in range(batch):
        for head in range(attn.heads):
            q, k, v = qkv[b, :, head]
            for i in range(size):
                scores = []
                for j in range(size):
                    lengths = math.sqrt(float(q[i] @ q[i])) * math.sqrt(float(k[j] @ k[j]))
                    scores.append(float(q[i] @ k[j]) / lengths * float(attn.temperature[head]))
                total = sum(math.exp(s) for s in scores)
                for j, s in enumerate(scores):
                    mixed[b, head, i] += math.exp(s) / total * v[j]
    return attn.project_out(mixed.reshape(x.shape))


@pytest.mark.parametrize(("heads", "bias"), [(1, False), (2, True), (6, False)])
def test_attention_follows_its_equation(heads, bias):
    attn = ChannelAttention(6, heads, bias).double()
    with torch.no_grad():
        attn.temperature.copy_(torch.rand(heads, 1, 1) * 8 - 2)
        x = torch.randn(2, 6, 3, 5, dtype=torch.float64)
        torch.testing.assert_close(attn(x), reference_attention(attn, x), atol=1e-12, rtol=1e-11)


def test_cosines():
    q, k = torch.randn(2, 3, 5, 7, dtype=torch.float64), torch.randn(2, 3, 4, 7, dtype=torch.float64)
    expected = torch.cosine_similarity(q.unsqueeze(-2), k.unsqueeze(-3), dim=-1)
    torch.testing.assert_close(cosines(q, k), expected)
    assert torch.autograd.gradcheck(cosines, (q.requires_grad_(), k.requires_grad_()))


def test_cosines_of_zeros_are_zero_and_have_a_finite_gradient():
    q = torch.zeros(1, 2, 9, requires_grad=True)
    found = cosines(q, torch.randn(1, 3, 9))
    found.sum().backward()
    assert (found == 0).all()
    assert q.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_cosines_of_large_half_precision_rows(dtype):
    rows = (40 * torch.rand(1, 3, 4096)).to(dtype)  # products sum to 2e6, beyond float16
    found = cosines(rows, rows)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, cosines(rows.float(), rows.float()), atol=0, rtol=2**-8)


def test_feed_forward_gates_with_its_first_half():
    ffn = GatedFeedForward(4, 2.0, bias=False).double()
    x = torch.randn(1, 4, 5, 6, dtype=torch.float64)
    hidden = ffn.dwconv(ffn.project_in(x))
    gate, content = hidden[:, :8], hidden[:, 8:]
    gelu = 0.5 * gate * (1 + torch.erf(gate / math.sqrt(2)))
    torch.testing.assert_close(ffn(x), ffn.project_out(gelu * content))


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (13, 18)])
def test_any_size_through_padding(size):
    block = {"type": "Restormer", **TINY}
    net = build_network(block).eval()
    assert facts_from_options(block) == facts_of(net, block, 4) == ArchFacts(scale=1, multiple_of=8, minimum=8)
    x = torch.rand(1, 3, *size)
    with torch.no_grad():
        assert run_padded(net, x, facts_of(net, block, 1)).shape == x.shape


@pytest.mark.parametrize("options", [{}, {"LayerNorm_type": "BiasFree", "bias": True}])
def test_channels_last_changes_nothing(options):
    net, x = tiny(**options), torch.rand(2, 3, 16, 24)
    expected = net(x)
    found = net.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("norm", ["WithBias", "BiasFree"])
def test_bfloat16_stays_close(norm):
    net, x = tiny(LayerNorm_type=norm), torch.rand(1, 3, 24, 32)
    with torch.no_grad():
        expected = net(x)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = net(x)
        low = net.bfloat16()(x.bfloat16())
    spread = expected.std()
    assert (mixed - expected).abs().max() < 0.1 * spread
    assert low.dtype == torch.bfloat16
    assert (low - expected).abs().max() < 0.2 * spread


def test_bias_free_norm_takes_no_mean_off():
    norm = tiny(LayerNorm_type="BiasFree").latent[0].norm1
    features = 5 + torch.randn(1, 64, 4, 4)
    torch.testing.assert_close(norm(9 * features), norm(features), atol=1e-4, rtol=1e-4)  # forgets the scale ...
    assert norm(features).mean() > 1  # ... and keeps the offset


def test_dual_pixel_variant_has_its_residual_in_features():
    net = tiny(inp_channels=6, dual_pixel_task=True)
    out = net(torch.rand(1, 6, 16, 16))
    assert out.shape == (1, 3, 16, 16)
    with torch.no_grad():
        net.output.weight.zero_()
        assert (net(torch.rand(1, 6, 16, 16)) == 0).all()  # no image is added to it


def test_the_finest_level_residual_is_the_input():
    net, x = tiny(), torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        net.output.weight.zero_()
        assert torch.equal(net(x), x)


def test_gradients_reach_every_parameter():
    net = tiny().train()
    net(torch.rand(1, 3, 16, 16)).square().mean().backward()
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_blocks": [1, 1, 1]}, "num_blocks has 3 entries"),
        ({"heads": [1, 2, 4, 8, 16]}, "heads has 5 entries"),
        ({"heads": [1, 3, 4, 8]}, "level 2 do not divide into 3 heads"),
        ({"LayerNorm_type": "BiasFre"}, "did you mean 'BiasFree'"),
        ({"inp_channels": 6}, "dual_pixel_task: true"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=message):
        Restormer(**{**TINY, **options})
