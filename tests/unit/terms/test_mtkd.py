"""The mean of several teachers as target: by hand, one pass each, and which teachers it asks for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dckd_basicsr.distill import Distiller, Need, Sources, TeacherOutput, build_terms
from dckd_basicsr.distill.terms import LogitsTerm, MTKDTerm
from dckd_basicsr.distill.terms.mtkd import mean_of_teachers
from dckd_basicsr.errors import ConfigError
from tests.models import train
from tests.tiny import TEACHER
from tests.unit.distill.test_step import ALL_TERMS, Upscale
from tests.unit.terms.test_gates import Image

BLOCKS = [{"name": "sharp", **TEACHER}, {"name": "smooth", **TEACHER, "num_feat": 6}]
GT = torch.zeros(1, 1, 1, 4)
STUDENT = torch.tensor([0.5, 0.5, 0.25, 0.5]).view(1, 1, 1, 4)
FIRST = torch.tensor([1.0, 0.0, 0.5, 0.25]).view(1, 1, 1, 4)
SECOND = torch.tensor([0.0, 0.25, 0.5, 0.75]).view(1, 1, 1, 4)


def result(term, *teachers, names=("one", "other", "third")):
    net = Image(STUDENT)
    found = Distiller(net, [term], Sources(teachers={n: Image(t) for n, t in zip(names, teachers)}))
    values = found(GT, GT)
    values["l_total"].backward()
    return values, net.values.grad.flatten().tolist()


def test_the_mean_by_hand():
    images = [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.5]), torch.tensor([0.5, 0.25])]
    assert mean_of_teachers(images).tolist() == pytest.approx([0.5, 0.25])
    for weights in ([1, 2, 1], [0.5, 1, 0.5]):  # their sum counts for nothing
        assert mean_of_teachers(images, weights).tolist() == pytest.approx([0.375, 0.3125])
    assert mean_of_teachers(images[:1], [0.3]) is images[0]


def test_the_term_by_hand():
    """Targets are 0.5, 0.125, 0.5, 0.5 with equal weights, and 0.25, 0.1875, 0.5, 0.625 with 1 and 3."""
    values, grad = result(MTKDTerm(), FIRST, SECOND)
    assert values["l_mtkd"].item() == pytest.approx((0 + 0.375 + 0.25 + 0) / 4)
    assert grad == [0, 0.25, -0.25, 0]
    values, grad = result(MTKDTerm(weights=[1, 3]), FIRST, SECOND)
    assert values["l_mtkd"].item() == pytest.approx((0.25 + 0.3125 + 0.25 + 0.125) / 4)
    assert grad == [0.25, 0.25, -0.25, -0.25]
    # weights follow the names that the term gives
    other, _ = result(MTKDTerm(taught_by=["other", "one"], weights=[3, 1]), FIRST, SECOND)
    assert other["l_mtkd"].item() == values["l_mtkd"].item()


def test_the_gate_is_that_of_the_mean():
    """GT is 0: with 1 and 3 the mean is nearer in the first two, with 0.25 < 0.5 and 0.1875 < 0.5."""
    values, grad = result(MTKDTerm(weights=[1, 3], gate="teacher_better"), FIRST, SECOND)
    assert values["gate_mtkd"].item() == 0.5
    assert values["l_mtkd"].item() == pytest.approx((0.25 + 0.3125) / 4)
    assert grad == [0.25, 0.25, 0, 0]


def test_one_teacher_is_that_teacher():
    values, grad = result(MTKDTerm(weights=[0.2]), SECOND, names=["teacher"])
    wanted, other = result(LogitsTerm(), SECOND, names=["teacher"])
    assert values["l_mtkd"].item() == wanted["l_logits"].item()
    assert grad == other
    assert result(MTKDTerm(taught_by=["teacher"]), SECOND, FIRST)[1] == other  # the first of several


def test_what_it_asks_for():
    assert MTKDTerm().needs == {Need.TEACHERS}
    assert MTKDTerm(taught_by=["one", "other"]).needs == {TeacherOutput("one"), TeacherOutput("other")}


def test_each_teacher_runs_once_whatever_else_asks():
    torch.manual_seed(0)
    sources = Sources(teachers={"sharp": Upscale(), "smooth": Upscale()})
    losses = [{"type": "mtkd"}, {"type": "logits"}, {"type": "logits", "taught_by": "smooth", "name": "l_smooth"}]
    found = Distiller(Upscale(), build_terms({"losses": losses}), sources)
    lq = torch.rand(2, 3, 8, 8)
    values = found(lq, torch.rand(2, 3, 16, 16))
    assert [net.passes for net in sources.teachers.values()] == [[2], [2]]
    with torch.no_grad():
        target = sum(net(lq) for net in sources.teachers.values()) / 2
        torch.testing.assert_close(values["l_mtkd"].detach(), (found.student(lq) - target).abs().mean())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"taught_by": "one"}, "taught_by must be a list of different teachers, .* got 'one'"),
        ({"taught_by": []}, "taught_by must be a list of different teachers"),
        ({"taught_by": ["one", "one"]}, "taught_by must be a list of different teachers"),
        ({"taught_by": ["one", "other"], "weights": [1]}, "weights has 1 entries, but taught_by has 2; give one"),
        ({"weights": [1, 0]}, r"weights must be positive numbers, got \[1, 0\]; leave a teacher out"),
        ({"weights": [1, float("nan")]}, "weights must be positive numbers"),
        ({"weights": [1, float("inf")]}, "weights must be positive numbers"),
    ],
)
def test_options_that_mean_nothing(options, message):
    with pytest.raises(ConfigError, match=rf"train\.losses\[0\] \(mtkd\): {message}"):
        build_terms({"losses": [{"type": "mtkd", **options}]})


def test_as_many_weights_as_teachers():
    with pytest.raises(ConfigError, match=r"l_mtkd: weights has 3 entries, but network_teachers has 2; give one"):
        result(MTKDTerm(weights=[1, 1, 1]), FIRST, SECOND)
    with pytest.raises(ConfigError, match=r"l_mtkd needs the teacher 'nobody', which is not there; there are: one"):
        result(MTKDTerm(taught_by=["nobody"]), FIRST)
    with pytest.raises(ConfigError, match=r"l_mtkd: taught_by names one twice, which 'teacher' means too; leave one"):
        result(MTKDTerm(taught_by=["one", "teacher"]), FIRST, SECOND)


@pytest.mark.parametrize(("options", "built"), [({}, ["sharp", "smooth"]), ({"taught_by": ["smooth"]}, ["smooth"])])
def test_a_model_builds_those_asked_for(build, options, built):
    model = build(train={**dict.fromkeys(ALL_TERMS), "losses": [{"type": "pixel"}, {"type": "mtkd", **options}]},
                  network_teacher=None, network_teachers=BLOCKS)  # fmt: skip
    assert list(model.sources.teachers) == built
    assert train(model, [1])[0]["l_mtkd"] > 0
    assert all(isinstance(net, nn.Module) and not net.training for net in model.sources.teachers.values())
