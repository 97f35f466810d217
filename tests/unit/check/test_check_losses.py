"""``train.losses``, weights that go over the run, gates: mistakes are told by place, and what is off needs nothing."""

from __future__ import annotations

from collections.abc import Hashable
from copy import deepcopy
from typing import Any, Literal

import pytest
import torch
from jsonschema import Draft7Validator
from torch import nn

from dckd_basicsr.config import apply_overrides, option_notes, option_problems
from dckd_basicsr.config.editor import json_schema
from dckd_basicsr.distill import FeatureMap, Need, TeacherOutput
from dckd_basicsr.distill.terms import TERMS, Term
from tests import tiny

BUILT: list[torch.Tensor] = []


class Affinity(Term):
    """Between feature maps.

    Args:
        student: a module of the student.
        teacher: a module of the teacher.
        power: of the norm.
        mode: how.
        loss: of two maps.
    """

    log_name = "l_affinity"

    def __init__(
        self,
        student: str,
        teacher: str = "body.0",
        power: float = 2,
        mode: Literal["gram", "plain"] = "gram",
        loss: Any = None,
    ) -> None:
        super().__init__()
        self.paths = {"student": student, "teacher": teacher}
        BUILT.append(torch.rand(1))

    @property
    def needs(self) -> frozenset[Hashable]:
        return frozenset(FeatureMap(network, path) for network, path in self.paths.items())


@pytest.fixture(autouse=True)
def _affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TERMS, "affinity", Affinity)


@pytest.fixture
def options() -> dict[str, Any]:
    """A run whose only term is in the list."""
    opt = deepcopy(tiny.job_options())
    for key in ("logits_opt", "contrastive_opt", "distribution_opt", "consistency_opt", "pixel_opt"):
        del opt["train"][key]
    del opt["network_vqgan"], opt["path"]["pretrain_network_vqgan"]
    opt["train"]["losses"] = [{"type": "affinity", "student": "body.0"}]
    return opt


def with_losses(opt: dict[str, Any], *blocks: Any) -> dict[str, Any]:
    return {**opt, "train": {**opt["train"], "losses": list(blocks)}}


GOOD = (
    {"type": "affinity", "student": "body.0"},
    {"type": "affinity", "student": "a", "teacher": "b", "power": 1, "mode": "plain", "weight": 0.5, "name": "mine"},
    {"type": "affinity", "student": "a", "loss": {"type": "CharbonnierLoss", "eps": 1e-6}, "name": "b"},
    {"type": "affinity", "student": "a", "loss": None, "name": "c"},
    {"type": "pixel", "weight": {"type": "cosine", "from": 1, "to": 0.1, "until": 0.5}},
    {"type": "logits", "gate": "teacher_better", "weight": {"type": "linear", "from": 1}},
    {"type": "pixel", "name": "d", "weight": {"type": "steps", "at": [0.5], "values": [1, 0.0]}},
)


def test_right_lists_pass_in_check_and_editor(options: dict[str, Any]) -> None:
    schema = Draft7Validator(json_schema())
    opt = with_losses(options, *GOOD)
    assert option_problems(opt) == []
    assert [error.message for error in schema.iter_errors(opt)] == []
    assert schema.is_valid({"_base_": "a.yml", "train": {"losses": [GOOD[0]]}})
    assert not schema.is_valid({"_base_": "a.yml", "train": {"losses": [{"type": "affinity"}]}})  # lists do not merge


WRONG = [
    (5, "train.losses[0] must be a block with a 'type', got 5"),
    ({}, "missing key 'type' in train.losses[0]; one of "),
    ({"type": "afinity"}, "unknown term 'afinity' in train.losses[0]; did you mean 'affinity'?"),
    ({"type": "affinity"}, "missing key 'student' in train.losses[0] (affinity)"),
    (
        {"type": "affinity", "studnt": "a", "student": "a"},
        "unknown key 'studnt' in train.losses[0] (affinity); did you mean 'student'?",
    ),
    (
        {"type": "affinity", "student": "a", "power": "2"},
        "'power' in train.losses[0] (affinity) must be a number, got '2'",
    ),
    (
        {"type": "affinity", "student": "a", "loss": {"type": "L1Los"}},
        "unknown loss 'L1Los' in train.losses[0].loss; did you mean 'L1Loss'?",
    ),
    (
        {"type": "affinity", "student": "a", "loss": {"type": "L1Loss", "reductoin": "sum"}},
        "unknown key 'reductoin' in train.losses[0].loss (L1Loss); did you mean 'reduction'?",
    ),
    ({"type": "logits", "loss": None}, "train.losses[0].loss must be a block with a 'type', got null"),
    (
        {"type": "pixel", "weight": "1"},
        "'weight' in train.losses[0] (pixel) must be a number or a block of 'key: value' lines, got '1'",
    ),
    ({"type": "pixel", "weight": float("inf")}, "'weight' in train.losses[0] must be a finite number, got .inf"),
    ({"type": "pixel", "name": "a.b"}, "'name' in train.losses[0] must be a plain word, for the log, got 'a.b'"),
    ({"type": "contrast", "loss": {"type": "L1Loss"}}, "train.losses[0].loss compares features, which L1Loss cannot"),
    (
        {"type": "logits", "gate": "always"},
        "'gate' in train.losses[0] (logits) must be one of 'teacher_better' or null, got 'always'",
    ),
    ({"type": "logits", "taught_by": "big"}, "train.losses[0] asks for the teacher 'big', and none is called so"),
    (
        {"type": "distribution"},
        "missing key 'network_vqgan', which train.losses[0] need; add it",
    ),
]


