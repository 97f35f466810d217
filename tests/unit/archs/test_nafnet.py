"""NAFNet: official numbers, official layout, sizes, precisions, and test-time local means."""

from __future__ import annotations

import cv2
import pytest
import torch
import torch.nn.functional as F

from dckd_basicsr.archs import ArchFacts, NAFNet, facts_from_options, facts_of
from dckd_basicsr.archs.networks.channel_norm import BiasFreeNorm2d, LayerNorm2d
from dckd_basicsr.archs.networks.nafnet_blocks import NAFBlock, PixelMean, local_mean
from dckd_basicsr.errors import ConfigError
from dckd_basicsr.weight_files import load_into, load_weights

BLOCK = {
    **{f"{norm}.{part}": (8,) for norm in ("norm1", "norm2") for part in ("weight", "bias")},
    "conv1.weight": (16, 8, 1, 1), "conv1.bias": (16,), "conv2.weight": (16, 1, 3, 3), "conv2.bias": (16,),
    "sca.1.weight": (8, 8, 1, 1), "sca.1.bias": (8,), "conv3.weight": (8, 8, 1, 1), "conv3.bias": (8,),
    "conv4.weight": (16, 8, 1, 1), "conv4.bias": (16,), "conv5.weight": (8, 8, 1, 1), "conv5.bias": (8,),
    "beta": (1, 8, 1, 1), "gamma": (1, 8, 1, 1),
}  # fmt: skip


def awake(net):
    """Move every parameter off its initial value: fresh blocks are the identity."""
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return net.eval()


def small(**options) -> NAFNet:
    return awake(NAFNet(width=8, middle_blk_num=1, enc_blk_nums=(1, 2), dec_blk_nums=(1, 1), **options))


@pytest.mark.shared
def test_matches_the_official_network(golden):
    tensors, config = golden("nafnet")
    config.pop("note")
    state = {k.removeprefix("state."): v for k, v in tensors.items() if k.startswith("state.")}
    net = NAFNet(**config).eval()
    net.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(net(tensors["input"]), tensors["output"], atol=2e-6, rtol=1e-6)


@pytest.mark.shared
def test_a_trained_network_removes_rain(shared):
    path = shared / "weights" / "nafnet_w32_rain100l.pth"
    net = NAFNet(width=32, enc_blk_nums=(1, 1, 1, 4), dec_blk_nums=(1, 1, 1, 1)).eval()
    load_into(net, load_weights(path).state, path)
    test = shared / "data" / "Rain100L" / "test"
    rainy, clean = (
        torch.from_numpy(cv2.imread(str(test / part))[60:124, 60:124, ::-1].copy()).permute(2, 0, 1)[None] / 255
        for part in ("rain/norain-1.png", "norain/norain-1.png")
    )
    with torch.no_grad():
        restored = net(rainy)
    gain = 10 * torch.log10(F.mse_loss(rainy, clean) / F.mse_loss(restored, clean))
    assert gain > 5


def test_layout_names_and_shapes_are_the_official_ones():
    net = NAFNet(width=8, middle_blk_num=2, enc_blk_nums=(1, 1), dec_blk_nums=(1, 2))
    shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    assert {k.removeprefix("encoders.0.0."): s for k, s in shapes.items() if k.startswith("encoders.0.0.")} == BLOCK
    blocks = (
        "encoders.0.0",
        "encoders.1.0",
        "middle_blks.0",
        "middle_blks.1",
        *(f"decoders.{i}" for i in ("0.0", "1.0", "1.1")),
    )
    others = {
        "intro.weight": (8, 3, 3, 3), "intro.bias": (8,), "ending.weight": (3, 8, 3, 3), "ending.bias": (3,),
        "downs.0.weight": (16, 8, 2, 2), "downs.0.bias": (16,), "downs.1.weight": (32, 16, 2, 2), "downs.1.bias": (32,),
        "ups.0.0.weight": (64, 32, 1, 1), "ups.1.0.weight": (32, 16, 1, 1),
    }  # fmt: skip
    assert set(shapes) == {f"{block}.{key}" for block in blocks for key in BLOCK} | set(others)
    assert {key: shapes[key] for key in others} == others
    assert shapes["decoders.0.0.conv1.weight"] == (32, 16, 1, 1)  # coarsest first


@pytest.mark.parametrize(("width", "deep", "count"), [(32, 28, 17_111_907), (16, 14, 2_683_059)])
def test_parameter_counts_of_teacher_and_student(width, deep, count):
    with torch.device("meta"):
        net = NAFNet(3, width, 1, [1, 1, 1, deep], [1, 1, 1, 1])
    assert sum(p.numel() for p in net.parameters()) == count


def test_a_fresh_block_is_the_identity():
    x = torch.rand(1, 4, 5, 6)
    assert torch.equal(NAFBlock(4)(x), x)


@pytest.mark.parametrize("size", [(1, 1), (5, 8), (13, 18), (16, 16)])
def test_any_size_is_padded_with_zeros_and_cropped(size):
    net, x = small(), torch.rand(2, 3, *size)
    padded = F.pad(x, (0, -size[1] % 4, 0, -size[0] % 4))
    with torch.no_grad():
        torch.testing.assert_close(net(x), net(padded)[..., : size[0], : size[1]], atol=1e-5, rtol=1e-5)


