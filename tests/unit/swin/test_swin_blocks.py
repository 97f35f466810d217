"""Swin blocks as a training runs them: the original's numbers for every size, and how often they are compiled."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from basicsr.archs.swinir_arch import DropPath
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dckd_basicsr.archs import build
from dckd_basicsr.archs.swin import attention, blocks
from dckd_basicsr.archs.swin.attention import fused_attention
from dckd_basicsr.archs.swin.blocks import for_any_size, region_sides, shift_mask, swin_blocks
from dckd_basicsr.archs.swin.drop_path import share_drop_paths
from tests.models import train

SWINIR = {
    "type": "SwinIR", "upscale": 2, "img_size": 8, "window_size": 4, "depths": [3, 2], "embed_dim": 20,
    "num_heads": [2, 2], "mlp_ratio": 2, "upsampler": "pixelshuffledirect", "resi_connection": "1conv",
}  # fmt: skip
SPANDREL = {**SWINIR, "type": "spandrel:SwinIR"}
RUN = (
    "network_g={type: SwinIR, upscale: 2, img_size: 24, window_size: 8, depths: [2], embed_dim: 8, num_heads: [2], "
    "mlp_ratio: 1, upsampler: pixelshuffledirect}"
)
"""For a training, whose patches are of 16 px: of another size than the network was made for."""
SIZES = [(8, 8), (12, 4), (20, 12)]
"""What the network was made for, one window wide, and an odd number of windows."""


def network(options=SWINIR, heads=None) -> nn.Module:
    torch.manual_seed(1)
    net = build({**options, "num_heads": heads or options["num_heads"]}, scale=2).net
    for parameter in net.parameters():
        parameter.data.add_(0.2 * torch.randn(parameter.shape))
    return net


def answers(net: nn.Module, size: tuple[int, int], dtype: torch.dtype | None = None) -> list[torch.Tensor]:
    """The output for two images, and the gradients of its mean square to the input and all parameters."""
    torch.manual_seed(3)
    net.zero_grad()
    x = torch.rand(2, 3, *size, requires_grad=True)
    with torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        out = net(x)
    out.float().square().mean().backward()
    return [out.detach().float(), x.grad, *(p.grad.clone() for p in net.parameters())]


@pytest.mark.parametrize("options", [SWINIR, SPANDREL], ids=["basicsr", "spandrel"])
def test_blocks_for_any_size_give_the_bits_of_the_original(options):
    """Values and gradients, in training with drop path, also of a compiler's drop path, and in bfloat16."""
    net = network(options).train()
    ours = copy.deepcopy(net)
    assert for_any_size(ours) == len(list(swin_blocks(net))) == 5
    assert share_drop_paths(ours, frozen=False) == (4 if options is SWINIR else 0)  # the first one drops nothing
    assert ours.state_dict().keys() == net.state_dict().keys()
    for size in SIZES:
        for one, two in zip(answers(net, size), answers(copy.deepcopy(ours), size), strict=True):
            assert torch.equal(one, two)
    for one, two in zip(*(answers(each.eval(), (12, 4), torch.bfloat16) for each in (net, ours)), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("rate", [0.1, 0.37])
def test_drop_paths_with_their_rate_in_a_tensor_draw_what_they_drew(rate):
    """And in evaluation nothing; in bfloat16 they draw its coarser numbers, and compare them as they are."""
    module = nn.Sequential(DropPath(rate))
    ours = copy.deepcopy(module)
    assert share_drop_paths(ours, frozen=False) == 1
    assert not ours.state_dict()
    x, found = torch.randn(400, 2, 3), []
    for each in (module, ours):
        torch.manual_seed(0)
        found.append([each.train()(x), torch.rand(1), each.eval()(x)])
    for one, two in zip(*found, strict=True):
        assert torch.equal(one, two)
    torch.manual_seed(0)
    stays = torch.rand(400, 1, 1, dtype=torch.bfloat16).float() >= rate
    torch.manual_seed(0)
    rough = ours.train()(x.bfloat16())
    assert rough.dtype == torch.bfloat16
    assert torch.equal(rough, torch.where(stays, x.bfloat16().float() / (1 - rate), 0).bfloat16())


def test_a_drop_path_that_is_looked_at_stays():
    net = nn.Sequential(DropPath(0.1))
    net[0].register_forward_hook(lambda module, inputs, output: None)
    assert share_drop_paths(net, frozen=True) == 0


def test_masks_are_kept_on_the_device_and_for_a_few_small_sizes(monkeypatch):
    monkeypatch.setattr(blocks, "_masks", {})
    like = torch.empty(0)
    first = shift_mask((8, 8), 4, 2, like)
    assert shift_mask((8, 8), 4, 2, like) is first
    assert shift_mask((8, 8), 4, 2, like.to(torch.bfloat16)).dtype == torch.bfloat16
    assert shift_mask((8, 8), 4, 2, like.to("meta")).device.type == "meta"
    block = next(b for b in swin_blocks(network()) if b.shift_size)
    for size in [(8, 8), (4, 12), (4, 4), (16, 20)]:
        assert torch.equal(shift_mask(size, 4, 2, like), block.calculate_mask(size))
        sides = region_sides(size, 4, 2, like)
        assert set(sides.unique().tolist()) == {1, -1}
        apart = (sides.unsqueeze(1) != sides.unsqueeze(2)).any(-1)
        assert torch.equal(apart, block.calculate_mask(size) < 0)
    for side in range(8, 60, 4):
        shift_mask((side, side), 4, 2, like)
    assert len(blocks._masks) == 8
    monkeypatch.setattr(blocks, "_KEPT_NUMBERS", 1000)
    large = shift_mask((64, 64), 4, 2, like)
    assert shift_mask((64, 64), 4, 2, like) is not large
    with torch.inference_mode():
        assert not shift_mask((4, 4), 4, 1, like).is_inference()  # a later pass with gradients reads it too


def test_what_a_recording_reads_stays(monkeypatch):
    """Recorded work goes on reading the memory of a mask; one that was made inside a recording has no values yet."""
    gpu, recording = torch.device("cuda"), [True]
    monkeypatch.setattr(blocks, "_masks", {})
    monkeypatch.setattr(blocks, "_recorded", {})
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: recording[-1])

    def mask(name):
        return blocks.kept(name, gpu, lambda: torch.zeros(1))

    inside = mask("mask")
    recording.append(False)
    usual = mask("mask")
    assert usual is not inside
    recording.append(True)
    assert mask("mask") is usual
    recording.append(False)
    for other in range(20):
        mask(other)
    assert mask("mask") is usual
    assert len(blocks._masks) == 8
    assert list(blocks._recorded.values()) == [usual]  # and nothing else


