"""Weights are compared with the networks they are for before anything is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from basicsr.archs import build_network
from basicsr.utils.registry import ARCH_REGISTRY

from dckd_basicsr.archs import VQGAN, ArchFacts
from dckd_basicsr.config import apply_overrides, option_problems
from dckd_basicsr.config.weights import resume_problems, weight_problems
from tests.tiny import LAYOUT, STUDENT, TEACHER, job_options

STATE = {"iter": 1, "epoch": 0, "optimizers": [], "schedulers": []}


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A job's options with its weights, in the current folder."""
    monkeypatch.chdir(tmp_path)
    torch.save({"params": build_network(STUDENT).state_dict()}, "student.pth")
    torch.save({"params": build_network(TEACHER).state_dict()}, "teacher.pth")
    torch.save({"state_dict": VQGAN(LAYOUT, n_embed=16, embed_dim=6).state_dict()}, "vqgan.pth")
    torch.save(STATE, "1.state")
    return job_options() | {"scale": 2}


def problems(options: dict[str, Any], *overrides: str, is_train: bool = True) -> list[str]:
    opt = apply_overrides(options, overrides)
    return [*weight_problems(opt, is_train, set()), *resume_problems(opt)]


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["path:pretrain_network_g=student.pth", "path:resume_state=1.state"],
        ["network_vqgan={type: VQGAN, n_embed: 16, embed_dim: 6, ddconfig: %s}" % LAYOUT],  # noqa: UP031 (braces)
        # not strict: what fits is loaded, and the log says what does not
        ["network_teacher:num_feat=10", "path:strict_load_teacher=false"],
        ["path:pretrain_network_g=teacher.pth", "path:strict_load_g=false"],
        # a network that no term asks for is not built, so its file does not matter
        ["network_vqgan:type=VQGAN", "path:pretrain_network_vqgan=teacher.pth", *(
            f"train:{term}=~" for term in ("contrastive_opt", "distribution_opt"))],
        # reported where they stand, not here
        ["network_teacher:num_feat=many"],
        ["network_teacher:type=Nothing"],
        ["network_teacher=~", "network_g=5"],
    ],
)  # fmt: skip
def test_nothing_to_report(options: dict[str, Any], overrides: list[str]) -> None:
    assert problems(options, *overrides) == []


def test_missing_additional_and_misshaped_keys_and_what_the_file_is(options: dict[str, Any]) -> None:
    (found,) = problems(options, "path:pretrain_network_g=teacher.pth")
    assert found.startswith(
        "path.pretrain_network_g: the weights in 'teacher.pth' do not fit EDSR: 4 not in the network: "
        "body.1.conv1.weight, body.1.conv1.bias, body.1.conv2.weight, body.1.conv2.bias; 11 of another shape: "
        "conv_first.weight is (12, 3, 3, 3) in the file and (8, 3, 3, 3) in the network, "
    )
    assert found.endswith(
        "the file looks like EDSR with num_feat 12, num_block 2, upscale 2; change network_g, or give the file of "
        "this network"
    )


def test_a_test_looks_at_the_student_alone(options: dict[str, Any]) -> None:
    overrides = "path:pretrain_network_teacher=none.pth", "path:pretrain_network_g=teacher.pth"
    (found,) = problems(options, *overrides, is_train=False)
    assert found.startswith("path.pretrain_network_g")


def test_an_architecture_only_spandrel_knows(options: dict[str, Any]) -> None:
    net = build_network({"type": "SRVGGNetCompact", "num_feat": 8, "num_conv": 2, "upscale": 2})
    torch.save({"params": net.state_dict()}, "compact.pth")
    (found,) = problems(options, "path:pretrain_network_teacher=compact.pth")
    assert (
        "to spandrel it looks like RealESRGAN Compact; `network_teacher: {type: PretrainedNet, path: FILE}` loads"
        in found
    )
    (found,) = problems(options, "network_teacher={type: PretrainedNet, path: compact.pth}", "scale=3",
                        "path:pretrain_network_teacher=~", "network_g:upscale=3")  # fmt: skip
    assert found == "scale is 3, but network_teacher (PretrainedNet) upscales by 2; make them equal"


