"""The multiply-adds of a step, against a count by hand."""

from __future__ import annotations

import pytest
import torch
from basicsr.archs import build_network
from torch import nn

from dckd_basicsr.archs import VQGAN
from dckd_basicsr.archs.complexity import multiply_adds
from dckd_basicsr.distill import FrozenEncoder, Generators, HistoryModel, Need, NegativesSettings, Sources
from dckd_basicsr.distill.chunking import widest_layer
from tests.benchmarks.budget import step_budget
from tests.tiny import LAYOUT


def test_a_convolution_by_hand():
    assert multiply_adds(nn.Conv2d(3, 5, 3, padding=1), (1, 3, 8, 8)) == 3 * 5 * 9 * 64


def test_a_step_by_hand():
    student = nn.Conv2d(3, 3, 3, padding=1)  # 81 * 256 multiply-adds for a 16 px patch
    encoder = FrozenEncoder(VQGAN(LAYOUT, n_embed=16, embed_dim=6, decoder=False))
    sources = Sources(
        Generators(0), {"teacher": nn.Conv2d(3, 3, 1)}, history=HistoryModel(student), encoder=encoder,
        negatives=NegativesSettings(num=4),
    )  # fmt: skip
    needs = frozenset({Need.TEACHER, Need.CONSISTENCY, Need.TAPS, Need.CODES})
    found = step_budget(student, sources, needs, batch=2, lq_side=16, scale=1)
    assert found["student"] == 2 * 3 * 81 * 256
    assert found["teacher"] == 2 * 2 * 9 * 256
    assert found["history model"] == 2 * 4 * 81 * 256
    taps = multiply_adds(encoder.vqgan, (1, 3, 16, 16), lambda net, x: net.analyse(x))
    whole = multiply_adds(encoder.vqgan, (1, 3, 16, 16), lambda net, x: net.analyse(x, logits=True))
    assert whole > taps > 0
    assert found["encoder, student"] == 2 * 2 * whole
    assert found["encoder, others"] == 2 * (whole + 4 * taps)
    assert next(student.parameters()).grad is None
    assert torch.isfinite(next(student.parameters())).all()


@pytest.mark.parametrize("kind", ["EDSR", "RCAN"])
def test_counting_leaves_the_network_as_it_was(kind):
    """Their mean moves to the input's type and device, on a GPU with the first input: it must not lose its values."""
    sizes = {"num_feat": 16, "num_block": 1, "upscale": 2}
    groups = {"num_group": 1} if kind == "RCAN" else {}
    net = build_network({"type": kind, "num_in_ch": 3, "num_out_ch": 3, **sizes, **groups})
    net.mean = net.mean.double()  # as far from its first input as the CPU is from a GPU
    before = net.mean
    assert multiply_adds(net, (1, 3, 8, 8)) > 0
    assert widest_layer(net) > 0
    assert net.mean is before
    assert torch.isfinite(net(torch.rand(1, 3, 8, 8))).all()


class Caching(nn.Module):
    """Keeps a mask from its first input on, and replaces a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not hasattr(self, "mask"):
            self.mask = torch.ones_like(x)
        self.seen = self.seen + 1
        return self.conv(x * self.mask)


def test_counting_leaves_no_cache_behind():
    net = Caching()
    assert multiply_adds(net, (1, 3, 8, 8)) == 9 * 64
    assert not hasattr(net, "mask")
    assert net.seen.item() == 0
    assert torch.isfinite(net(torch.rand(1, 3, 8, 8))).all()


def test_counting_counts_in_no_buffer():
    """PyTorch lets counters of one number go on although nothing has values."""
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    assert multiply_adds(net, (1, 3, 8, 8)) > 0
    assert net[1].num_batches_tracked == 0
