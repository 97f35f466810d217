"""Models that derive from ours are ours, whatever they are called: accumulation, processes, the check of options."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from basicsr.utils.registry import MODEL_REGISTRY
from jsonschema import Draft7Validator

from dckd_basicsr.config import parse
from dckd_basicsr.config.check import option_problems
from dckd_basicsr.config.editor import json_schema
from dckd_basicsr.config.rules import device_problems
from dckd_basicsr.data.loaders import accumulation, patch_stages
from dckd_basicsr.kinds import distils, is_own, own_models, trained_labels
from dckd_basicsr.models import DCKDModel, RestorationModel
from tests.models import BATCH
from tests.tiny import job_options

DERIVED = "WarmModel"
UNDER_OTHER_NAMES = ("DCKDModel_dckd", DERIVED)


class WarmModel(DCKDModel):
    extra_keys = {"train": {"warm_teacher": float}, "top": {"notes": str | None}}  # noqa: RUF012


class WarmerModel(WarmModel):
    extra_keys = {"train": {"cool_teacher": float}}  # noqa: RUF012


class PlainModel(RestorationModel):
    labels = ("g", "d")


class SomebodysModel:
    pass


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    """As another plugin leaves it that holds the name DCKDModel, beside models that derive from ours."""
    known = dict(MODEL_REGISTRY._obj_map)
    known |= {
        DERIVED: WarmModel,
        "WarmerModel": WarmerModel,
        "PlainModel": PlainModel,
        "DCKDModel_dckd": DCKDModel,
        "SomebodysModel": SomebodysModel,
    }
    monkeypatch.setattr(MODEL_REGISTRY, "_obj_map", known)


def options(model: str, **top: Any) -> dict[str, Any]:
    return {**copy.deepcopy(job_options({"accumulate": 2})), "model_type": model, **top}


def test_kinds():
    assert [is_own(name) for name in (*UNDER_OTHER_NAMES, "PlainModel", "SRModel", "SomebodysModel", None, ["x"])] == [
        True, True, True, False, False, False, False,
    ]  # fmt: skip
    assert [distils(name) for name in (*UNDER_OTHER_NAMES, "PlainModel", "SRModel")] == [True, True, False, False]
    assert own_models(distilling=False) == ["PlainModel", "RestorationModel", "VQGANModel"]
    MODEL_REGISTRY._obj_map["DCKDModel"] = SomebodysModel
    assert not is_own("DCKDModel")
    assert is_own("DCKDModel_dckd")


@pytest.mark.parametrize("model", UNDER_OTHER_NAMES)
def test_they_accumulate_and_run_one_process_for_each_gpu(model, monkeypatch, capsys):
    opt = options(model, world_size=1, dist=False)
    assert accumulation(opt) == 2
    assert patch_stages(opt)[0].batch == 4
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert parse._num_gpu(opt | {"num_gpu": "auto"}) == 1  # several without a launcher would be DataParallel
    (found,) = device_problems(opt | {"num_gpu": 2})
    assert f"{model} runs one process per GPU" in found


@pytest.mark.parametrize("model", UNDER_OTHER_NAMES)
def test_their_options_are_checked_to_the_last_key(model):
    assert option_problems(options(model)) == []
    opt = options(model)
    opt["train"]["ema_deca"] = 0.9
    assert option_problems(opt) == ["unknown key 'ema_deca' in train; did you mean 'ema_decay'?"]


def test_a_model_without_a_teacher_is_told_so_under_its_own_name():
    found = option_problems(options("PlainModel"))
    assert any("model_type PlainModel has no teacher, which train.logits_opt" in line for line in found)
    assert any("'network_teacher' in the option file would be ignored by model_type PlainModel" in f for f in found)


def test_keys_of_its_own_are_named_in_the_class():
    opt = options(DERIVED, notes="first try")
    opt["train"]["warm_teacher"] = 0.5
    assert option_problems(opt) == []
    opt["train"]["warm_teacher"] = "much"
    assert option_problems(opt) == ["'warm_teacher' in train must be a number, got 'much'"]
    assert any(
        "unknown key 'warm_teacher' in train" in line for line in option_problems(opt | {"model_type": "DCKDModel"})
    )


def test_keys_of_its_parents_are_its_own_too():
    opt = options("WarmerModel", notes="second try")
    opt["train"] |= {"warm_teacher": 0.5, "cool_teacher": 0.5}
    assert option_problems(opt) == []
    assert option_problems(opt | {"model_type": DERIVED}) == [
        "unknown key 'cool_teacher' in train; did you mean 'warm_teacher'?"
    ]


def test_editors_know_them():
    schema = Draft7Validator(json_schema())
    opt = options(DERIVED, notes="first try")
    opt["train"]["warm_teacher"] = 0.5
    assert schema.is_valid(opt)
    assert not schema.is_valid(opt | {"nots": "x"})
    assert not schema.is_valid(options("PlainModel"))  # has a teacher


def test_such_a_model_trains_in_parts(build):
    model = build(f"model_type={DERIVED}", "train:accumulate=2", "train:warm_teacher=1")
    assert (type(model), model.accumulate) == (WarmModel, 2)
    model.feed_data(BATCH)
    model.optimize_parameters(1)


def test_networks_that_go_on_from_a_checkpoint_are_those_that_the_class_trains():
    assert trained_labels(DERIVED) == ("g",)
    assert trained_labels("PlainModel") == ("g", "d")
    assert trained_labels("SomebodysModel") == ()
