"""Several teachers by name: who teaches whom, and that nobody is built or run in vain."""

from __future__ import annotations

from inspect import signature

import pytest
import torch
from torch import nn

from dckd_basicsr.distill import TERMS, Distiller, Generators, Sources, build_terms, teacher_blocks
from dckd_basicsr.errors import CheckpointError, ConfigError
from tests.models import BATCH, train
from tests.terms import EDSR, RegressedTerm, network
from tests.tiny import TEACHER
from tests.unit.distill.test_step import ALL_TERMS, Upscale

BLOCKS = [{"name": "sharp", **TEACHER}, {"name": "smooth", **TEACHER, "num_feat": 6}]
SHORT = dict.fromkeys(ALL_TERMS)


def test_blocks_by_name():
    assert teacher_blocks({}) == teacher_blocks({"network_teacher": None}) == {}
    assert teacher_blocks({"network_teacher": TEACHER}) == {"teacher": TEACHER}
    found = teacher_blocks({"network_teachers": BLOCKS})
    assert list(found) == ["sharp", "smooth"]
    assert found["sharp"] == TEACHER  # without its name
    assert BLOCKS[0]["name"] == "sharp"


def two(*losses) -> Distiller:
    torch.manual_seed(0)
    sources = Sources(teachers={"sharp": Upscale(), "smooth": Upscale()})
    return Distiller(Upscale(), build_terms({"losses": list(losses)}), sources)


def test_each_term_has_its_teacher_and_each_teacher_one_pass():
    named = [{"type": "logits", "taught_by": name, "name": f"l_{name}"} for name in ("smooth", "sharp")]
    found = two(*named, {"type": "logits"})
    lq, gt = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 16, 16)
    values = found(lq, gt)
    teachers = found.sources.teachers
    assert [net.passes for net in teachers.values()] == [[2], [2]]
    student = found.student(lq)
    for name, net in teachers.items():
        torch.testing.assert_close(values[f"l_{name}"], (student - net(lq)).abs().mean())
    assert values["l_logits"].item() == values["l_sharp"].item()  # the first where none is named
    assert values["l_sharp"].item() != values["l_smooth"].item()
    assert all(not net.training and not any(p.requires_grad for p in net.parameters()) for net in teachers.values())


@pytest.mark.parametrize("term", sorted(n for n, cls in TERMS.items() if "taught_by" in signature(cls).parameters))
def test_the_first_goes_by_teacher_too_in_every_term(term):
    """An overlay or a base that says ``taught_by: teacher`` goes with a file of several."""

    def values(*names):
        torch.manual_seed(0)
        student, *nets = network(EDSR), *(network({**EDSR, "num_feat": 12}) for _ in names)
        sources = Sources(Generators(3), dict(zip(names, nets, strict=True)))
        terms = build_terms({"losses": [{"type": term, "taught_by": ["teacher"] if term == "mtkd" else "teacher"}]})
        torch.manual_seed(1)  # helper layers
        found = Distiller(student, terms, sources, total_iter=9, example=torch.zeros(1, 3, 8, 8))
        gt = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
        return {key: value.item() for key, value in found(gt[..., ::2, ::2], gt).items()}

    assert values("sharp", "smooth") == values("sharp") == values("teacher")


def test_a_teacher_nobody_asks_does_not_run():
    found = two({"type": "logits", "taught_by": "smooth"})
    found(torch.rand(2, 3, 8, 8), torch.rand(2, 3, 16, 16))
    assert [net.passes for net in found.sources.teachers.values()] == [[], [2]]


def test_teachers_that_are_not_there():
    with pytest.raises(ConfigError, match=r"l_logits needs the teacher 'smoth', which is not there.*smooth"):
        two({"type": "logits", "taught_by": "smoth"})
    with pytest.raises(ConfigError, match=r"needs the teacher 'nobody', which is not there; there are: sharp, smooth"):
        two({"type": "logits", "taught_by": "nobody"})
    with pytest.raises(ConfigError, match=r"l_logits needs the teacher, which is not there$"):
        Distiller(Upscale(), build_terms({"losses": [{"type": "logits"}]}))


# --- in a model


def several(build, *losses, **top):
    torch.manual_seed(4)
    return build(train={**SHORT, "losses": [{"type": "pixel"}, *losses]}, network_teacher=None,
                 network_teachers=BLOCKS, **top)  # fmt: skip


@pytest.mark.parametrize(
    ("losses", "built"),
    [
        ((), []),
        (({"type": "logits"},), ["sharp"]),
        (({"type": "consistency"},), ["sharp"]),
        (({"type": "logits", "taught_by": "smooth"},), ["smooth"]),
        (({"type": "logits"}, {"type": "logits", "taught_by": "smooth", "name": "l_other"}), ["sharp", "smooth"]),
        (({"type": "logits", "taught_by": "smooth", "weight": 0},), []),
        (({"type": "regressed", "student": "body.0", "teacher": "body.1", "taught_by": "smooth"},), ["smooth"]),
        (({"type": "regressed", "student": "body.0", "teacher": "body.1"},), ["sharp"]),  # "teacher" is the first
    ],
)
def test_only_those_asked_for_are_built(build, regressed, losses, built):
    model = several(build, *losses)
    assert list(model.sources.teachers) == built
    assert list(model.sources.maps) == [each for each in built if "regressed" in str(losses)]
    assert {"l_pix", "l_total"} <= set(train(model, [1])[0])


def test_maps_of_the_second_and_the_output_of_the_first(build, regressed, said):
    mapped = {"type": "regressed", "student": "body.0", "teacher": "body.1", "taught_by": "smooth"}
    model = several(build, {"type": "logits"}, mapped)
    term = model.distiller.terms["l_regressed"]
    assert isinstance(term, RegressedTerm)
    assert isinstance(term.regressor, nn.Conv2d)
    assert (term.regressor.in_channels, term.regressor.out_channels) == (8, 6)
    assert not any("body" in path for maps in model.sources.maps.values() for path in maps.paths if path == "body.0")
    for name in ("sharp", "smooth"):
        assert sum(text.startswith(f"Runtime: teacher '{name}' ") for text in said) == 1
    values = model.distiller(BATCH["lq"], BATCH["gt"])
    with torch.no_grad():
        wanted = (model.net_g(BATCH["lq"]) - model.sources.teachers["sharp"](BATCH["lq"])).abs().mean()
    torch.testing.assert_close(values["l_logits"], wanted)


def test_each_has_weights_of_its_own(build, model_job):
    paths = {**build().opt["path"], "pretrain_network_sharp": str(model_job / "teacher.pth")}
    model = several(build, {"type": "logits"}, path=paths)
    wanted = torch.load(model_job / "teacher.pth", weights_only=True)["params"]
    found = model.sources.teachers["sharp"].state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in found.items())
    refused = {**paths, "pretrain_network_smooth": str(model_job / "teacher.pth")}
    with pytest.raises(CheckpointError, match="do not fit EDSR"):
        several(build, {"type": "logits", "taught_by": "smooth"}, path=refused)
