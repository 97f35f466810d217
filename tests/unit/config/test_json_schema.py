"""The schema for editors: right files pass, mistakes do not, and it never contradicts the check."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from typing import Any

import pytest
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from torch import nn

from dckd_basicsr.config import load_options, load_yaml, option_problems, packaged_options
from dckd_basicsr.config.blocks import BLOCKS, fields_of
from dckd_basicsr.config.blocks.values import fits, type_schema
from dckd_basicsr.config.components import LOSS, METRIC, NETWORK, OPTIMIZER, SCHEDULER
from dckd_basicsr.config.editor import json_schema
from tests import tiny

FILES = packaged_options()
# Blocks whose keys are somebody else's, or names the user gives.
FREE = ("dist_params", "io_backend", "wandb", "metrics")


def job_options() -> dict[str, Any]:
    return deepcopy(tiny.job_options())  # it shares its blocks with every other caller


@cache
def validator() -> Draft7Validator:
    return Draft7Validator(json_schema())


def accepts(opt: dict[str, Any]) -> bool:
    return validator().is_valid(opt)


def places(block: dict[str, Any], *path: str) -> Iterator[tuple[str, ...]]:
    for key, value in block.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from places(value, *path, key)


def at(opt: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    for key in path:
        opt = opt[key]
    return opt


def whole(name: str) -> dict[str, Any]:
    """The options of a shipped file with what it inherits."""
    return load_options(FILES[name])[0]


def test_it_is_a_schema() -> None:
    Draft7Validator.check_schema(validator().schema)


@pytest.mark.parametrize("name", FILES)
def test_shipped_files_are_valid(name: str) -> None:
    assert list(validator().iter_errors(load_yaml(FILES[name]))) == []  # as an editor sees it, without its base
    assert list(validator().iter_errors(whole(name))) == []


@pytest.mark.parametrize("name", FILES)
def test_a_misspelt_key_is_not(name: str) -> None:
    opt = whole(name)
    checked = 0
    for *path, key in places(opt):
        if (path and path[-1] in FREE) or (path == ["datasets"] and key != "train"):
            continue
        changed = deepcopy(opt)
        block = at(changed, tuple(path))
        block[f"{key}x"] = block.pop(key)
        assert not accepts(changed), (path, key)
        checked += 1
    assert checked > 20


@pytest.mark.parametrize("name", FILES)
def test_so_is_a_dataset_of_another_name_and_a_metric_of_another_type(name: str) -> None:
    opt = whole(name)
    (first, *_) = opt["datasets"]
    assert not accepts(opt | {"datasets": {**opt["datasets"], f"my_{first}": opt["datasets"][first]}})
    opt["val"]["metrics"]["mine"] = {"type": "calculate_pnsr", "crop_border": 4}
    assert not accepts(opt)


@pytest.mark.parametrize("junk", [None, 5, -1, 0.5, "text", "", [], [1], {}, {"a": None}, True], ids=repr)
def test_what_the_check_accepts_it_accepts(junk: Any) -> None:
    files = [job_options(), *(whole(n) for n in ("dckd_x4_swinir.yml", "teacher_derain_restormer.yml"))]
    accepted = 0
    for opt in files:
        for *path, key in places(opt):
            changed = deepcopy(opt)
            at(changed, tuple(path))[key] = junk
            if not option_problems(changed):
                assert accepts(changed), (path, key, [e.message for e in validator().iter_errors(changed)])
                accepted += 1
    assert accepted >= 3


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("model_type",), "DCKDModle"),
        (("network_g", "type"), "EDSRR"),
        (("network_g", "num_feat"), "many"),
        (("network_g",), {"type": "EDSR", "num_in_ch": 3}),
        (("network_teacher", "depths"), [1]),
        (("network_vqgan", "ddconfig"), {"chh": 3}),
        (("scale",), 0),
        (("num_gpu",), "all"),
        (("train", "pixel_opt"), {"type": "L1Los"}),
        (("train", "optim_g"), {"type": "Adam"}),
        (("train", "scheduler", "gama"), 1),
        (("train", "history"), {"source": "me"}),
        (("train", "negatives"), {"degradation": {"noise": {"sigma": [1]}}}),
        (("val", "metrics", "psnr", "crop_border"), -4),
        (("val", "tile"), {"size": "big"}),
        (("val", "self_ensemble"), "x8"),
        (("val", "batch"), 0),
        (("val", "val_freq"), 0),
        (("datasets", "train", "prefetch_mode"), "gpu"),
        (("datasets", "train", "type"), "PairedImagesDataset"),
        (("datasets", "val"), {"name": "a", "type": "PairedImageDataset"}),
        (("logger",), {"print_freq": 1}),
        (("_base_",), 5),
        (("_replace_",), True),
    ],
)
def test_mistakes(path: tuple[str, ...], value: Any) -> None:
    opt = job_options()
    assert accepts(opt)
    at(opt, path[:-1])[path[-1]] = value
    assert not accepts(opt)


def test_only_the_lmdb_dataset_takes_lists_and_weights() -> None:
    opt = job_options()
    train = opt["datasets"]["train"]
    train |= {"type": "PairedLMDBDataset", "dataroot_gt": ["a", "b"], "dataroot_lq": ["c", "d"], "weights": [3, 1]}
    assert accepts(opt)
    for change in ({"weights": [3, 0]}, {"weights": 3}, {"color": "y"}, {"type": "PairedPatchDataset"}):
        assert not accepts({**opt, "datasets": {**opt["datasets"], "train": {**train, **change}}})
    assert accepts({"_base_": "a.yml", "datasets": {"train": {"dataroot_gt": ["a", "b"], "weights": [3, 1]}}})


def test_a_restoration_model_has_no_teacher() -> None:
    opt = load_yaml(FILES["teacher_x4_edsr.yml"])
    assert accepts(opt)
    assert not accepts(opt | {"network_teacher": opt["network_g"]})
    assert not accepts(opt | {"path": {**opt["path"], "pretrain_network_teacher": "x.pth"}})


def test_a_file_with_a_base_may_leave_anything_out_and_misspell_nothing() -> None:
    part = {
        "_base_": "dckd_x4_edsr.yml",
        "network_g": {"num_feat": 32},
        "train": {"optim_g": {"lr": 1e-3}, "history": {"_replace_": True, "decay": 0}},
        "datasets": {"train": {"gt_size": 96}},
        "val": {"metrics": {"psnr": {"crop_border": 2}}},
    }
    assert accepts(part)
    assert accepts({**part, "_base_": ["a.yml", "b.yml"]})
    for *path, key in places(part):
        if (path and path[-1] == "metrics") or key == "_base_" or path in (["network_g"], ["train", "optim_g"]):
            continue  # names, or arguments of a type that the base names
        if path == ["val", "metrics", "psnr"]:
            continue
        changed: dict[str, Any] = deepcopy(part)
        block = at(changed, tuple(path))
        block[f"{key}x"] = block.pop(key)
        assert not accepts(changed), (path, key)
    part["network_g"] = {"type": "RCAN", "num_fet": 3}
    assert not accepts(part)


def test_a_list_is_never_merged_so_its_blocks_are_whole_and_replace_nothing() -> None:
    part = {"_base_": "dckd_x4_edsr.yml", "train": {"losses": [{"type": "logits", "loss": {"type": "L1Loss"}}]}}
    assert accepts(part)
    for change in ({"_replace_": True}, {"type": None}, {"typ": "logits"}):
        assert not accepts({**part, "train": {"losses": [part["train"]["losses"][0] | change]}})
    assert not accepts({**part, "train": {"losses": [{"weight": 0.1}]}})
    teacher = {"name": "big", "type": "PretrainedNet", "path": "big.pth"}
    assert accepts({**part, "network_teachers": [teacher]})
    assert not accepts({**part, "network_teachers": [{**teacher, "_replace_": False}]})


def test_files_of_other_models_are_left_alone() -> None:
    opt = {"model_type": "SRModel", "name": "a", "network_g": {"type": "Mine", "x": 1}, "my_key": 1}
    assert accepts(opt)
    assert not accepts(opt | {"model_type": "SRModle"})


def test_what_a_user_registers_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class MyNet(nn.Module):
        """Restores what nobody else can.

        Args:
            width: channels,
                of which there are few.
        """

        def __init__(self, width: int, upscale: int = 4) -> None:
            super().__init__()

    monkeypatch.setitem(ARCH_REGISTRY._obj_map, "MyNet_basicsr", MyNet)
    found = Draft7Validator(json_schema())
    definition = found.schema["definitions"]["network.MyNet"]
    assert definition["description"] == "Restores what nobody else can."
    assert definition["properties"]["width"] == {
        "type": "integer",
        "description": "channels, of which there are few.",
    }
    assert definition["properties"]["upscale"]["default"] == 4
    assert found.is_valid(job_options() | {"network_g": {"type": "MyNet", "width": 3}})
    assert not found.is_valid(job_options() | {"network_g": {"type": "MyNet"}})


def test_descriptions_reach_the_editor() -> None:
    schema = validator().schema
    assert LOSS.find().keys() == dict(iter(LOSS_REGISTRY)).keys()
    file = schema["definitions"]["file"]["properties"]
    assert all(file[key].get("description") for key in file)
    assert "PSNR" in schema["definitions"]["metric.calculate_psnr"]["description"]


ANNOTATIONS = [
    *(field.annotation for block in BLOCKS.values() for field in fields_of(block).values()),
    *(
        annotation
        for kind in (NETWORK, LOSS, OPTIMIZER, SCHEDULER, METRIC)
        for name in kind.find()
        for annotation in kind.parameters(name).kinds.values()
    ),
    tuple[int, str],
    tuple[tuple[int, int], ...],
]
# JSON Schema takes 1.0 for an integer; the check does not.
SCALARS = st.none() | st.booleans() | st.integers() | st.sampled_from([0.5, -1.5, "", "auto", "cpu", "y", "higher"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
)


@settings(max_examples=30)
@given(VALUES)
def test_types_mean_the_same_in_both(value: Any) -> None:
    for annotation in ANNOTATIONS:
        assert Draft7Validator(type_schema(annotation)).is_valid(value) == fits(value, annotation), annotation
