"""Attention in windows on a GPU: fused and as a kernel, as near as the network's own, and recorded."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import nn

from dckd_basicsr.archs.swin.arranging import arrange_windows
from tests.models import train
from tests.unit.swin.test_swin_blocks import RUN, SWINIR, network

DEVICE = "cuda"


@pytest.mark.gpu
@pytest.mark.parametrize("attention", ["~", "sdpa", "triton"])
def test_on_a_gpu_patches_of_another_size_are_recorded(build, said, attention):
    """The losses are those of the step launched operation by operation."""
    found = []
    for runtime in ("{}", f"{{cuda_graph: true, attention: {attention}}}"):
        torch.manual_seed(0)
        model = build(RUN, f"train:runtime={runtime}", device=1)
        found.append(train(model, range(1, 4)))
    assert model.runner.recorded is not None
    ways = {"sdpa": "fused attention", "triton": "attention in a kernel"}
    assert attention == "~" or f"Runtime: student 2 Swin blocks with {ways[attention]}, as it is" in said
    for one, two in zip(*found, strict=True):
        assert two == pytest.approx(one, rel=5e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("attention", ["sdpa", "triton"])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("channels", "window"), [(180, 8), (60, 8), (60, 7)])
def test_on_a_gpu_attention_is_that_of_the_network(attention, dtype, channels, window, said):
    """At most twice as far from float32 as the network's own in the same precision; values and gradients."""
    torch.backends.cudnn.allow_tf32 = False
    options = {**SWINIR, "img_size": 2 * window, "window_size": window, "embed_dim": channels, "depths": [2]}
    net = network(options, heads=[6]).to(DEVICE).eval()
    ours = copy.deepcopy(net)
    inside = partial(torch.autocast, DEVICE, dtype=dtype or torch.float16, enabled=dtype is not None)
    done = arrange_windows(ours, frozen=False, attention=attention, side=3 * window, region=inside)
    assert done.startswith("2 Swin blocks"), said
    x = torch.rand(2, 3, 3 * window, 2 * window, device=DEVICE)

    def found(each: nn.Module, dtype: torch.dtype | None) -> list[torch.Tensor]:
        each.zero_grad()
        with torch.autocast(DEVICE, dtype=dtype or torch.float16, enabled=dtype is not None):
            out = each(x)
        out.float().square().mean().backward()
        return [out.detach().float(), *(p.grad.clone() for p in each.parameters())]

    for exact, usual, fused in zip(found(net, None), found(net, dtype), found(ours, dtype), strict=True):
        assert (fused - exact).norm() <= 2 * (usual - exact).norm() + 1e-4 * exact.norm()