def test_channels_that_only_a_weight_file_tells(options: dict[str, Any]) -> None:
    """A teacher of three channels beside a student of one trained: the loss broadcast."""
    net = build_network({"type": "SRVGGNetCompact", "num_feat": 8, "num_conv": 2, "upscale": 2})
    torch.save({"params": net.state_dict()}, "compact.pth")
    luma = ["datasets:train:color=y", "datasets:val:color=y", "network_g:num_in_ch=1", "network_g:num_out_ch=1"]
    teacher = ["network_teacher={type: PretrainedNet, path: compact.pth}", "path:pretrain_network_teacher=~"]
    (found,) = problems(options, *luma, *teacher)
    assert found == (
        "datasets.train.color is y, one channel, but network_teacher (PretrainedNet) has input_channels: 3, "
        "network_teacher (PretrainedNet) has output_channels: 3; remove color and measure on Y with test_y_channel: "
        "true, or take networks of one channel"
    )
    assert problems(options, "datasets:train:color=~", "datasets:val:color=~") == []


@pytest.mark.parametrize("file", ["EDSR_Lx4_f256b32.pth", "teacher.pth"])
@pytest.mark.parametrize(
    ("block", "reason"),
    [
        ("{type: PretrainedNet, path: compact.pth}", "(PretrainedNet) loads the file of its own network_teacher.path"),
        ("{type: Bicubic, upscale: 2}", "(Bicubic) has no weights"),
    ],
)
def test_an_inherited_file_for_a_network_that_brings_its_own(
    options: dict[str, Any], file: str, block: str, reason: str
) -> None:
    """It was sent to the download of a file that it would not have needed."""
    net = build_network({"type": "SRVGGNetCompact", "num_feat": 8, "num_conv": 2, "upscale": 2})
    torch.save({"params": net.state_dict()}, "compact.pth")
    (found,) = problems(options, f"network_teacher={block}", f"path:pretrain_network_teacher={file}")
    advice = "; remove path.pretrain_network_teacher, or set it to ~ where a base has it"
    assert found.startswith(
        f"path.pretrain_network_teacher: {'the weights in ' if file == 'teacher.pth' else ''}'{file}'"
    )
    assert found.endswith(f"network_teacher {reason}{advice}")
    assert "http" not in found
    assert problems(options, "path:pretrain_network_teacher=~") == []


def test_weights_of_a_detected_network_that_was_trained_further(options: dict[str, Any]) -> None:
    """What this package saves of a PretrainedNet fits it, and may be named under ``path``."""
    net = build_network({"type": "SRVGGNetCompact", "num_feat": 8, "num_conv": 2, "upscale": 2})
    torch.save({"params": net.state_dict()}, "compact.pth")
    block = {"type": "PretrainedNet", "path": "compact.pth"}
    torch.save({"params": build_network(block).state_dict()}, "net_g_9.pth")
    assert problems(options | {"network_g": block}, "path:pretrain_network_g=net_g_9.pth") == []


def test_patches_below_the_least_side_of_a_detected_network(options: dict[str, Any]) -> None:
    from dckd_basicsr.config.rules import facts_problems

    opt = options | {"network_g": {"type": "PretrainedNet"}}
    (found,) = facts_problems(opt, "network_g", ArchFacts(scale=2, minimum=40), True)
    assert found.endswith(
        "gives LQ patches of 16 px, but network_g (PretrainedNet) takes multiples of 1, at least 40; make gt_size a "
        "multiple of 2, at least 80"
    )
    assert not list(facts_problems(opt, "network_g", ArchFacts(scale=2, multiple_of=8, square=True), True))


def test_unknown_weights(options: dict[str, Any]) -> None:
    torch.save({"params": {"who.knows": torch.ones(3)}}, "w.pth")
    (found,) = problems(options, "path:pretrain_network_teacher=w.pth")
    assert "1 not in the network: who.knows" in found
    assert found.endswith("change network_teacher (widths, blocks, scale), or give the file of this network")


def test_an_edsr_file_is_not_for_pretrained_net(options: dict[str, Any]) -> None:
    teacher = "network_teacher={type: PretrainedNet, path: teacher.pth}"
    (found,) = problems(options, teacher, "path:pretrain_network_teacher=~")
    assert "(it looks like EDSR with num_feat 12, num_block 2, upscale 2) and give the file under path" in found


