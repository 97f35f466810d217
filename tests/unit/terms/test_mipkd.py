"""MiPKD by hand: what is mixed, that networks go on with it, and that every layer trains in every step."""

from __future__ import annotations

import copy
import pickle
from functools import partial
from pathlib import Path

import pytest
import torch

from dckd_basicsr.distill import STUDENT, Generators
from dckd_basicsr.distill.features import Replacement
from dckd_basicsr.distill.terms import MiPKDTerm
from dckd_basicsr.distill.terms.features.mipkd import students_part
from dckd_basicsr.distill.terms.features.prior_mixer import PriorMixer
from dckd_basicsr.errors import ConfigError
from dckd_basicsr.models.arranging import recorded_step
from dckd_basicsr.training.compiling import can_compile, compile_blocks, recompute
from dckd_basicsr.weight_files import load_state, load_training_state
from tests.models import train
from tests.recording import record_operations
from tests.terms import EDSR, WIDE, network
from tests.unit.distill.test_step import ALL_TERMS
from tests.unit.features.test_features import GT, LQ, SWINIR, assert_equal, distiller, gradients
from tests.unit.features.test_positions import NAFNET, RCAN, RESTORMER

PAIRS = {  # student, wider and deeper teacher
    "EDSR": (EDSR, WIDE),
    "RCAN": ({**RCAN, "num_group": 3}, {**RCAN, "num_group": 4, "num_feat": 8}),
    "SwinIR": (SWINIR, {**SWINIR, "depths": [2, 2, 2], "num_heads": [2, 2, 2], "embed_dim": 12}),
    "NAFNet": (NAFNET, {**NAFNET, "width": 8, "enc_blk_nums": [1, 2]}),
    "Restormer": (RESTORMER, {**RESTORMER, "dim": 8, "num_blocks": [1, 1, 1, 2]}),
}


def mixed(term=None, student=EDSR, teacher=WIDE):
    return distiller(term or MiPKDTerm(width=6), student=student, teacher=teacher)


# --- the formula


def test_the_mixture_by_hand():
    """The student's entries where the mask says so, decoded in both widths; each network's own decoded again."""
    mixer = PriorMixer(3, 4, 5, both=True)
    student, teacher = torch.rand(2, 3, 6, 6), torch.rand(2, 4, 6, 6)
    mask = torch.rand(2, 5, 6, 6) < 0.5
    found = mixer(student, teacher, mask)
    ours, theirs = mixer.student_encoder(student), mixer.teacher_encoder(teacher)
    latent = mask * ours + ~mask * theirs
    torch.testing.assert_close(found.for_teacher, mixer.teacher_decoder(latent))
    torch.testing.assert_close(found.for_student, mixer.student_decoder(latent))
    torch.testing.assert_close(found.teacher_again, mixer.teacher_decoder(theirs))
    torch.testing.assert_close(found.student_again, mixer.student_decoder(ours))
    found.student_again.sum().backward()
    assert mixer.student_decoder[0].weight.grad.abs().sum() > 0
    assert not mixer.student_encoder[0].weight.grad.any()
    alone = PriorMixer(3, 4, 5, both=False)(student, teacher, mask)
    assert (alone.for_student, alone.student_again) == (None, None)


def body(net, images, first, last):
    for block in net.body[first:last]:
        images = block(images)
    return images


def tail(net, features, images, first):
    """The rest of an EDSR after the block before ``first``, with its skip from the images' own start."""
    start = net.conv_first((images - net.mean) * net.img_range)
    deep = net.conv_after_body(body(net, features, first, len(net.body))) + start
    return net.conv_last(net.upsample(deep)) / net.img_range + net.mean


@pytest.mark.parametrize(("count", "options"), [(1, {}), (2, {}), (4, {}), (4, {"student_share": 0.75}),
                                                (4, {"relative": True, "mask_ratio": 0.2})])  # fmt: skip