class Made(TorchDispatchMode):
    """Count the tensors that are made of nothing: zeros, ranges and the like."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += not any(isinstance(each, torch.Tensor) for each in tree_leaves((args, kwargs)))
        return func(*args, **(kwargs or {}))


def test_blocks_make_nothing_once_they_have_run():
    """What the original makes in each pass, on the host, is what waits for a GPU and cannot be recorded there."""
    x, counts = torch.rand(1, 3, 12, 20), []
    original = network().eval()
    for prepare in ([], [for_any_size], [for_any_size, fused_attention]):
        net = copy.deepcopy(original)
        for each in prepare:
            each(net)
        with torch.no_grad():
            net(x)
            with Made() as made:
                net(x)
        counts.append(made.count)
    assert counts == [5, 0, 0]


def test_other_networks_with_blocks_of_that_name_stay_as_they_are():
    other = type("SwinTransformerBlock", (nn.Module,), {"shift_size": 2, "__module__": "somebody.swin2sr"})()
    assert for_any_size(nn.Sequential(other)) == 0


@pytest.mark.parametrize("options", [SWINIR, SPANDREL], ids=["basicsr", "spandrel"])
def test_fused_attention_is_attention(options):
    """To rounding: values, and gradients to input, products, projection and the table of relative positions."""
    net = network(options).train()
    ours = copy.deepcopy(net)
    assert for_any_size(ours) == fused_attention(ours) == 5
    assert ours.state_dict().keys() == net.state_dict().keys()
    for size in SIZES:
        for one, two in zip(answers(net, size), answers(ours, size), strict=True):
            assert (one - two).abs().max() <= 1e-5 * one.abs().max()
    exact, plain, fused = (
        answers(n, SIZES[2], d)[0] for n, d in ((net, None), *((n, torch.bfloat16) for n in (net, ours)))
    )
    assert (fused - exact).abs().max() <= 1.5 * (plain - exact).abs().max() <= 0.03 * exact.abs().max()


@pytest.mark.parametrize(
    ("window", "dim", "heads", "plain", "shifted"), [(7, 30, 1, 32, 32), (4, 16, 2, 8, 16), (8, 8, 2, 8, 8)]
)
def test_heads_of_every_width_have_channels_for_the_mask(window, dim, heads, plain, shifted, monkeypatch):
    """Of 30 channels as the paper's teacher has them, of 8, which are aligned as they are, and of 4."""
    net = network({**SWINIR, "img_size": 2 * window, "window_size": window, "embed_dim": dim, "num_heads": [heads] * 2})
    ours = copy.deepcopy(net)
    for_any_size(ours)
    fused_attention(ours)
    monkeypatch.setattr(attention, "_AT_ONCE", 4)  # of 6 windows
    widths, product = [], F.scaled_dot_product_attention

    def noted(q, k, v, **named):
        widths.append({each.shape[-1] for each in (q, k, v)})
        return product(q, k, v, **named)

    monkeypatch.setattr(F, "scaled_dot_product_attention", noted)
    with torch.no_grad():
        for block in swin_blocks(net):  # attention that is sure: products of some 20
            block.attn.qkv.weight.mul_(3)
        ours.load_state_dict(net.state_dict())
        x = torch.rand(1, 3, 3 * window, 2 * window)
        assert (ours.eval()(x) - net.eval()(x)).abs().max() <= 2e-5 * net(x).abs().max()
    assert widths == [{plain}] * 2 + [{shifted}] * 2 + [{plain}] * 2 + [{plain}] * 2 + [{shifted}] * 2