def test_vqgan(options: dict[str, Any]) -> None:
    (found,) = problems(options, "train:contrastive_opt:weights=[1, 1]")
    assert found.startswith("train.contrastive_opt.weights has 2 entries, but the VQGAN has 3 levels")
    assert found.endswith("shallow to deep, for instance weights: [0.125, 0.25, 1.0]")
    block = "network_vqgan={type: VQGAN, n_embed: 32, embed_dim: 6, ddconfig: %s}" % LAYOUT  # noqa: UP031 (braces)
    (found,) = problems(options, "train:contrastive_opt:weights=~", block)
    assert "do not fit VQGAN: 1 of another shape: quantize.embedding.weight is (16, 6) in the file and (32, 6)" in found
    assert "looks like VQGAN with ch 32, ch_mult (1, 1, 2)" in found
    (found,) = problems(options, "network_vqgan={type: VQGAN}", "path:pretrain_network_vqgan=teacher.pth")
    assert found.startswith("path.pretrain_network_vqgan: the weights are not a VQGAN's in the official layout")


def test_weights_per_level_that_are_left_out(options: dict[str, Any]) -> None:
    """The default of the loss is five, which a VQGAN of another depth met in iteration 1."""
    off = "train:contrastive_opt={type: ContrastiveLoss}"
    (found,) = problems(options, off)
    assert found.startswith(
        "train.contrastive_opt has no weights, and those of ContrastiveLoss by default have 5 entries, but the VQGAN "
        "has 3 levels; give one weight for each"
    )
    assert problems(options, "train:contrastive_opt=~") == []
    # told by the options alone, before any file is there
    block = "network_vqgan={type: VQGAN, n_embed: 16, embed_dim: 6, ddconfig: {ch: 32, ch_mult: [1, 1, 2]}}"
    opt = apply_overrides(options, [off, block, "path:pretrain_network_vqgan=none.pth"])
    (found,) = option_problems(opt)
    assert "by default have 5 entries, but the VQGAN has 3 levels" in found
    assert option_problems(apply_overrides(opt, ["network_vqgan={type: VQGAN, n_embed: 16}"])) == []  # five by default
    (found,) = option_problems(apply_overrides(opt, ["network_vqgan={type: VQGAN, ddconfig: {ch_mult: 3}}"]))
    assert "'ch_mult' in network_vqgan.ddconfig must be a list of integers" in found


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("network_g:num_feat=-8", "RuntimeError: Trying to create tensor with negative dimension -8"),
        ("network_g:num_feat=8.5", "ValueError: out_channels must be divisible by groups"),
        ("network_teacher:num_feat=0.5", "network_teacher (EDSR) cannot be built with these options: "),
    ],
)
def test_numbers_that_a_constructor_cannot_take(options: dict[str, Any], override: str, reason: str) -> None:
    found = problems(options, override)
    assert len(found) == 1
    assert "(EDSR) cannot be built with these options: " in found[0]
    assert reason in found[0]


def test_a_constructor_that_needs_real_tensors(options: dict[str, Any]) -> None:
    """An outline of it fails; that alone is no problem."""

    @ARCH_REGISTRY.register()
    class ReadsItsValues(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.facts = ArchFacts(scale=2)
            self.first = float(torch.empty(1).fill_(0.5))

    try:
        before = torch.random.get_rng_state()
        assert problems(options, "network_g={type: ReadsItsValues}") == []
        assert torch.equal(torch.random.get_rng_state(), before)
    finally:
        del ARCH_REGISTRY._obj_map["ReadsItsValues"]


def test_what_only_a_constructor_can_tell(options: dict[str, Any]) -> None:
    student = "network_g={type: NAFNet, width: 4, enc_blk_nums: [1, 1], dec_blk_nums: [1]}"
    (found,) = problems(options | {"scale": 1, "network_teacher": None}, student, "path:pretrain_network_teacher=~")
    assert found.startswith("network_g (NAFNet): NAFNet has 2 levels in enc_blk_nums and 1 in dec_blk_nums")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"no state", "is damaged"),
        ({"params": {}}, "is not a BasicSR training state"),
        (None, "does not exist"),
    ],
)
def test_training_states(options: dict[str, Any], content: Any, message: str) -> None:
    path = Path("5.state")
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    (found,) = problems(options, "path:resume_state=5.state")
    assert found.startswith("path.resume_state: ")
    assert message in found