@pytest.mark.parametrize(("block", "message"), WRONG)
def test_what_is_wrong_is_said_at_its_place(options: dict[str, Any], block: Any, message: str) -> None:
    found = option_problems(with_losses(options, block))
    assert any(line.startswith(message) for line in found), found
    second = option_problems(with_losses(options, {"type": "affinity", "student": "a"}, block))
    assert any(line.startswith(message.replace("losses[0]", "losses[1]")) for line in second), second


SCHEDULES = [
    ({}, "missing key 'type' in {}; one of cosine, linear, steps"),
    ({"type": "cosin", "from": 1}, "unknown schedule 'cosin' in {}; did you mean 'cosine'?"),
    ({"type": "cosine", "to": 1}, "missing key 'from' in {} (cosine)"),
    ({"type": "linear", "from": 1, "untl": 1}, "unknown key 'untl' in {} (linear); did you mean 'until'?"),
    ({"type": "linear", "from": "1"}, "'from' in {} (linear) must be a number, got '1'"),
    ({"type": "linear", "from": 1, "until": 0}, "'until' in {} (linear) must be more than 0, got 0"),
    ({"type": "linear", "from": 1, "until": 5000}, "'until' in {} (linear) must be at most 1, got 5000"),
    ({"type": "steps", "at": [0.5], "values": [1]}, "{}: values must be one more than at, the first from the start"),
    ({"type": "steps", "at": [0.5, 0.5], "values": [1, 2, 3]}, "{}: at must hold growing shares of the run in (0, 1)"),
    ({"type": "steps", "at": 0.5, "values": [1, 0]}, "'at' in {} (steps) must be a list of numbers, got 0.5"),
]


@pytest.mark.parametrize(("weight", "message"), SCHEDULES)
def test_schedules(options: dict[str, Any], weight: dict[str, Any], message: str) -> None:
    listed = with_losses(options, {"type": "pixel"}, {"type": "pixel", "name": "b", "weight": weight})
    assert [line for line in option_problems(listed) if line.startswith(message.format("train.losses[1].weight"))]
    options["train"]["pixel_opt"] = {"type": "L1Loss", "loss_weight": weight}
    assert [line for line in option_problems(options) if line.startswith(message.format("train.pixel_opt.loss_weight"))]
    if "at must" not in message and "one more" not in message:  # what depends on two keys no editor knows
        assert not Draft7Validator(json_schema()).is_valid(options)


def test_short_names_take_schedules_gates_and_a_teacher(options: dict[str, Any]) -> None:
    loss = {"type": "L1Loss", "loss_weight": {"type": "cosine", "from": 1}, "gate": "teacher_better"}
    options["train"] |= {"logits_opt": {**loss, "taught_by": "teacher"}, "consistency_opt": {**loss, "gate": None}}
    options["train"]["pixel_opt"] = {"type": "L1Loss"}
    schema = Draft7Validator(json_schema())
    assert option_problems(options) == []
    assert schema.is_valid(options)
    for key, extra in (("pixel_opt", "gate"), ("consistency_opt", "taught_by")):
        changed = deepcopy(options)
        changed["train"][key][extra] = None
        assert [line for line in option_problems(changed) if f"unknown key '{extra}' in train.{key} (L1Loss)" in line]
        assert not schema.is_valid(changed)


def test_names_in_the_log_are_kept_apart(options: dict[str, Any]) -> None:
    (found,) = option_problems(with_losses(options, {"type": "pixel"}, {"type": "pixel"}))
    assert found == (
        "train.losses[0] and train.losses[1] are both called 'l_pix' in the log; give one a name of its own"
    )
    assert option_problems(with_losses(options, {"type": "pixel"}, {"type": "pixel", "name": "second"})) == []
    assert option_problems(with_losses(options, {"type": "pixel"}, {"type": "pixel", "weight": 0})) == []