def test_attention_that_is_very_sure_does_not_look_into_other_regions():
    """Where its scores differ by more than 40; the original's mask moves regions 100 apart."""
    net = network({**SWINIR, "depths": [2]}, heads=[2]).eval()
    with torch.no_grad():
        for block in swin_blocks(net):
            block.attn.qkv.weight.mul_(5)
    ours, scores = copy.deepcopy(net), []
    for_any_size(ours)
    fused_attention(ours)
    shifted = list(swin_blocks(net))[1].attn
    shifted.softmax.register_forward_pre_hook(lambda module, inputs: scores.append(inputs[0]))
    x = torch.rand(2, 3, 12, 20)
    with torch.no_grad():
        exact, found = net(x), ours(x)
    apart = shift_mask((12, 20), 4, 2, x) != 0
    own, other = (
        scores[0].unflatten(0, (2, -1)).masked_fill(hidden[:, None], -torch.inf).amax(-1) for hidden in (apart, ~apart)
    )
    assert 40 < (other + 100 - own).max() < 80  # by how much other regions would be looked at without a mask
    assert (found - exact).abs().max() <= 2e-5 * exact.abs().max()


def test_blocks_whose_weights_are_looked_at_or_dropped_keep_their_attention():
    net = network({**SWINIR, "attn_drop_rate": 0.1})
    assert fused_attention(net) == 0
    net = network()
    blocks_of = list(swin_blocks(net))
    seen = []
    blocks_of[1].attn.softmax.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    for_any_size(net)
    assert fused_attention(net) == 4
    net.eval()(torch.rand(1, 3, 8, 8))
    assert seen == [(4, 2, 16, 16)]


def compilations(net: nn.Module, x: torch.Tensor) -> int:
    """How many graphs Dynamo makes of the blocks of a network; nothing is compiled."""
    torch._dynamo.reset()
    made = []

    def note(graph, inputs):
        made.append(graph)
        return graph.forward

    for block in swin_blocks(net):
        block.compile(dynamic=False, fullgraph=True, backend=note)
    net(x)
    return len(made)


@pytest.mark.parametrize(("frozen", "fused", "graphs"), [(True, False, 2), (True, True, 2), (False, False, 3)])
def test_equal_blocks_are_compiled_once(frozen, fused, graphs):
    """A graph for blocks with and without shift; in training the first one, which drops nothing, is of its own."""
    x = torch.rand(2, 3, 12, 12)
    net = network({**SWINIR, "depths": [4]}, heads=[2]).train(not frozen).requires_grad_(not frozen)
    if frozen and not fused:
        assert compilations(copy.deepcopy(net), x) == 4  # else each has its own
    for_any_size(net)
    if fused:
        fused_attention(net)
    assert share_drop_paths(net, frozen=frozen) == 3
    eager = copy.deepcopy(net)
    assert compilations(net, x) == graphs
    if frozen:
        assert torch.equal(net(x), eager(x))


def test_a_training_has_them_in_all_of_its_networks(build, said):
    """And its losses stay, also with drop paths that are ready to be compiled."""
    logs = {}
    for way in ("~", "sdpa"):
        torch.manual_seed(0)
        model = build(RUN, f"train:runtime={{attention: {way}}}")
        nets = (model.net_g, model.net_g_ema, model.history.net)
        assert all("forward" in vars(block) for net in nets for block in swin_blocks(net))
        fused = ["forward" in vars(next(swin_blocks(net)).attn) for net in nets]
        assert fused == [way == "sdpa", False, way == "sdpa"]  # what validation runs stays exact
        if way == "sdpa":
            assert share_drop_paths(model.net_g, frozen=False) == 1
        logs[way] = train(model, range(1, 3))
    assert "Runtime: student 2 Swin blocks with fused attention, as it is" in said
    for one, two in zip(*logs.values(), strict=True):
        assert one == pytest.approx(two, rel=1e-3)