def test_facts_are_known_before_and_after_building():
    block = {"type": "NAFNet", "enc_blk_nums": [1], "dec_blk_nums": [1]}
    assert facts_from_options(block) == ArchFacts(scale=1)
    assert facts_of(small(), block, 4) == ArchFacts(scale=1)


@pytest.mark.parametrize("training", [True, False])
def test_channels_last_changes_nothing(training):
    x = torch.rand(2, 3, 13, 18)
    for net in (small(), small(tlc=4)):
        net.train(training)
        expected = net(x)
        found = net.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_bfloat16_stays_close():
    net, x = small(), torch.rand(1, 3, 24, 32)
    with torch.no_grad():
        expected = net(x)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = net(x)
        low = net.bfloat16()(x.bfloat16())
    spread = expected.std()
    assert (mixed - expected).abs().max() < 0.1 * spread
    assert low.dtype == torch.bfloat16
    assert (low - expected).abs().max() < 0.2 * spread


def test_gradients_reach_every_parameter():
    net = small().train()
    net(torch.rand(1, 3, 8, 8)).square().mean().backward()
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [({"enc_blk_nums": (1, 1), "dec_blk_nums": (1,)}, "2 levels in enc_blk_nums and 1"), ({"tlc": 0}, "tlc")],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=message):
        NAFNet(**options)


# --- norms ------------------------------------------------------------------------------------------------------------


def plain_norm(x, weight, bias, eps, centre):
    """The formula, pixel by pixel."""
    out = torch.empty_like(x)
    for b, i, j in torch.cartesian_prod(*(torch.arange(x.shape[d]) for d in (0, 2, 3))).tolist():
        pixel = x[b, :, i, j]
        mean = pixel.sum() / len(pixel)
        deviation = ((pixel - mean).square().sum() / len(pixel) + eps).sqrt()
        out[b, :, i, j] = (pixel - mean * centre) / deviation * weight + bias
    return out


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("norm", "centre"), [(LayerNorm2d(5), 1), (BiasFreeNorm2d(5), 0)])
def test_norms_follow_their_formula(norm, centre, memory_format):
    norm = awake(norm).double()
    x = torch.randn(2, 5, 3, 4, dtype=torch.float64).contiguous(memory_format=memory_format)
    expected = plain_norm(x, norm.weight, getattr(norm, "bias", 0), norm.eps, centre)
    found = norm(x)
    torch.testing.assert_close(found, expected, atol=1e-13, rtol=1e-12)
    assert found.is_contiguous(memory_format=memory_format)
    assert torch.autograd.gradcheck(norm, x.requires_grad_())


@pytest.mark.parametrize("norm", [LayerNorm2d(64), BiasFreeNorm2d(64)])
def test_norm_statistics_of_bfloat16_are_float32(norm):
    # Far from zero: in bfloat16 arithmetic neither mean nor variance would survive. Only the result is rounded.
    x = (256 + 8 * torch.randn(1, 64, 4, 4)).bfloat16()
    expected = norm(x.float())
    torch.testing.assert_close(norm.bfloat16()(x).float(), expected, atol=0, rtol=2**-8)


# --- test-time local means --------------------------------------------------------------------------------------------


def brute_force_mean(x, window):
    out = torch.empty_like(x)
    height, width = x.shape[-2:]
    rows, columns = min(window, height), min(window, width)
    for i in range(height):
        for j in range(width):
            top = min(max(i - (rows - 1) // 2, 0), height - rows)
            left = min(max(j - (columns - 1) // 2, 0), width - columns)
            out[..., i, j] = x[..., top : top + rows, left : left + columns].mean((-2, -1))
    return out


@pytest.mark.parametrize("window", [1, 2, 3, 6, 7, 9, 40])
def test_local_mean_is_the_mean_of_a_window_inside_the_image(window):
    x = torch.rand(2, 3, 7, 9)
    torch.testing.assert_close(local_mean(x, window), brute_force_mean(x, window), atol=1e-6, rtol=1e-6)


def test_local_mean_keeps_its_digits_on_a_large_image():
    x = 100 + torch.rand(1, 1, 700, 900)
    exact = local_mean(x.double(), 384)
    torch.testing.assert_close(local_mean(x, 384).double(), exact, atol=0, rtol=1e-6)
    assert local_mean(x.bfloat16(), 384).dtype == torch.bfloat16


def test_local_means_replace_the_global_one_only_in_large_images_and_in_eval_mode():
    net, plain = small(tlc=8), small()
    plain.load_state_dict(net.state_dict())
    fits, larger = torch.rand(1, 3, 12, 12), torch.rand(1, 3, 8, 20)
    with torch.no_grad():
        assert torch.equal(net(fits), plain(fits))  # 12 = 1.5 x 8
        assert (net(larger) - plain(larger)).abs().max() > 1e-3
        assert torch.equal(net.train()(larger), plain.train()(larger))


def test_windows_shrink_with_the_level():
    net = NAFNet(width=4, enc_blk_nums=(1, 1), dec_blk_nums=(1, 1), tlc=256)
    windows = [m.window for m in net.modules() if isinstance(m, PixelMean)]
    assert windows == [384, 192, 96, 192, 384]
