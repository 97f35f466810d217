"""``train.losses`` as a block of terms by name: what it means, how it merges, what is said of mistakes."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from jsonschema import Draft7Validator

from dckd_basicsr.config import apply_overrides, load_options, option_problems
from dckd_basicsr.config.editor import json_schema
from dckd_basicsr.config.inherit import merged
from dckd_basicsr.config.rules.terms import needs_by_place
from dckd_basicsr.distill import Need, build_terms
from dckd_basicsr.distill.terms.build import named_terms
from dckd_basicsr.errors import ConfigError
from tests import tiny

L1 = {"type": "L1Loss"}


def losses(options: dict[str, Any]) -> Any:
    return options["train"]["losses"]


def built(block: Any) -> list[tuple[str, str, float]]:
    """The terms of ``losses``: class, name in the log, weight at the start."""
    terms = build_terms({"losses": block})
    return [(type(each.term).__name__, each.name, each.weight.at(0.0)) for each in terms]


def options_with(block: Any) -> dict[str, Any]:
    """The tiny job with no other term."""
    opt = deepcopy(tiny.job_options())
    for key in ("logits_opt", "contrastive_opt", "distribution_opt", "consistency_opt", "pixel_opt"):
        del opt["train"][key]
    opt["train"]["losses"] = block
    return opt


def test_the_key_is_the_type_and_the_name_in_the_log() -> None:
    block = {
        "pixel": {"loss": L1},
        "more": {"type": "pixel", "weight": 0.5},
        "logits": {"name": "l_teacher", "weight": {"type": "linear", "from": 1.0}},
        "contrast": None,
    }
    assert built(block) == [
        ("PixelTerm", "l_pixel", 1.0),
        ("PixelTerm", "l_more", 0.5),
        ("LogitsTerm", "l_teacher", 1.0),
    ]
    assert built({"pixel": {"loss": L1}, "logits": {"weight": 0}}) == [("PixelTerm", "l_pixel", 1.0)]


def test_mistakes_of_a_block_in_a_bare_loop_name_its_key() -> None:
    for block, message in (
        ({"logit": {}}, "unknown term 'logit' in train.losses.logit; did you mean 'logits'?"),
        ({"pixel": {"reduction": "sum"}}, r"train\.losses\.pixel \(pixel\): "),
        ({"a.b": {"type": "pixel"}}, r"train\.losses\.a\.b: name must be a plain word"),
        ({"a": {"type": "pixel", "name": "l_b"}, "b": {"type": "pixel"}}, r"losses\.a and train\.losses\.b are both"),
        ({"pixel": None}, "no loss term is switched on"),
    ):
        with pytest.raises(ConfigError, match=message):
            build_terms({"losses": block})


def test_a_list_becomes_a_block() -> None:
    listed = [
        {"type": "logits", "name": "l_mine"},
        {"type": "logits"},
        {"type": "logits", "weight": 2},
        {"type": "logits", "name": "logits_2"},
        {"name": 5, "type": ""},
        "junk",
    ]
    named = named_terms(listed)
    assert list(named) == ["mine", "logits", "logits_2", "logits_2_2", "term", "term_2"]
    assert list(named.values()) == listed


OLD_LIST = [{"type": "logits", "weight": 0.5}, {"type": "pixel", "name": "l_far", "loss": L1}]


@pytest.mark.parametrize(
    ("old", "new", "result"),
    [
        ({"a": {"type": "pixel", "weight": 1}}, {"b": {"type": "logits"}, "a": {"weight": 2}},
         {"a": {"type": "pixel", "weight": 2}, "b": {"type": "logits"}}),
        ({"a": {"type": "pixel"}}, {"a": None}, {"a": None}),
        ({"a": None}, {"a": {"type": "pixel"}}, {"a": {"type": "pixel"}}),
        ({"pixel": {"loss": L1}}, {"pixel": {"weight": 2}}, {"pixel": {"loss": L1, "weight": 2}}),
        # the type is the key where none is given, so that another one replaces the block
        ({"pixel": {"loss": L1}}, {"pixel": {"type": "pixel", "weight": 2}},
         {"pixel": {"loss": L1, "type": "pixel", "weight": 2}}),
        ({"pixel": {"loss": L1}}, {"pixel": {"type": "logits"}}, {"pixel": {"type": "logits"}}),
        ({"mine": {"type": "logits", "gate": None}}, {"mine": {"weight": 2}},
         {"mine": {"type": "logits", "gate": None, "weight": 2}}),
        ({"a": {"type": "pixel"}}, {"_replace_": True, "b": {"type": "logits"}}, {"b": {"type": "logits"}}),
        (OLD_LIST, {"far": {"weight": 3}, "logits": None, "contrast": {}},
         {"logits": None, "far": {**OLD_LIST[1], "weight": 3}, "contrast": {}}),
        ({"logits": {"weight": 1, "gate": None}, "a": {"type": "pixel"}}, OLD_LIST,
         {"logits": {"weight": 0.5, "gate": None, "type": "logits"}, "a": {"type": "pixel"}, "far": OLD_LIST[1]}),
        (OLD_LIST, [{"type": "pixel"}], [{"type": "pixel"}]),
        (OLD_LIST, None, None),
        (None, OLD_LIST, OLD_LIST),
    ],
)  # fmt: skip
def test_merging(old: Any, new: Any, result: Any) -> None:
    files = {"train": {"losses": old}}, {"train": {"losses": new}}
    before = deepcopy(files)
    assert merged(*files) == {"train": {"losses": result}}
    assert files == before
    elsewhere = merged({"other": {"losses": OLD_LIST}}, {"other": {"losses": {"a": 1}}})
    assert elsewhere == {"other": {"losses": {"a": 1}}}, "only train.losses is a list of terms"


def test_a_replaced_term_is_remembered_by_its_place() -> None:
    replaced: dict[str, tuple[Any, Any]] = {}
    old = {"train": {"losses": [{"type": "pixel", "name": "l_a"}], "pixel_opt": {"x": 1}}}
    merged(old, {"train": {"losses": {"a": {"type": "logits"}, "pixel_opt": {"type": "b"}}}}, replaced)
    merged({"train": {"losses": {"pixel": {}}}}, {"train": {"losses": {"pixel": {"type": "logits"}}}}, replaced)
    assert replaced == {"train.losses.a": ("pixel", "logits"), "train.losses.pixel": ("pixel", "logits")}


def test_files_add_terms_to_each_other_and_switch_them_off(tmp_path: Any) -> None:
    (tmp_path / "base.yml").write_text("train: {losses: [{type: pixel}, {type: logits, weight: 0.5}]}")
    (tmp_path / "more.yml").write_text("train: {losses: {contrast: {weight: 0.1}}}")
    (tmp_path / "mine.yml").write_text("_base_: [base.yml, more.yml]\ntrain: {losses: {pixel: ~, logits: {weight: 1}}}")
    assert losses(load_options(tmp_path / "mine.yml")[0]) == {
        "pixel": None,
        "logits": {"type": "logits", "weight": 1},
        "contrast": {"weight": 0.1},
    }


def test_overrides_know_both() -> None:
    for before in ([{"type": "logits"}, {"type": "pixel"}], {"logits": {"type": "logits"}, "pixel": {"type": "pixel"}}):
        entries = ["train:losses:logits:weight=0.1", "train:losses:pixel=~", "train:losses:contrast:weight=1"]
        opt = apply_overrides({"train": {"losses": deepcopy(before)}}, entries)
        expected = {"logits": {"type": "logits", "weight": 0.1}, "pixel": None, "contrast": {"weight": 1}}
        assert losses(opt) == expected
    assert losses(apply_overrides({"train": {"losses": OLD_LIST}}, ["train:losses=[]"])) == []
    with pytest.raises(ConfigError, match=r"which holds no keys, so '0' cannot be set"):
        apply_overrides({"val": {"losses": [1]}}, ["val:losses:0=1"])


GOOD: list[dict[str, Any]] = [
    {"pixel": {}},
    {"pixel": {"loss": L1, "weight": 2, "name": "l_any"}, "logits": None},
    {"far": {"type": "logits", "gate": "teacher_better", "weight": {"type": "cosine", "from": 1.0}}, "pixel": {}},
]
WRONG: list[tuple[Any, str]] = [
    ({"pixel": 5}, "train.losses.pixel must be a block with a 'type', got 5"),
    ({"pixl": {}}, "unknown term 'pixl' in train.losses.pixl; did you mean 'pixel'?"),
    ({"a": {"type": "pixl"}}, "unknown term 'pixl' in train.losses.a; did you mean 'pixel'?"),
    ({"pixel": {"type": None}}, "missing key 'type' in train.losses.pixel; one of"),
    ({"pixel": {"weigth": 1}}, "unknown key 'weigth' in train.losses.pixel (pixel); did you mean 'weight'?"),
    ({"pixel": {"loss": {"type": "L1Los"}}}, "unknown loss 'L1Los' in train.losses.pixel.loss; did you mean 'L1Loss'?"),
    ({"pixel": {"weight": {"type": "cosin"}}}, "unknown schedule 'cosin' in train.losses.pixel.weight"),
    ({"pixel": {}, "logits": {"gate": "no"}}, "'gate' in train.losses.logits (logits) must be one of"),
    ({"type": "pixel"}, "train.losses is one term, where a block of terms by name or a list of them was expected; "
     "write for instance losses: {pixel: {...}}"),
    (5, "'losses' in train must be a list of blocks of 'key: value' lines or a block of 'key: value' lines or null"),
]  # fmt: skip
RULES: list[tuple[Any, str]] = [
    ({"pixel": {"weight": float("inf")}}, "'weight' in train.losses.pixel must be a finite number, got .inf"),
    ({"a": {"type": "pixel", "name": "l_b"}, "b": {"type": "pixel"}},
     "train.losses.a and train.losses.b are both called 'l_b' in the log"),
    ({"a.b": {"type": "pixel"}}, "'name' in train.losses.a.b must be a plain word"),
    ({"contrast": {"loss": L1}}, "train.losses.contrast.loss compares features, which L1Loss cannot"),
    ({"logits": {"loss": {"type": "ContrastiveLoss"}}}, "train.losses.logits.loss compares images"),
    ({"logits": {"taught_by": "big"}}, "train.losses.logits asks for the teacher 'big', and none is called so"),
    ({"contrast": {"loss": {"type": "ContrastiveLoss", "weights": [1.0]}}},
     "train.losses.contrast.loss.weights has 1 entries, but the VQGAN has 3 levels"),
    ({"pixel": None}, "train has no loss term"),
    ({}, "train has no loss term"),
    ({"pixel": {"weight": 0}}, "every loss term of train has weight 0"),
]  # fmt: skip


@pytest.mark.parametrize("block", GOOD)
def test_right_blocks_pass_in_check_and_editor(block: Any) -> None:
    opt = options_with(block)
    assert option_problems(opt) == []
    assert [error.message for error in Draft7Validator(json_schema()).iter_errors(opt)] == []


@pytest.mark.parametrize(("block", "message"), [*WRONG, *RULES])
def test_what_is_wrong_is_said_at_its_place(block: Any, message: str) -> None:
    opt = options_with(block)
    opt["network_vqgan"] = {"type": "VQGAN", "ddconfig": dict(tiny.LAYOUT), "n_embed": 16, "embed_dim": 6}
    found = option_problems(opt)
    assert any(line.startswith(message) for line in found), found
    # what stands between blocks no editor knows
    assert Draft7Validator(json_schema()).is_valid(opt) == ((block, message) in RULES)


def test_parts_of_files_may_leave_the_type_to_their_base() -> None:
    schema = Draft7Validator(json_schema())
    for block, right in (
        ({"mine": {"weight": 0.1}}, True),
        ({"pixel": {"weight": 0.1, "_replace_": True}, "_replace_": True}, True),
        ({"pixel": {"weigth": 0.1}}, False),
        ({"mine": {"type": "pixl"}}, False),
        ([{"type": "pixel", "_replace_": True}], False),
    ):
        assert schema.is_valid({"_base_": "a.yml", "train": {"losses": block}}) == right, block
    assert not schema.is_valid(options_with({"mine": {"weight": 0.1}}))


def test_needs_are_asked_by_key_and_what_is_off_needs_nothing() -> None:
    block = {"pixel": {}, "logits": {"gate": "teacher_better"}, "contrast": None, "distribution": {"weight": 0}}
    found = needs_by_place(options_with(block))
    assert list(found) == ["train.losses.pixel", "train.losses.logits"]
    listed = needs_by_place(options_with([{"type": "pixel"}, {"type": "logits", "gate": "teacher_better"}]))
    assert list(found.values()) == list(listed.values())
    assert [Need.TEACHER in (asked or ()) for asked in found.values()] == [False, True]


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"augkd": {"cells": 0}}, "train.losses.augkd (augkd): cells must be at least 1, got 0"),
        ({"slides": {"type": "eco", "end_ratio": 2.0}},
         "train.losses.slides (eco): end_ratio must be a share of the run in (0, 1], got 2.0"),
        ({"psd": {"levels": 0, "weight": 0}}, None),
        ({"eco": {"mode": "hr"}}, "'mode' in train.losses.eco (eco) must be one of 'full', 'target', got 'hr'"),
    ],
)  # fmt: skip
def test_what_a_terms_constructor_refuses_is_told_before_anything_is_built(block, message):
    opt = {"model_type": "DCKDModel", "train": {"losses": block}}
    found = [each for each in option_problems(opt) if f"losses.{next(iter(block))} (" in each]
    assert found == ([] if message is None else [message])  # once
