"""Runtime options: what is chosen, what stays equal, what changes by rounding only."""

from __future__ import annotations

import copy

import pytest
import torch
from basicsr.archs import build_network
from torch import nn

from dckd_basicsr.archs import VQGAN, ArchFacts
from dckd_basicsr.distill import FrozenEncoder
from dckd_basicsr.distill.chunking import widest_layer
from dckd_basicsr.errors import ConfigError
from dckd_basicsr.training import runtime
from dckd_basicsr.training.compiling import as_written, can_compile, recompute, repeated_blocks
from dckd_basicsr.training.runtime import (
    PrecisionSettings,
    RuntimeSettings,
    arrange,
    arrange_encoder,
    may_fuse,
    region,
    settled,
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
    exact, rough = FrozenEncoder(copy.deepcopy(vqgan)), FrozenEncoder(vqgan)
    bf16 = RuntimeSettings(precision=PrecisionSettings(frozen="bf16"), channels_last="auto")
    assert arrange_encoder(rough, bf16) == "channels_last"
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


@pytest.mark.skipif(not can_compile(torch.device("cpu")), reason="no C++ compiler")
def test_a_compiled_encoder_gives_the_same_taps_logits_and_gradients():
    """In both of its modes, for several sizes: PyTorch's own limit would give up compiling without a word."""
    torch._dynamo.reset()
    vqgan = VQGAN(LAYOUT, n_embed=16, embed_dim=6, decoder=False)
    plain, fast = FrozenEncoder(copy.deepcopy(vqgan)), FrozenEncoder(vqgan)
    assert arrange_encoder(fast, RuntimeSettings(channels_last="auto", compile=True)) == "channels_last, compiled"
    assert torch._dynamo.config.cache_size_limit >= 256
    for count in (1, 2):
        images = torch.rand(count, 3, 32, 32, requires_grad=True)
        found = []
        for encoder in (plain, fast):
            images.grad = None
            encoding = encoder(images, taps=True, logits=True)
            sum(tap.square().mean() for tap in (*encoding.taps, encoding.logits)).backward()
            found.append(
                (*encoding.taps, encoding.logits, images.grad, *encoder.reference(images, taps=True, logits=1)[0])
            )
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_auto_is_decided_for_the_machine(monkeypatch):
    cpu, auto = torch.device("cpu"), RuntimeSettings(preset="auto")
    for has_bf16, compiler, wanted in ((True, True, "bf16"), (False, True, None), (True, False, None)):
        monkeypatch.setattr(runtime, "can_compile", lambda device, compiler=compiler: compiler)
        monkeypatch.setattr(runtime, "_cpu_has_bf16", lambda has_bf16=has_bf16: has_bf16)
        found = settled(auto, cpu)
        assert found == RuntimeSettings(
            precision=PrecisionSettings(wanted, wanted), channels_last="auto", compile=compiler, cuda_graph=False
        )
    gpu = torch.device("cuda")
    for major, precision in ((9, "bf16"), (7, "fp16"), (6, None)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, major=major: (major, 0))
        assert settled(auto, gpu).precision == PrecisionSettings(precision, precision)
    assert settled(auto, gpu).cuda_graph is True
    assert settled(auto, gpu, processes=2).cuda_graph is False
    assert settled(RuntimeSettings(preset="auto", recompute=True), gpu).cuda_graph is False


def test_what_is_given_wins_over_the_preset(monkeypatch):
    monkeypatch.setattr(runtime, "can_compile", lambda device: True)
    monkeypatch.setattr(runtime, "_cpu_has_bf16", lambda: True)
    asked = RuntimeSettings(preset="auto", precision=PrecisionSettings(student="fp32"), compile=False)
    found = settled(asked, torch.device("cpu"))
    assert (found.precision, found.compile, found.channels_last) == (PrecisionSettings("fp32", None), False, "auto")


def test_without_options_nothing_changes():
    found = settled(RuntimeSettings(), torch.device("cpu"))
    assert not any((found.compile, found.cuda_graph, found.channels_last, found.recompute))
    assert found.precision == PrecisionSettings(None, None)


def test_a_graph_needs_a_gpu_and_no_recomputation():
    with pytest.raises(ConfigError, match="cuda_graph is true, but the run is on a CPU"):
        settled(RuntimeSettings(cuda_graph=True), torch.device("cpu"))
    with pytest.raises(ValueError, match="cannot record recomputed"):
        RuntimeSettings(cuda_graph=True, recompute=True)


def test_the_widest_layer_is_found_without_computing():
    net = nn.Sequential(nn.Conv2d(3, 24, 3, padding=1), nn.Conv2d(24, 48, 3, padding=1, stride=2), nn.Conv2d(48, 3, 1))
    assert widest_layer(net) == 24
    restormer = build_network(dict(RESTORMER))
    assert widest_layer(restormer, 32) == 2 * int(
        2.66 * 2 * 8
    )  # two gates; the last level is twice as wide as the first
    assert widest_layer(nn.ModuleList()) == 32  # what cannot be run counts as usual


def test_precision_is_a_region():
    net, x = nn.Conv2d(3, 3, 3), torch.rand(1, 3, 8, 8)
    with region("bf16", torch.device("cpu")):
        assert net(x).dtype == torch.bfloat16
    for name in (None, "fp32", "tf32"):
        with region(name, torch.device("cpu")):
            assert net(x).dtype == torch.float32


def test_optimizers_are_fused_where_the_gradients_fit(monkeypatch):
    gpu, compiled = torch.device("cuda"), RuntimeSettings(compile=True)
    assert may_fuse(gpu, compiled)
    assert not may_fuse(torch.device("cpu"), RuntimeSettings())
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.4.1+cu121"))
    assert may_fuse(gpu, RuntimeSettings())
    assert not may_fuse(gpu, compiled)


def test_validation_compiles_nothing_for_its_sizes() -> None:
    from torch._dynamo.testing import CompileCounter

    net, compiled = nn.Sequential(nn.Conv2d(1, 1, 1)), CompileCounter()
    with as_written(net):  # nothing is compiled: nothing to do
        net(torch.zeros(1, 1, 4, 4))
    net[0].compile(backend=compiled, dynamic=False)
    with as_written(net):
        for side in (3, 5, 7):
            net(torch.zeros(1, 1, side, side))
    assert compiled.frame_count == 0
    net(torch.zeros(1, 1, 3, 3))
    assert compiled.frame_count == 1, "training goes on compiled"
