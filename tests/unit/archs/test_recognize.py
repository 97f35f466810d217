"""Networks are recognized from keys and shapes alone, and outlines have the keys and shapes of the real thing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from basicsr.archs import build_network

from dckd_basicsr.archs.build import outline
from dckd_basicsr.archs.recognize import recognize
from dckd_basicsr.config import builtin_weights, load_options, packaged_options
from dckd_basicsr.weight_files import load_weights

RGB = {"num_in_ch": 3, "num_out_ch": 3}
SWIN = {"embed_dim": 12, "depths": [2, 1], "num_heads": [2, 3], "window_size": 4, "mlp_ratio": 1.5}
NETWORKS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    # what is read off the shapes, and what else is needed to build
    *(({"type": "EDSR", "num_feat": 8, "num_block": 2, "upscale": s}, RGB) for s in (1, 2, 3, 4, 8)),
    ({"type": "EDSR", "num_feat": 8, "num_block": 2, "upscale": 2, "num_in_ch": 1, "num_out_ch": 1}, {}),
    *(({"type": "MSRResNet", "num_feat": 8, "num_block": 2, "upscale": s}, {}) for s in (2, 3, 4)),
    *(({"type": "RRDBNet", "num_feat": 8, "num_block": 2, "num_grow_ch": 4, "scale": s}, RGB) for s in (1, 2, 4)),
    *(
        ({"type": "RCAN", "num_feat": 8, "num_group": 3, "num_block": 2, "squeeze_factor": 4, "upscale": s}, RGB)
        for s in (2, 3)
    ),
    *(({"type": "SwinIR", **SWIN, "upscale": s, "upsampler": "pixelshuffle"}, {"img_size": 8}) for s in (3, 4)),
    ({"type": "SwinIR", **SWIN, "upscale": 2, "upsampler": "pixelshuffledirect"}, {"img_size": 8}),
    ({"type": "SwinIR", **SWIN, "upscale": 4, "upsampler": "nearest+conv"}, {"img_size": 8}),
    ({"type": "SwinIR", **SWIN, "upscale": 1, "upsampler": ""}, {"img_size": 8}),
    ({"type": "NAFNet", "width": 4, "enc_blk_nums": [1, 2], "middle_blk_num": 3, "dec_blk_nums": [2, 1]}, {}),
    *(
        (
            {
                "type": "Restormer",
                "dim": 8,
                "num_blocks": [1, 2, 1, 3],
                "num_refinement_blocks": 2,
                "heads": [1, 2, 4, 8],
                "LayerNorm_type": norm,
            },
            {},
        )
        for norm in ("WithBias", "BiasFree")
    ),
]


def shapes(net: torch.nn.Module) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in net.state_dict().items()}


@pytest.mark.parametrize(("seen", "unseen"), NETWORKS, ids=lambda o: str(o.get("type", "")))
def test_sizes_are_read_off_an_outline_of_the_right_shapes(seen: dict[str, Any], unseen: dict[str, Any]) -> None:
    options = seen | unseen
    net = outline(options).net
    assert shapes(net) == shapes(build_network(options))
    found = recognize(net.state_dict())
    assert found is not None
    assert {"type": found.type, **found.options} == seen


@pytest.mark.parametrize("name", [name for name in packaged_options() if name.startswith("dckd_")])
def test_networks_of_the_shipped_files(name: str) -> None:
    opt, _ = load_options(packaged_options()[name])
    for key in ("network_g", "network_teacher"):
        found = recognize(outline(opt[key]).net.state_dict())
        assert found is not None
        assert {"type": found.type, **found.options}.items() <= {**opt[key], "squeeze_factor": 16}.items()


def test_an_outline_holds_no_values_and_changes_nothing() -> None:
    options = {"type": "EDSR", **RGB, "num_feat": 256, "num_block": 32}
    before = dict(options)
    state = torch.get_rng_state()
    assert {p.device.type for p in outline(options).net.parameters()} == {"meta"}
    assert options == before
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.empty(1).device.type == "cpu"


def test_shipped_weights_and_how_they_are_named() -> None:
    shipped = {name: load_weights(path).state for name, path in builtin_weights().items()}
    assert str(recognize(shipped["edsr_x4_f64b16"])) == "EDSR with num_feat 64, num_block 16, upscale 4"
    found = recognize(shipped["vqgan_f16_ch32_n1024"])
    assert found is not None
    assert found.type == "VQGAN"
    assert (found.options["ch"], found.options["n_embed"]) == (32, 1024)


def test_strangers_and_stumps_are_not_recognized() -> None:
    assert recognize({}) is None
    assert recognize({"who.knows": torch.ones(1)}) is None
    stump = {"layers.0.residual_group.blocks.0.attn.relative_position_bias_table": torch.ones(49, 2)}
    assert recognize(stump) is None
    ones = torch.ones(2, 2)
    assert recognize({"encoder.conv_in.weight": ones, "quantize.embedding.weight": ones}) is None
