"""Feature maps by module path: whole, with their graph, and the same however the networks run."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from basicsr.archs import build_network
from torch import nn

from dckd_basicsr.distill import STUDENT, Distiller, FeatureMap, FeatureMaps, Generators, Need, Sources
from dckd_basicsr.distill.terms import ConsistencyTerm
from dckd_basicsr.errors import ConfigError
from dckd_basicsr.training.compiling import can_compile, compile_blocks, recompute
from tests.terms import EDSR, WIDE, RegressedTerm

SWINIR = {
    "type": "SwinIR", "upscale": 2, "img_size": 8, "window_size": 4, "depths": [2, 2], "embed_dim": 8,
    "num_heads": [2, 2], "mlp_ratio": 2, "upsampler": "pixelshuffledirect", "resi_connection": "1conv",
    "drop_path_rate": 0.0,
}  # fmt: skip
SWINIR_WIDE = {**SWINIR, "embed_dim": 12}
LQ, GT = torch.rand(4, 3, 8, 8), torch.rand(4, 3, 16, 16)


def distiller(*terms, student=EDSR, teacher=WIDE, **options) -> Distiller:
    torch.manual_seed(3)
    nets = build_network(student), build_network(teacher)
    sources = Sources(Generators(7), {"teacher": nets[1]})
    return Distiller(nets[0], terms or [RegressedTerm()], sources, example=LQ[:1], **options)


def gradients(found: Distiller, lq=LQ, gt=GT) -> tuple[float, dict[str, torch.Tensor]]:
    found.zero_grad()
    loss = found(lq, gt)["l_total"]
    loss.backward()
    return loss.item(), {key: p.grad.clone() for key, p in found.named_parameters() if p.grad is not None}


def assert_equal(found, wanted) -> None:
    assert found[0] == pytest.approx(wanted[0], rel=1e-5)
    assert found[1].keys() >= wanted[1].keys()
    for key, value in found[1].items():  # compiled, what is above the map in its block has zeros instead of nothing
        hand = wanted[1].get(key, torch.zeros_like(value))
        limit = 1e-5 * hand.abs().max().item()
        torch.testing.assert_close(value, hand, rtol=0, atol=limit, msg=lambda text, key=key: key + text)


# --- what they are


def test_the_graph_of_s_is_kept_and_t_has_none():
    found = distiller()
    loss, grads = gradients(found)
    student, teacher, term = found.student, found.sources.teachers["teacher"], found.terms["l_regressed"]
    with torch.no_grad():
        body = teacher.body(teacher.conv_first((LQ - teacher.mean) * teacher.img_range))
    own = student.body(student.conv_first((LQ - student.mean) * student.img_range))
    wanted = (term.regressor(own) - body).square().mean()
    assert loss == pytest.approx(wanted.item(), rel=1e-6)
    asked = [*student.conv_first.parameters(), *student.body.parameters(), *term.parameters()]
    hand = torch.autograd.grad(wanted, asked)
    assert len(grads) == len(asked)  # layers below the map and the regressor, and none above it
    assert not [key for key in grads if "upsample" in key or "conv_last" in key or "after_body" in key]
    for p, grad in zip(asked, hand, strict=True):
        torch.testing.assert_close(p.grad, grad, rtol=1e-5, atol=1e-8)
    assert all(p.grad is None for p in teacher.parameters())


def test_what_the_log_has_beside_it():
    values = distiller()(LQ, GT)
    assert list(values) == ["l_regressed", "l_total", "d_student"]
    assert [value.requires_grad for value in values.values()] == [True, True, False]


def test_a_map_is_what_the_module_gave_not_what_was_written_over_it():
    """EDSR's blocks put a ReLU in place behind their first convolution."""
    net = build_network(EDSR)
    maps = FeatureMaps(net, ["conv_first", "body.0.conv1"], STUDENT)
    with maps.taking() as taken:
        net(LQ)
    wanted = net.body[0].conv1(taken["conv_first"])
    torch.testing.assert_close(taken["body.0.conv1"], wanted)
    assert (wanted < 0).any()


