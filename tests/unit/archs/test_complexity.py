"""Counting multiply-adds: what counts, and a small network by hand."""

from __future__ import annotations

import json

import pytest
import torch.nn.functional as F
from torch import nn

from dckd_basicsr.archs import NAFNet, Restormer
from dckd_basicsr.archs.complexity import multiply_adds
from tests.benchmarks.complexity import Complexity, main, network_options, table


@pytest.mark.parametrize(
    ("net", "shape", "macs"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), (2, 3, 5, 6), 2 * 30 * 8 * 3 * 9),
        (nn.Conv2d(8, 8, 3, padding=1, groups=8), (1, 8, 5, 6), 30 * 8 * 9),
        (nn.Conv2d(4, 8, 2, stride=2), (1, 4, 6, 4), 6 * 8 * 4 * 4),
        (nn.Linear(5, 7), (2, 3, 5), 6 * 5 * 7),
        (nn.LayerNorm(5), (2, 5), 0),
    ],
)
def test_layers(net, shape, macs):
    assert multiply_adds(net, shape) == macs


def test_products():
    net = nn.Identity()
    assert multiply_adds(net, (2, 3, 4, 5), lambda _, x: x @ x.transpose(-2, -1)) == 6 * 4 * 4 * 5
    attention = multiply_adds(net, (1, 2, 16, 8), lambda _, x: F.scaled_dot_product_attention(x, x, x))
    assert attention == 2 * 2 * 16 * 16 * 8


def test_nafnet_by_hand():
    net = NAFNet(width=4, middle_blk_num=0, enc_blk_nums=(1,), dec_blk_nums=(0,))
    pixels, c = 8 * 12, 4
    ends = 2 * pixels * 3 * c * 9
    block = pixels * (c * 2 * c + 2 * c * 9 + c * c + c * 2 * c + c * c) + c * c  # conv1, 2, 3, 4, 5; attention
    down, up = pixels // 4 * c * 2 * c * 4, pixels // 4 * 2 * c * 4 * c
    assert multiply_adds(net, (1, 3, 8, 12)) == ends + block + down + up


def test_restormer_attention_products_are_counted():
    net = Restormer(dim=8, num_blocks=[1, 0, 0, 0], num_refinement_blocks=0, ffn_expansion_factor=2)
    pixels = 16 * 16
    ends = pixels * (3 * 8 + 16 * 3) * 9
    blocks = 0
    for c in (8, 16):  # encoder, and the decoder of twice its width
        attention = 3 * c * c + 3 * c * 9 + 2 * c * c + c * c  # qkv, depthwise, two products of one head, out
        blocks += pixels * (attention + c * 4 * c + 4 * c * 9 + 2 * c * c)
    levels = sum(pixels // 4**i * (c * c // 2) * 9 for i, c in enumerate((8, 16, 32)))  # down
    levels += sum(pixels // 4**i * (c * 2 * c) * 9 for i, c in ((3, 64), (2, 32), (1, 16)))  # up
    levels += pixels // 16 * 64 * 32 + pixels // 4 * 32 * 16  # reductions
    assert multiply_adds(net, (1, 3, 16, 16)) == ends + blocks + levels


def test_published_teachers():
    options = network_options(4)
    nafnet = NAFNet(**{k: v for k, v in options["NAFNet", "teacher"].items() if k != "type"})
    assert multiply_adds(nafnet, (1, 3, 256, 256)) == pytest.approx(16e9, rel=0.01)


def test_table_and_file(tmp_path, monkeypatch, capsys):
    rows = [Complexity("Net", "student", (8, 16), 1234, 5_600_000_000)]
    assert table(rows).splitlines()[-1] == "| Net | student | 8x16 | 1,234 | 5.60 |"
    monkeypatch.setattr("tests.benchmarks.complexity.measure", lambda *_: iter(rows))
    main(["--json", str(tmp_path / "rows.json")])
    assert json.loads((tmp_path / "rows.json").read_text())["rows"][0]["macs"] == 5_600_000_000
    assert "| Net | student |" in capsys.readouterr().out
