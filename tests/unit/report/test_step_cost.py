"""Counting a training step: against the table of docs/method/methods.md, and against its parts counted one by one."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import pytest
import torch
from basicsr.archs import build_network
from torch import nn

from dckd_basicsr.archs import VQGAN, vqgan_options_from_state
from dckd_basicsr.archs.complexity import counting, multiply_adds
from dckd_basicsr.config import builtin_weights, find_options
from dckd_basicsr.config.resolve import resolve_options
from dckd_basicsr.distill import TERMS, Term, register_term
from dckd_basicsr.methods import packaged_methods
from dckd_basicsr.report import StepCost, image_cost, step_cost
from dckd_basicsr.weight_files import load_weights
from tests.every_term import NETWORKS

LAYOUT = {"ch": 32, "ch_mult": [1, 1, 1, 1, 2], "num_res_blocks": 1, "attn_resolutions": [16], "z_channels": 8}


def resolved(base: str, method: str, **overrides: Any) -> dict[str, Any]:
    given = [f"{key}={json.dumps(value)}" for key, value in overrides.items()]
    return resolve_options(find_options(base), given, [method])[0]


def small(method: str, network: str = "EDSR") -> dict[str, Any]:
    """A step on LQ patches of 16 px (scale 1: 32 px), batch 4, of small networks."""
    student, teacher = NETWORKS[network]
    return resolved(
        "dckd_x4_edsr.yml",
        method,
        **{"scale": student.get("upscale", 1), "network_g": student, "network_teacher": teacher},
        **{"datasets:train:gt_size": 32, "datasets:train:batch_size_per_gpu": 4},
        network_vqgan={"type": "VQGAN", "ddconfig": LAYOUT, "n_embed": 16, "embed_dim": 6},
    )


def costs(opt: dict[str, Any]) -> StepCost:
    found = step_cost(opt)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("method", "giga", "teacher", "frozen"),
    [("logits", 42.8, 0.70, 0.70), ("dckd", 361.6, 0.08, 0.86)],
)
def test_the_table_of_the_methods(method: str, giga: float, teacher: float, frozen: float) -> None:
    found = costs(resolved("dckd_x4_swinir.yml", method))
    assert found.multiply_adds / 1e9 == pytest.approx(giga, abs=0.05)
    assert (found.teacher_share, found.frozen_share) == pytest.approx((teacher, frozen), abs=0.006)


def test_a_step_is_the_sum_of_its_parts() -> None:
    pixels, (student, teacher) = 16 * 16, (build_network(dict(block)) for block in NETWORKS["EDSR"])
    vqgan = VQGAN(LAYOUT, n_embed=16, embed_dim=6, decoder=False)
    own, taught = (multiply_adds(net, (1, 3, 16, 16)) for net in (student, teacher))
    taps = multiply_adds(vqgan, (1, 3, 32, 32), lambda net, x: net.analyse(x))
    whole = multiply_adds(vqgan, (1, 3, 32, 32), lambda net, x: net.analyse(x, logits=True))
    first = pixels * 3 * 8 * 9  # the gradient of LQ, which nobody asks for
    assert costs(small("scratch")) == StepCost(3 * own - first, 0, 0)
    assert costs(small("logits")) == StepCost(3 * own - first + taught, taught, taught)
    # five negatives through the history model and to the last tap; S and T through all of the encoder
    frozen = taught + 5 * own + 5 * taps + 2 * whole
    # back through the encoder to S; of its two attentions' two products both factors have a gradient, 2 x 2 px, 64 ch.
    back = whole + 2 * 2 * 4 * 4 * 64
    assert costs(small("dckd")) == StepCost(3 * own - first + frozen + back, taught, frozen)
    # the teacher sees LQ's transformed copy, too
    assert costs(small("dckd_consistency")).teacher == 2 * taught


@pytest.mark.parametrize("method", packaged_methods())
def test_every_method_is_counted(method: str) -> None:
    found, alone = costs(small(method)), costs(small("scratch"))
    assert found.frozen >= found.teacher >= 0
    assert found.multiply_adds >= alone.multiply_adds + found.frozen
    assert (found.frozen == 0) == (method == "scratch")
    assert (found.teacher == 0) == (method in ("scratch", "mclir"))


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_is_counted(network: str) -> None:
    block = NETWORKS[network][1]
    side = 32 // block.get("upscale", 1)
    assert costs(small("dckd", network)).teacher == multiply_adds(build_network(dict(block)).eval(), (1, 3, side, side))


def test_neither_options_nor_random_numbers_are_touched() -> None:
    opt = small("dckd_augkd", "SwinIR")
    before, stream = json.dumps(opt), torch.get_rng_state()
    costs(opt)
    assert image_cost(opt["network_g"], 2) is not None
    assert json.dumps(opt) == before
    assert torch.equal(torch.get_rng_state(), stream)


def test_several_stages_and_accumulation() -> None:
    opt = small("scratch", "NAFNet")
    base = costs(opt).multiply_adds
    opt["datasets"]["train"] |= {"progressive": [[10, 64, 8], [20, 32, 8]]}
    assert costs(opt).multiply_adds == pytest.approx(4 * base, rel=0.01)  # its channel attention does not grow
    found = step_cost(opt, batch=2, gt_size=32)
    assert found is not None
    assert found.multiply_adds == base


def test_the_layout_of_the_encoder_is_that_of_its_file() -> None:
    opt = small("csd")
    opt["network_vqgan"] = {"type": "VQGAN"}
    absent = costs(opt)
    opt["path"]["pretrain_network_vqgan"] = "builtin:vqgan_f16_ch32_n1024"
    present = costs(opt)
    nets = [VQGAN(decoder=False)]
    layout = vqgan_options_from_state(load_weights(builtin_weights()["vqgan_f16_ch32_n1024"]).state)
    nets.append(VQGAN(**{**layout, "decoder": False}))
    taps = [multiply_adds(net, (1, 3, 32, 32), lambda net, x: net.analyse(x)) for net in nets]
    assert taps[0] > 10 * taps[1]
    # S, T and the enlarged LQ of each sample
    assert [found.frozen - found.teacher for found in (absent, present)] == [3 * each for each in taps]


def test_the_backward_pass_of_a_grouped_convolution_by_hand() -> None:
    net, x = nn.Conv2d(8, 16, 3, padding=1, groups=4), torch.rand(2, 8, 5, 6, requires_grad=True)
    forward = 2 * 30 * 16 * 2 * 9
    with counting() as count:
        y = net(x)
        assert count.multiply_adds == forward
        y.sum().backward()
    assert count.multiply_adds == 3 * forward
    up = nn.ConvTranspose2d(8, 4, 2, stride=2, groups=2)
    with counting() as count:
        up(x).sum().backward()
    assert count.multiply_adds == 3 * 2 * 30 * 8 * 2 * 4


def test_what_cannot_be_counted_is_none_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    @register_term("reads_values")
    class Reading(Term):
        def forward(self, step: Any) -> Any:
            return step.student.mean() * step.student.max().item()

    opt = small("scratch")
    opt["train"]["losses"] = {"reads_values": {}}
    logger = logging.getLogger("basicsr")
    try:
        logger.addHandler(caplog.handler)
        with caplog.at_level(logging.DEBUG, logger="basicsr"):
            assert step_cost(opt) is None
            assert image_cost({"type": "NoSuchNetwork"}, 4) is None
    finally:
        logger.removeHandler(caplog.handler)
        del TERMS["reads_values"]
    reasons = {record.getMessage() for record in caplog.records}
    assert any(
        re.match("The multiply-adds of a step cannot be counted: DataDependentOutput", reason) for reason in reasons
    )
    assert any("of an image cannot be counted: KeyError" in reason for reason in reasons)


def test_an_image_by_hand() -> None:
    block = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1, "upscale": 3}
    layers = 9 * (3 * 8 + 3 * 8 * 8 + 8 * 72) + 9 * 9 * 8 * 3  # the last one at 3 x 3 times the pixels
    assert image_cost(block, 3) == 240 * 427 * layers  # 1280 / 3, rounded up
    swinir = NETWORKS["SwinIR"][0]
    net = build_network(dict(swinir)).eval()
    assert image_cost({**swinir, "window_size": 4}, 2, (18, 28)) == multiply_adds(net, (1, 3, 12, 16))