def test_the_term_by_hand(count, options):
    """Value, and gradients of student and layers, against EDSRs whose ends are run by hand."""
    term = MiPKDTerm(width=6, feature_weight=2.0, autoencoder_weight=0.5, block_weight=3.0, **options)
    found, lq = mixed(term), LQ[:count]
    loss, grads = gradients(found, lq, GT[:count])
    student, teacher, generator = found.student, found.sources.teachers["teacher"], Generators(7).on("cpu")
    part = {1: 1, 2: 1, 4: round(4 * term.student_share)}[count]

    def maps(net, ends):
        start = net.conv_first((lq - net.mean) * net.img_range)
        return [*(body(net, start, 0, end) for end in ends), net.conv_after_body(body(net, start, 0, 99)) + start]

    def distance(one, other):
        return (one - other).abs().mean() / (other.abs().mean() if term.relative else 1)

    total = torch.zeros(())
    for i, (ours, theirs) in enumerate(zip(maps(student, (1, 2)), maps(teacher, (1, 2)), strict=True)):
        mixer, mask = term.mixers[i], torch.rand(count, 6, 8, 8, generator=generator) < term.mask_ratio
        a, b = mixer.student_encoder(ours), mixer.teacher_encoder(theirs)
        latent = torch.where(mask, a, b)
        for_teacher = mixer.teacher_decoder(latent)
        total = total + 2.0 * distance(for_teacher, theirs) + 0.5 * distance(mixer.teacher_decoder(b), theirs)
        if i != 1:  # 2/3
            continue
        total = total + 0.5 * distance(mixer.student_decoder(a.detach()), ours.detach())
        images = [tail(student, mixer.student_decoder(latent)[:part], lq[:part], 2)]
        images += [tail(teacher, for_teacher[part:], lq[part:], 2)] if part < count else []
        total = total + 3.0 * (torch.cat(images) - teacher(lq)).abs().mean()
    found.zero_grad()
    total.backward()
    assert_equal((loss, grads), (total.item(), {key: p.grad for key, p in found.named_parameters()}))
    assert all(p.grad is None for p in teacher.parameters())


def test_what_it_is_by_default():
    """The paper's weights, and positions, mask and layers as they were chosen."""
    term = MiPKDTerm()
    assert (term.feature_weight, term.autoencoder_weight, term.block_weight) == (1.0, 1.0, 0.1)
    assert (term.width, term.mask_ratio, term.student_share, term.relative) == (64, 0.5, 0.5, False)
    assert [ours.path for ours, _ in term.pairs] == ["1/3", "2/3", "end"]
    assert term.continued == {1}


def test_the_log_has_the_parts():
    values = mixed(MiPKDTerm(width=6, feature_weight=2.0, autoencoder_weight=0.5, block_weight=3.0))(LQ, GT)
    parts = [values[f"mipkd_{each}"].item() for each in ("features", "autoencoder", "blocks")]
    assert values["l_mipkd"].item() == pytest.approx(2 * parts[0] + 0.5 * parts[1] + 3 * parts[2])
    assert set(mixed(MiPKDTerm(autoencoder_weight=0, block_weight=0))(LQ, GT)) == {
        "l_mipkd",
        "l_total",
        "mipkd_features",
    }


def test_the_students_part_of_a_batch():
    wanted = {
        (1, 0.5): 1,
        (2, 0.5): 1,
        (3, 0.5): 2,
        (16, 0.5): 8,
        (2, 0.01): 1,
        (2, 0.99): 1,
        (8, 0.99): 7,
        (8, 0.3): 2,
    }
    assert {key: students_part(*key) for key in wanted} == wanted


