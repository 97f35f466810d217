"""Layers of frozen networks: the same values and gradients, and less kept between forward and backward pass."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from dckd_basicsr.archs import VQGAN
from dckd_basicsr.archs.frozen_layers import keep_no_inputs, norm_and_swish, under_autocast
from dckd_basicsr.distill import EncoderSettings, FrozenEncoder
from tests.benchmarks.memory import LiveBytes, peak_of


def gradient(run: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    result = run(x)
    torch.manual_seed(7)
    return result.detach(), torch.autograd.grad(result, x, torch.randn_like(result))[0]


@pytest.mark.parametrize("settings", [{"padding": 1}, {"stride": 2}, {"padding": 2, "dilation": 2, "groups": 2}])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_frozen_convolution_gives_the_same_bits(settings: dict[str, Any], layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(4, 6, 3, **settings).requires_grad_(False).to(memory_format=layout)
    spare = nn.Sequential(deepcopy(plain))
    assert keep_no_inputs(spare) == 1
    copied = deepcopy(spare)  # a copy runs its own weights
    nn.init.zeros_(copied[0].weight)
    x = torch.randn(2, 4, 11, 9).to(memory_format=layout)
    for mine, theirs in zip(gradient(spare, x), gradient(plain, x), strict=True):
        assert torch.equal(mine, theirs)
    assert not torch.equal(gradient(copied, x)[0], gradient(plain, x)[0])


def test_convolutions_that_train_or_pad_otherwise_stay() -> None:
    nets = [nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect").requires_grad_(False)]
    nets += [nn.Conv2d(2, 2, 3, padding=name).requires_grad_(False) for name in ("same", "valid")]
    assert [keep_no_inputs(nn.Sequential(net)) for net in nets] == [0, 0, 0, 0]
    late = nn.Conv2d(2, 2, 3).requires_grad_(False)
    keep_no_inputs(late)
    late.requires_grad_(True)
    late(torch.randn(1, 2, 5, 5)).sum().backward()
    assert late.weight.grad is not None
    assert late.weight.grad.abs().sum() > 0


def test_autocast_is_asked_about_where_there_is_any() -> None:
    """Tensors without values have none, by which steps are measured."""
    x = torch.empty(1, 2, 5, 5, device="meta", requires_grad=True)
    net = nn.Conv2d(2, 2, 3, device="meta").requires_grad_(False)
    keep_no_inputs(net)
    assert torch.autograd.grad(net(x).sum(), x)[0].shape == x.shape
    assert not under_autocast(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert under_autocast(torch.empty(0))
        assert not under_autocast(x)
    assert not under_autocast(torch.empty(0))


@pytest.mark.parametrize("fused_norms", [False, True])
def test_an_encoder_is_pickled_and_runs_in_mixed_precision_of_a_loop_around_it(fused_norms: bool) -> None:
    encoder, x = small_encoder(fused_norms=fused_norms), torch.rand(2, 3, 16, 16)
    plain = deepcopy(encoder)
    for module in plain.modules():
        vars(module).pop("forward", None)  # as PyTorch has it

    def mixed(encoder: FrozenEncoder) -> Callable[[Tensor], Tensor]:
        def run(x: Tensor) -> Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return encoder(x, taps=True, logits=False).taps[-1]

        return run

    wanted = gradient(mixed(plain), x)
    assert wanted[0].dtype == torch.bfloat16
    for one in (encoder, pickle.loads(pickle.dumps(encoder))):
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(gradient(mixed(one), x), wanted, strict=True))


def test_norm_and_swish_by_gradcheck_and_beside_pytorchs() -> None:
    torch.manual_seed(0)
    norm = nn.GroupNorm(4, 12, eps=1e-6).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    norm.requires_grad_(False)
    x = (3 * torch.randn(2, 12, 5, 4, dtype=torch.float64) + 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: norm_and_swish(x, norm), x)
    norm = norm.float()
    wide = torch.randn(2, 12, 40, 30) + 5
    for mine, theirs in zip(
        gradient(lambda x: norm_and_swish(x, norm), wide), gradient(lambda x: F.silu(norm(x)), wide)
    ):
        assert torch.allclose(mine, theirs, rtol=1e-5, atol=1e-5)
    rounded, exact = (norm_and_swish(each, norm) for each in (wide.bfloat16(), wide.bfloat16().float()))
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).abs().max() < 2**-8 * exact.abs().max()  # rounded once, at the end


def small_encoder(**settings: Any) -> FrozenEncoder:
    torch.manual_seed(3)
    config = {"ch": 32, "ch_mult": [1, 2], "num_res_blocks": 1, "z_channels": 8, "resolution": 16}
    vqgan = VQGAN({**config, "attn_resolutions": [8], "out_ch": 3}, n_embed=16, embed_dim=8, decoder=False)
    return FrozenEncoder(vqgan, EncoderSettings(**settings))


def kept_by(encoder: FrozenEncoder, x: Tensor) -> int:
    kept: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        held = encoder(x.requires_grad_(), taps=True, logits=True)
    weights = {p.untyped_storage()._cdata for p in encoder.parameters()}
    assert held.logits is not None
    return sum(storage.nbytes() for key, storage in kept.items() if key not in weights)


def test_fused_norms_change_rounding_alone_and_keep_less() -> None:
    plain, fused = small_encoder(), small_encoder(fused_norms=True)
    x = torch.rand(2, 3, 16, 16)

    def taken(encoder: FrozenEncoder) -> Callable[[Tensor], Tensor]:
        def run(x: Tensor) -> Tensor:
            found = encoder(x, taps=True, logits=True)
            assert found.logits is not None
            return torch.cat([*(tap.flatten() for tap in found.taps), found.logits.flatten()])

        return run

    for mine, theirs in zip(gradient(taken(fused), x), gradient(taken(plain), x), strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-4)
        assert not torch.equal(mine, theirs), "the switch does something"
    assert kept_by(fused, x) < 0.75 * kept_by(plain, x)


def test_live_bytes_are_those_that_something_holds() -> None:
    with LiveBytes() as live:
        first = torch.zeros(1000)
        second = first + 1
        view = second[10:]
        del first, second
        third = torch.zeros(500)
    assert live.most == 8000
    assert live.now == 4000 + 2000, "a view holds all of what it looks at"
    assert len(view) + len(third) == 1490


def test_the_papers_swinir_step_takes_about_11_gib() -> None:
    """16 samples of 0.68 GiB; 0.75 if frozen convolutions kept their inputs, 1.0 if the student were encoded first."""
    from dckd_basicsr.config import find_options
    from dckd_basicsr.config.resolve import resolve_options

    options = resolve_options(find_options("dckd_x4_swinir.yml"), (), [])[0]
    assert 0.5 < peak_of(options, batch=1) / 2**30 < 0.71