def test_a_run_has_a_weight_from_start_to_end(options: dict[str, Any]) -> None:
    short = dict.fromkeys(("pixel_opt", "logits_opt", "contrastive_opt", "distribution_opt", "consistency_opt"))
    ends = {"type": "logits", "weight": {"type": "cosine", "from": 1.0, "until": 0.5}}
    starts = {"type": "pixel", "weight": {"type": "steps", "at": [0.5], "values": [0.0, 1.0]}}
    options["train"] |= {**short, "total_iter": 6, "losses": [ends]}
    (problem,) = option_problems(options)
    assert problem.startswith("every loss term of train has weight 0 in iteration 4, as the schedules say")
    options["train"]["losses"] = [ends, starts]
    assert option_problems(options) == []


def test_a_term_of_weight_zero_needs_nothing(options: dict[str, Any]) -> None:
    del options["network_teacher"], options["path"]["pretrain_network_teacher"]
    pixel = {"type": "pixel"}
    for term in ({"type": "logits"}, {"type": "affinity", "student": "a"}, {"type": "consistency"}):
        (found,) = option_problems(with_losses(options, pixel, term))
        assert found.startswith("missing key 'network_teacher', which train.losses[1] need")
        assert option_problems(with_losses(options, pixel, {**term, "weight": 0})) == []
    for term, loss in (("logits_opt", "L1Loss"), ("contrastive_opt", "ContrastiveLoss")):
        opt = apply_overrides(deepcopy(options), [f"train:{term}={{type: {loss}, loss_weight: 0}}"])
        assert option_problems(with_losses(opt, pixel)) == []
    (found,) = option_problems(with_losses(options, {**pixel, "weight": 0}))
    assert found.startswith("every loss term of train has weight 0")


def test_what_a_listed_contrast_needs(options: dict[str, Any]) -> None:
    contrast = {"type": "contrast", "loss": {"type": "ContrastiveLoss", "weights": [1, 1]}}
    layout = {"type": "VQGAN", "ddconfig": dict(tiny.LAYOUT), "n_embed": 16, "embed_dim": 6}
    opt = with_losses(options, contrast) | {"network_vqgan": layout}
    opt["path"] = {**opt["path"], "pretrain_network_vqgan": "vqgan.pth"}
    (found,) = option_problems(opt)
    assert found.startswith("train.losses[0].loss.weights has 2 entries, but the VQGAN has 3 levels")
    opt["train"]["history"] = {"schedule": [[100, 50]]}
    assert any("train.history.schedule" in note for note in option_notes(opt))


def test_asking_a_term_draws_no_random_number_and_reads_no_loss(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Heavy(nn.Module):
        def __init__(self) -> None:
            raise AssertionError("read the weights of a loss")

    from basicsr.utils.registry import LOSS_REGISTRY

    monkeypatch.setitem(LOSS_REGISTRY._obj_map, "Heavy", Heavy)
    loss = {"type": "Heavy"}
    listed = {"type": "affinity", "student": "b", "loss": loss}
    opt = with_losses(options, listed, {"type": "logits", "loss": loss})
    BUILT.clear()
    before = torch.get_rng_state()
    assert option_problems(opt) == []
    assert BUILT
    assert torch.equal(torch.get_rng_state(), before)


def test_a_term_that_cannot_be_asked_counts_as_one_that_may_need_anything(options: dict[str, Any]) -> None:
    from dckd_basicsr.config.rules import is_used
    from dckd_basicsr.config.rules.terms import needs_by_place

    assert needs_by_place(options) == {
        "train.losses[0]": {FeatureMap("student", "body.0"), FeatureMap("teacher", "body.0")}
    }
    unknown = with_losses(options, {"type": "affinity"}) | {"network_vqgan": {"type": "VQGAN"}}
    assert needs_by_place(unknown) == {"train.losses[0]": None}
    assert is_used(unknown, "vqgan", is_train=True)
    assert is_used(unknown, "teacher", is_train=True)
    assert not is_used(unknown, "teacher", is_train=False)
    taught = with_losses(options, {"type": "logits", "taught_by": "teacher"}, {"type": "distribution", "weight": 0})
    assert needs_by_place(taught) == {"train.losses[0]": {TeacherOutput("teacher")}}
    short = {**options, "train": {"logits_opt": {"type": "L1Loss", "gate": "teacher_better"}}}
    assert needs_by_place(short) == {"train.logits_opt": {Need.TEACHER, Need.GT}}