# --- every network, every batch


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_layer_trains_in_every_step(name, count):
    """By this term alone: student and mixers, as processes that share gradients need it."""
    student, teacher = PAIRS[name]
    found = mixed(MiPKDTerm(), student, teacher)
    passes = []
    for net in (found.student, found.sources.teachers["teacher"]):
        net.register_forward_hook(lambda _, inputs, output: passes.append(len(output)))
    scale = 1 if name in ("NAFNet", "Restormer") else 2
    value = found(LQ[:count], GT[:count, :, : 8 * scale, : 8 * scale])["l_total"]
    value.backward()
    assert torch.isfinite(value)
    assert not [key for key, p in found.named_parameters() if p.grad is None]
    of_mixers = {key: p.grad.abs().sum().item() for key, p in found.terms.named_parameters()}
    assert len(of_mixers) == 3 * 12 + 4
    assert not [key for key, size in of_mixers.items() if not size > 0]
    assert sorted(passes) == sorted([count, count, students_part(count, 0.5), *([count // 2] if count > 1 else [])])


def test_networks_go_on_from_several_positions_or_none():
    everywhere = MiPKDTerm(["body.0", "end"], ["body.0@input", "end"], block_positions=["end", "body.0"], width=4)
    found = mixed(everywhere)
    gradients(found)
    assert not [key for key, p in found.named_parameters() if p.grad is None]
    assert [mixer.student_decoder is not None for mixer in everywhere.mixers] == [True, True]
    nowhere = MiPKDTerm(block_weight=0, width=4)
    found = mixed(nowhere)
    assert [mixer.student_decoder for mixer in nowhere.mixers] == [None] * 3
    found.student.register_forward_hook(lambda *_: passes.append(1))
    passes: list[int] = []
    gradients(found)
    assert passes == [1]
    assert MiPKDTerm(["1/2"]).continued == {0}


# --- what is put into a network


@pytest.mark.parametrize("position", ["body.0", "body.1@input", "1/2"])
def test_a_network_goes_on_with_what_is_put_there(position):
    net = network(EDSR)
    put = Replacement(net, position, STUDENT)
    plain, features = net(LQ), torch.randn(4, 8, 8, 8, dtype=torch.float64, requires_grad=True)
    kept = features.detach().clone()
    with put.by(features):
        found = net(LQ)
    torch.testing.assert_close(found, tail(net, features.float(), LQ, 1))
    assert torch.equal(features, kept)
    found.sum().backward()
    assert features.grad.abs().sum() > 0
    assert torch.equal(net(LQ), plain)


@pytest.mark.parametrize("position", ["conv_after_body", "body.0.relu@input"])
def test_what_is_put_there_is_written_over_as_a_copy(position):
    """EDSR adds its skip onto what conv_after_body gives, and its ReLUs work in place."""
    net = network(EDSR)
    put, features = Replacement(net, position, STUDENT), torch.randn(4, 8, 8, 8)
    kept = features.clone()
    with put.by(features):
        net(LQ)
    assert torch.equal(features, kept)


def test_nothing_stays_and_copies_have_their_own():
    net = network(EDSR)
    put = Replacement(net, "body.0", STUDENT)
    plain = net(LQ)
    with put.by(torch.rand(4, 8, 8, 8, requires_grad=True)), torch.no_grad():
        twin = copy.deepcopy(net)
        assert torch.equal(twin(LQ), plain)
        assert not torch.equal(net(LQ), plain)
    assert put._held.features is None
    with pytest.raises(RuntimeError), put.by(torch.rand(4, 8, 8, 8)):
        net(LQ[:, :2])
    assert put._held.features is None


@pytest.mark.parametrize("way", ["copied", "pickled"])
def test_copied_distillers_compute_the_same_on_their_own(way):
    found = mixed()
    twin = copy.deepcopy(found) if way == "copied" else pickle.loads(pickle.dumps(found))
    one, two = found(LQ, GT), twin(LQ, GT)
    assert {k: v.item() for k, v in one.items()} == {k: v.item() for k, v in two.items()}
    two["l_total"].backward()
    assert all(p.grad is None for p in found.parameters())
    assert all(p.grad is not None for p in twin.parameters())


def test_tokens_are_pixels_row_by_row():
    """The map that SwinIR goes on with has each token where its pixel is."""
    found = mixed(MiPKDTerm(["layers.0", "layers.1"], block_positions=["layers.0"]), *PAIRS["SwinIR"])
    given = {}
    hook = found.terms["l_mipkd"].mixers[0].register_forward_hook(lambda m, inputs, output: given.update(mixed=output))
    found.student.layers[1].register_forward_pre_hook(lambda m, inputs: given.update(tokens=inputs[0]))
    student = []
    found.terms["l_mipkd"].mixers[0].register_forward_pre_hook(lambda m, inputs: student.append(inputs[0]))
    with found._maps.taking() as taken, torch.no_grad():
        found.student(LQ)
    gradients(found)
    hook.remove()
    torch.testing.assert_close(student[0][:, :, 2, 5], taken["layers.0"][:, 2 * 8 + 5])
    assert given["tokens"].shape == (2, 64, 8)
    torch.testing.assert_close(given["tokens"][:, 2 * 8 + 5], given["mixed"].for_student[:2, :, 2, 5])


# --- however the networks run


def test_compiled_blocks_give_the_same():
    if not can_compile(torch.device("cpu")):
        pytest.skip("no C++ compiler")
    from torch._dynamo.utils import counters

    wanted = gradients(mixed())
    torch._dynamo.reset()
    found = mixed()
    compile_blocks(found.student)
    compile_blocks(found.sources.teachers["teacher"])
    counters.clear()
    for _ in range(2):
        found.sources.generators.load_training_state(Generators(7).training_state(), "cpu")
        assert_equal(gradients(found), wanted)
    assert not counters["graph_break"]


def test_recomputed_blocks_give_the_same_and_parts_of_them_are_refused():
    wanted, found = gradients(mixed()), mixed()
    recompute(found.student)
    assert_equal(gradients(found), wanted)
    inside = mixed(MiPKDTerm(["body.0.conv1"], width=4))
    recompute(inside.student)
    with pytest.raises(ConfigError, match=r"student: 'body\.0\.conv1' lies inside a block whose .* name whole blocks"):
        inside(LQ, GT)


def test_under_mixed_precision():
    region = partial(torch.autocast, "cpu", dtype=torch.bfloat16)
    wanted, found = gradients(mixed()), mixed()
    found.student_region = found.sources.frozen_region = region
    loss, grads = gradients(found)
    assert loss == pytest.approx(wanted[0], rel=0.02)
    assert loss != wanted[0]
    assert grads.keys() == wanted[1].keys()


RUN = {**dict.fromkeys(ALL_TERMS), "losses": [{"type": "pixel"}, {"type": "mipkd", "width": 4}]}


def test_recorded_resumed_and_never_exported(build):
    def make(*overrides):
        torch.manual_seed(5)
        return build("train:optim_g={type: SGD, lr: 1e-5}", *overrides, train=RUN)

    plain, replayed = make(), make()
    replayed.runner.recorded = recorded_step(replayed, record_operations)
    wanted, found = train(plain, range(1, 4)), train(replayed, range(1, 4))
    assert replayed.runner.recorded is not None
    for a, b in zip(wanted, found, strict=True):
        assert b == pytest.approx(a, rel=1e-5)
    plain.save(0, 3)
    paths = plain.opt["path"]
    weights = Path(paths["models"]) / "net_g_3.pth"
    assert load_state(weights)["params"].keys() == network({**EDSR, "num_block": 1}).state_dict().keys()
    state = load_training_state(Path(paths["training_states"]) / "3.state")
    assert len(state["dckd"]["terms"]) == 3 * 12 + 4
    other = make(f"path:pretrain_network_g={weights}", "path:param_key_g=params")
    other.resume_training(state)
    assert train(other, [4, 5]) == train(plain, [4, 5])


# --- what does not fit


def test_maps_of_different_sizes():
    with pytest.raises(
        ConfigError, match=r"l_mipkd compares feature maps of one size, but the student's 'conv_last@input'"
    ):
        mixed(MiPKDTerm(["conv_last@input"], ["end"]))
    windows = "layers.0.residual_group.blocks.0.attn"
    with pytest.raises(ConfigError, match=r"\(16, 16, 12\) are no map of an LQ batch.*name another position"):
        mixed(MiPKDTerm([windows], block_weight=0), *PAIRS["SwinIR"])(LQ, GT)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"student": "end"}, "student must be a list of positions"),
        ({"student": []}, "student must be a list"),
        ({"teacher": [1]}, "teacher must be a list"),
        ({"teacher": ["end"]}, "teacher must have one position for each of student, which has 3, got 1"),
        ({"block_positions": ["1/2"]}, "block_positions must be among those of student, 1/3, 2/3, end; got '1/2'"),
        (
            {"block_positions": []},
            "block_positions is empty, so no network goes on; name one, or set block_weight to 0",
        ),
        ({"width": 0}, "width must be at least 1"),
        ({"mask_ratio": 1.1}, "mask_ratio must be a probability, more than 0 and at most 1, got 1.1"),
        ({"mask_ratio": 0.0}, "mask_ratio must be a probability, more than 0 and at most 1, got 0.0"),
        ({"student_share": 1.0}, "student_share must be more than 0 and less than 1"),
        ({"student_share": 0.0}, "student_share must be more than 0 and less than 1"),
        ({"feature_weight": 0.0}, "feature_weight must be more than 0"),
        ({"autoencoder_weight": -1}, "autoencoder_weight must be at least 0"),
        ({"block_weight": -1}, "block_weight must be at least 0"),
    ],
)
def test_options_that_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MiPKDTerm(**options)