def test_nothing_is_kept_outside_nor_between():
    net = build_network(EDSR)
    maps = FeatureMaps(net, ["body.1", "body.1"], STUDENT)
    assert maps.paths == ["body.1"]
    net(LQ)
    assert maps._kept.maps == {}
    with maps.taking() as taken:
        net(LQ)
    assert list(taken) == ["body.1"]
    assert maps._kept.maps == {}  # a step's graph must not live until the next one
    with pytest.raises(RuntimeError), maps.taking():
        net(LQ[:, :2])  # fails halfway
    assert maps._kept.maps == {}
    assert not maps._kept.open


class Odd(nn.Module):
    """A module that gives a pair, one that is not used, one that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.pair, self.idle, self.twice = Pair(), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.up = nn.Upsample(scale_factor=2)

    def forward(self, x):
        return self.up(self.twice(self.twice(self.pair(x)[0])))


class Pair(nn.Module):
    def forward(self, x):
        return x, x


def test_paths_that_give_no_map():
    net = build_network(EDSR)
    for path, message in (
        ("body.2", r"student \(EDSR\) has no module 'body\.2'; near are: body\.1, body\.0, body, "),
        ("layers.0", r"no module 'layers\.0'; there are: conv_first, body, conv_after_body, upsample, conv_last"),
        ("", r"no module ''; there are: conv_first, body"),
    ):
        with pytest.raises(ConfigError, match=message):
            FeatureMaps(net, [path], STUDENT)
    for path, message in (
        ("pair", "student: the module 'pair' gives a tuple, no feature map; name another one"),
        ("idle", "student: the module 'idle' did not run, so it has no feature map"),
    ):
        with pytest.raises(ConfigError, match=message):
            Distiller(Odd(), [RegressedTerm(path)], Sources(teachers={"teacher": build_network(WIDE)}), example=LQ[:1])
    odd = Odd()
    maps = FeatureMaps(odd, ["twice"], STUDENT)
    with maps.taking() as taken:
        odd(LQ)
    torch.testing.assert_close(taken["twice"], odd.twice(odd.twice(LQ)))


def test_a_term_that_wants_a_wrong_path_or_no_example():
    with pytest.raises(ConfigError, match=r"^teacher \(EDSR\) has no module 'body\.7'; near are: .*body\.2"):
        distiller(RegressedTerm(teacher="body.7"))
    with pytest.raises(ConfigError, match="need an example of LQ, to see their shapes"):
        Distiller(build_network(EDSR), [RegressedTerm()], Sources(teachers={"teacher": build_network(WIDE)}))


def test_a_map_that_was_not_announced():
    class Silent(RegressedTerm):
        registered, label = "silent", "l_silent"

        def forward(self, step):
            return step.feature(FeatureMap(STUDENT, "body.0")).mean()

    with pytest.raises(RuntimeError, match=r"feature map body\.0 of student was not announced"):
        distiller(Silent())(LQ, GT)


def test_seeing_shapes_changes_no_network():
    student = build_network(EDSR)
    student.body[0].eval()  # somebody's frozen part
    kept = copy.deepcopy(student)
    Distiller(student, [RegressedTerm()], Sources(teachers={"teacher": build_network(WIDE)}), example=LQ[:1])
    assert [m.training for m in student.modules()] == [m.training for m in kept.modules()]
    assert student.training
    assert all(torch.equal(a, b) for a, b in zip(student.parameters(), kept.parameters(), strict=True))
    assert all(p.grad is None for p in student.parameters())


# --- however the networks run


def test_tokens_of_transformers():
    found = distiller(RegressedTerm("layers.1", "layers.0"), student=SWINIR, teacher=SWINIR_WIDE)
    assert isinstance(found.terms["l_regressed"].regressor, nn.Linear)
    _, grads = gradients(found)
    assert any("layers.1" in key for key in grads)
    assert not any("conv_last" in key or "student.norm" in key for key in grads)


@pytest.mark.parametrize(
    ("terms", "nets"),
    [
        (RegressedTerm, {}),
        # windows of all images in one batch: 4 of each
        (
            partial(RegressedTerm, *["layers.0.residual_group.blocks.1.attn"] * 2),
            {"student": SWINIR, "teacher": SWINIR_WIDE},
        ),
    ],
)
def test_pieces_and_label_consistency_leave_maps_as_they_are(monkeypatch, terms, nets):
    """Of LQ alone: the transformed copies pass the teacher in the same batch."""
    wanted = gradients(distiller(terms(), **nets))
    for at_once in (8, 3):
        monkeypatch.setattr("dckd_basicsr.distill.step.images_at_once", lambda *_, n=at_once: n)
        assert_equal(gradients(distiller(terms(), **nets)), wanted)
        both = distiller(terms(), ConsistencyTerm(), **nets)
        assert Need.CONSISTENCY in both.needs
        value = both(LQ, GT)["l_regressed"]
        torch.testing.assert_close(value.item(), wanted[0], rtol=1e-5, atol=0)


def test_under_mixed_precision_maps_are_float32():
    mixed = partial(torch.autocast, "cpu", dtype=torch.bfloat16)
    found, wanted = distiller(student_region=mixed), gradients(distiller())
    found.sources.frozen_region = mixed
    kinds = []

    def look(term, args):
        kinds.extend(args[0].feature(need).dtype for need in term.needs)

    found.terms["l_regressed"].register_forward_pre_hook(look)
    loss, grads = gradients(found)
    assert kinds == [torch.float32] * 2
    assert loss == pytest.approx(wanted[0], rel=0.02)
    assert loss != wanted[0]
    assert grads.keys() == wanted[1].keys()


@pytest.mark.parametrize("path", ["body.1", "body.1.conv1"])
def test_recomputed_activations_give_the_same(path):
    wanted = gradients(distiller(RegressedTerm(path)))
    found = distiller(RegressedTerm(path))
    assert recompute(found.student) == 2
    assert_equal(gradients(found), wanted)


@pytest.mark.parametrize("paths", [("body.1", "body.2"), ("body.1.conv1", "body.0.relu")])
def test_compiled_blocks_give_the_same(paths):
    """Hooks on compiled blocks and inside them, where equal blocks share their code."""
    if not can_compile(torch.device("cpu")):
        pytest.skip("no C++ compiler")
    from torch._dynamo.utils import counters

    wanted = gradients(distiller(RegressedTerm(*paths)))
    torch._dynamo.reset()
    found = distiller(RegressedTerm(*paths))
    assert len(compile_blocks(found.student)) == 2
    assert len(compile_blocks(found.sources.teachers["teacher"])) == 3
    counters.clear()
    for _ in range(2):
        assert_equal(gradients(found), wanted)
    graphs = counters["stats"]["unique_graphs"]
    assert 0 < graphs <= 4  # S and T, with a hook inside and without
    gradients(found)
    found.student(LQ)  # as validation does, with nothing kept
    found.student(LQ)
    assert counters["stats"]["unique_graphs"] <= graphs + 1
    assert not counters["graph_break"]


def test_copies_of_the_student_keep_nothing():
    found = distiller()
    twin = copy.deepcopy(found.student)
    with found._maps.taking() as taken:
        output = found.student(LQ)
        with torch.no_grad():
            twin(0 * LQ)
    assert taken["body.1"].requires_grad
    torch.testing.assert_close(taken["body.1"], _body(found.student))
    assert output.requires_grad
    whole = copy.deepcopy(found)  # a copied distiller has maps of its own student
    assert whole._maps._kept is not found._maps._kept
    assert_equal(gradients(whole), gradients(found))


def _body(net):
    return net.body(net.conv_first((LQ - net.mean) * net.img_range))


@pytest.mark.parametrize("backwards", [False, True])
def test_the_order_of_hooks_is_not_that_of_a_set(backwards):
    """Which differs from process to process: gradients of a map with several readers add up in the order of hooks."""

    class InOrder(frozenset):
        def __iter__(self):
            return iter(sorted(super().__iter__(), key=repr, reverse=backwards))

    class SeveralTerm(RegressedTerm):
        paths = ("body.1", "1/2", "end", "2/2")

        @property
        def needs(self):
            return InOrder([*super().needs, *(FeatureMap(STUDENT, path) for path in self.paths)])

        def setup(self, shapes):
            self.seen = list(shapes)
            super().setup(shapes)

    term = SeveralTerm()
    distiller(term)
    assert [need.path for need in term.seen] == ["1/2", "2/2", "body.1", "end", "body.2"]  # S, then the teacher
