"""``network_teachers``: each is checked as the one teacher is, under its own name."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from basicsr.archs import build_network
from jsonschema import Draft7Validator

from dckd_basicsr.config import apply_overrides, load_options, option_problems, parse_options
from dckd_basicsr.config.editor import json_schema
from dckd_basicsr.config.weights import weight_problems
from tests import tiny


@pytest.fixture
def options() -> dict[str, Any]:
    """A run with two teachers, of which `far` is asked for by name."""
    opt = deepcopy(tiny.job_options())
    teacher = opt.pop("network_teacher")
    opt["network_teachers"] = [{"name": "near", **teacher}, {"name": "far", **teacher, "num_feat": 16}]
    del opt["path"]["pretrain_network_teacher"]
    opt["path"] |= {"pretrain_network_near": "teacher.pth", "pretrain_network_far": "far.pth"}
    opt["path"] |= {"param_key_far": "params", "strict_load_far": True}
    opt["train"]["losses"] = [{"type": "logits", "taught_by": "far", "name": "l_far"}]
    return opt


def teachers(opt: dict[str, Any], *changes: dict[str, Any]) -> dict[str, Any]:
    blocks = [{**block, **change} for block, change in zip(opt["network_teachers"], changes, strict=True)]
    return {**opt, "network_teachers": blocks}


def test_two_teachers_pass_in_check_and_editor(options: dict[str, Any]) -> None:
    schema = Draft7Validator(json_schema())
    assert option_problems(options) == []
    assert schema.is_valid(options)
    assert not schema.is_valid(teachers(options, {"num_fet": 3}, {}))
    nameless = {**options["network_teachers"][0]}
    del nameless["name"]
    assert not schema.is_valid(options | {"network_teachers": [nameless]})
    assert not schema.is_valid(options | {"path": {"strict_load_far": "yes"}})
    part = {"_base_": "a.yml", "path": {"pretrain_network_far": "b.pth"}}
    assert schema.is_valid(part)
    assert not schema.is_valid({**part, "path": {"pretrain_network_teachr": 3}})
    assert not schema.is_valid({**options, "model_type": "RestorationModel"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": None}, "'name' in network_teachers[1] (EDSR) must be text, got null"),
        ({"name": "far away"}, "'name' in network_teachers[1] must be a plain word of letters, digits and _, got"),
        (
            {"name": "teacher"},
            "'name' in network_teachers[1] must be none of g, teacher, vqgan, student, got 'teacher'",
        ),
        ({"name": "near"}, "network_teachers[0] and network_teachers[1] are both named 'near', and weights go by name"),
        ({"name": "fra"}, "train.losses[0] asks for the teacher 'far', and none is called so; did you mean 'fra'?"),
        ({"name": "fra"}, "unknown key 'pretrain_network_far' in path; did you mean 'pretrain_network_fra'?"),
        ({"num_fet": 3}, "unknown key 'num_fet' in network_teachers[1] (EDSR); did you mean 'num_feat'?"),
        ({"upscale": 4}, "scale is 2, but network_teachers[1] (EDSR) upscales by 4; make them equal"),
        (
            {"num_out_ch": 1},
            "datasets.train has images of 3 channels, but network_teachers[1] (EDSR) has num_out_ch: 1",
        ),
    ],
)
def test_what_is_wrong_with_the_second(options: dict[str, Any], change: dict[str, Any], message: str) -> None:
    found = option_problems(teachers(options, {}, change))
    assert any(line.startswith(message) for line in found), found


def test_the_list_and_what_stands_beside_it(options: dict[str, Any]) -> None:
    (found,) = option_problems(options | {"network_teacher": dict(tiny.TEACHER)})
    assert found.startswith("network_teacher and network_teachers are both given; make the one an entry of the list")
    assert option_problems(options | {"network_teacher": None}) == []
    assert any("is an empty list" in line for line in option_problems(options | {"network_teachers": []}))
    (found,) = [line for line in option_problems(options | {"network_teachers": 5}) if "network_teachers" in line]
    assert (
        found == "'network_teachers' in the option file must be a list of blocks of 'key: value' lines or null, got 5"
    )
    del options["path"]["pretrain_network_far"]
    (found,) = option_problems(options)
    assert found.startswith(
        "missing key 'pretrain_network_far' in path: untrained, network_teachers[1] teaches nothing"
    )
    found = option_problems(options | {"model_type": "RestorationModel"})
    assert any(
        "'network_teachers' in the option file would be ignored by model_type Restorat" in line for line in found
    )


def test_each_has_weights_that_fit(options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for key in ("contrastive_opt", "distribution_opt"):
        del options["train"][key]
    torch.save({"params": build_network(tiny.TEACHER).state_dict()}, "teacher.pth")
    (found,) = weight_problems(options, True, set())
    assert found.startswith("path.pretrain_network_far: 'far.pth' does not exist")
    torch.save({"params": build_network(tiny.TEACHER).state_dict()}, "far.pth")
    (found,) = weight_problems(options, True, set())
    assert found.startswith("path.pretrain_network_far: the weights in 'far.pth' do not fit EDSR: ")
    assert "change network_teachers[1], or give the file of this network" in found
    assert list(weight_problems(options, False, set())) == []  # a test builds no teacher
    del options["train"]["losses"]
    assert list(weight_problems(options, True, set())) == []  # nothing asks for it


def test_files_with_a_list_of_teachers_resume_and_inherit(options: dict[str, Any], tmp_path: Path) -> None:
    file = tiny.write_job(tmp_path)
    (tmp_path / "two.yml").write_text(
        "_base_: job.yml\nnetwork_teacher: ~\nnetwork_teachers:\n"
        "- {name: near, type: PretrainedNet, path: 'builtin:edsr_x4_f64b16'}\n"
        "path: {pretrain_network_teacher: ~}\ntrain: {contrastive_opt: ~, distribution_opt: ~}\n"
    )
    opt, _ = load_options(tmp_path / "two.yml")
    assert opt["network_teachers"] == [{"name": "near", "type": "PretrainedNet", "path": "builtin:edsr_x4_f64b16"}]
    overrides = [f"datasets:{name}:dataroot_{k}={tmp_path / folder / root}.lmdb" for name, folder in
                 (("train", "data"), ("val", "val")) for k, root in (("gt", "GT"), ("lq", "LQ_x2"))]  # fmt: skip
    apply_overrides(opt, overrides)
    with pytest.raises(ValueError, match=r"network_teachers\[0\] \(PretrainedNet\): no architecture .* fits"):
        parse_options(tmp_path, argv=["-opt", str(tmp_path / "two.yml"), "--force_yml", *overrides])
    copied = file.read_text().replace("network_teacher:", "network_teachers:\n- name: near", 1)
    copied = copied.replace("  pretrain_network_teacher", "  pretrain_network_near")
    (tmp_path / "one.yml").write_text(copied)
    weights = [
        f"path:pretrain_network_{n}={tmp_path / f}" for n, f in (("near", "teacher.pth"), ("vqgan", "vqgan.pth"))
    ]
    found, _ = parse_options(tmp_path, argv=["-opt", str(tmp_path / "one.yml"), "--force_yml", *overrides, *weights])
    assert found["path"]["ignore_resume_networks"] == ["network_teachers", "network_vqgan"]
