"""The attention kernel in Triton's interpreter, which runs it on the CPU, against the network's own attention.

Triton reads ``TRITON_INTERPRET`` when it is imported, so ``test_window_kernel.py`` runs this in a process of its own.
"""

from __future__ import annotations

import copy
import importlib
import sys

import pytest
import torch

from dckd_basicsr.archs.swin.arranging import arrange_windows
from dckd_basicsr.archs.swin.blocks import swin_blocks
from dckd_basicsr.training.runtime import region
from tests.unit.swin.test_swin_blocks import SWINIR, answers, network

CPU = torch.device("cpu")
KERNEL = "dckd_basicsr.archs.swin.kernel"
FAILED = "train.runtime.attention: the kernel cannot be used here"


@pytest.fixture(scope="module")
def kernel():
    return importlib.import_module(KERNEL)


@pytest.mark.parametrize(("window", "size"), [(8, (16, 24)), (7, (7, 21))])
def test_the_kernel_gives_values_and_gradients_of_the_network(kernel, window, size):
    """Heads of 10 channels, windows of 64 and of 49 tokens, maps that are not square, with and without shift."""
    net = network({**SWINIR, "img_size": 2 * window, "window_size": window, "depths": [2]}, heads=[2])
    ours = copy.deepcopy(net)
    said = arrange_windows(ours, frozen=False, attention="triton", side=window)
    assert said == "2 Swin blocks with attention in a kernel"
    assert ours.state_dict().keys() == net.state_dict().keys()
    for one, two in zip(answers(net, size), answers(ours, size), strict=True):
        assert (one - two).abs().max() <= 1e-5 * one.abs().max()


def test_in_float16_it_is_as_near_as_the_network(kernel):
    """The interpreter has no bfloat16."""
    net = network({**SWINIR, "depths": [2]}, heads=[2]).eval()
    ours = copy.deepcopy(net)
    assert arrange_windows(
        ours, frozen=True, attention="triton", side=8, region=lambda: region("fp16", CPU)
    ).startswith("2 Swin")
    exact, plain, fused = (
        answers(n, (8, 12), d)[0] for n, d in ((net, None), (net, torch.float16), (ours, torch.float16))
    )
    assert 0 < (fused - exact).abs().max() <= 1.5 * (plain - exact).abs().max()


def test_many_windows_share_a_program_of_the_backward_pass(kernel, monkeypatch):
    """Also where the last program has fewer windows than the others."""
    monkeypatch.setattr(kernel, "_PARTS", 3)
    torch.manual_seed(0)
    qkv, bias = torch.randn(1, 10 * 16, 12), torch.randn(2, 16, 16)
    found = []
    for parts in (3, 64):
        monkeypatch.setattr(kernel, "_PARTS", parts)
        inputs = [each.clone().requires_grad_() for each in (qkv, bias)]
        out = kernel.window_attention(*inputs, 8, 20, 4, 2, 0.7)
        found.append(torch.autograd.grad(out.square().sum(), inputs))
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)


def test_the_operation_is_what_a_compiler_takes_it_for(kernel):
    torch.library.opcheck(
        torch.ops.dckd_basicsr.window_attention.default,
        (torch.randn(1, 16, 12, requires_grad=True), torch.randn(2, 16, 16, requires_grad=True), 4, 4, 4, 0, 0.5),
        test_utils=["test_schema", "test_autograd_registration", "test_faketensor"],
    )


def test_a_kernel_that_computes_something_else_is_left_out(kernel, monkeypatch, said):
    """One warning for all networks of the run; they run as without it."""
    right = kernel.window_attention
    blocks = importlib.import_module("dckd_basicsr.archs.swin.kernel_blocks")
    monkeypatch.setattr(blocks, "window_attention", lambda qkv, bias, *rest: right(qkv, 1.01 * bias, *rest))
    nets = [network({**SWINIR, "depths": [2]}, heads=[2]) for _ in range(2)]
    assert [arrange_windows(net, frozen=True, attention="triton", side=8) for net in nets] == ["", ""]
    (warning,) = [text for text in said if text.startswith(FAILED)]
    assert "the output of a block of 20 channels is" in warning
    assert not any("forward" in vars(block.attn) for net in nets for block in swin_blocks(net))
    net = network({**SWINIR, "depths": [2]}, heads=[2])
    x = torch.rand(1, 3, 8, 8)
    assert torch.equal(nets[0].eval()(x), net.eval()(x))


def test_the_kernel_is_compared_with_the_network_whatever_that_was_given_before(kernel, monkeypatch, said):
    """A frozen network that a student and its history model share is arranged with both."""
    right, net = kernel.window_attention, network({**SWINIR, "depths": [2]}, heads=[2])
    assert arrange_windows(net, frozen=True, attention="triton", side=8).startswith("2 Swin")
    assert arrange_windows(net, frozen=True) == ""
    assert all("window_attention" in block.forward.__func__.__code__.co_names for block in swin_blocks(net))
    blocks = importlib.import_module("dckd_basicsr.archs.swin.kernel_blocks")
    monkeypatch.setattr(blocks, "window_attention", lambda qkv, bias, *rest: right(qkv, 1.01 * bias, *rest))
    assert arrange_windows(net, frozen=True, attention="triton", side=8) == ""


def test_without_triton_attention_runs_as_it_is(monkeypatch, said):
    monkeypatch.setitem(sys.modules, KERNEL, None)
    monkeypatch.delitem(sys.modules, "dckd_basicsr.archs.swin.kernel_blocks", raising=False)
    assert arrange_windows(network(), frozen=True, attention="triton") == ""
    assert "ModuleNotFoundError" in said[-1]
    assert said[-1].startswith(FAILED)


def test_blocks_with_hooks_inside_keep_their_attention(kernel):
    net = network({**SWINIR, "depths": [2]}, heads=[2])
    first, second = swin_blocks(net)
    seen = []
    first.attn.qkv.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    second.attn.attn_drop.p = 0.1
    assert arrange_windows(net, frozen=False, attention="triton", side=8).startswith("0 Swin blocks")
    net.eval()(torch.rand(1, 3, 8, 8))
    assert seen == [(4, 16, 60)]
