"""Every method in ``options/methods/`` makes a right option file of every main file, alone and with any other."""

from __future__ import annotations

from functools import cache
from itertools import combinations
from typing import Any

import pytest
from jsonschema import Draft7Validator

from dckd_basicsr.config import load_options, load_yaml, option_notes, option_problems, packaged_options
from dckd_basicsr.config.editor import json_schema
from dckd_basicsr.config.resolve import resolve_options
from dckd_basicsr.distill.terms import TERM_KEYS
from dckd_basicsr.errors import ConfigError
from dckd_basicsr.methods import description_of, packaged_methods

METHODS = packaged_methods()
MAIN = [name for name in packaged_options() if name.startswith("dckd_") or name == "demo_x4_edsr.yml"]


@cache
def plain(name: str) -> dict[str, Any]:
    return load_options(packaged_options()[name])[0]


def made(name: str, *methods: str) -> dict[str, Any]:
    return resolve_options(packaged_options()[name], (), methods)[0]


def test_the_set_is_complete() -> None:
    assert {"scratch", "logits", "dckd", "dckd_consistency", "dckd_fading"} <= METHODS.keys()
    assert len(MAIN) == 14


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", MAIN)
def test_a_main_file_with_a_method_is_right(name: str, method: str) -> None:
    opt = made(name, method)
    assert option_problems(opt) == []
    assert option_notes(opt) == []
    assert opt["name"] == f"{plain(name)['name']}_{method}"
    # the loss against the ground truth is the file's own
    pixel, own = (dict(each["train"]["pixel_opt"] or {"loss_weight": 0}) for each in (opt, plain(name)))
    assert pixel | {"loss_weight": 0} == own | {"loss_weight": 0} or pixel == {"loss_weight": 0}
    # what a method says nothing of stays
    told = load_yaml(METHODS[method])
    for now, before, changed in (
        (opt, plain(name), {*told, "name"}),
        (opt["train"], plain(name)["train"], told["train"]),
    ):
        assert {k: v for k, v in now.items() if k not in changed} == {
            k: v for k, v in before.items() if k not in changed
        }


@pytest.mark.parametrize("pair", list(combinations(METHODS, 2)), ids="+".join)
def test_two_methods_make_a_right_file_or_one_error(pair: tuple[str, str]) -> None:
    name = "dckd_x4_edsr.yml"
    try:
        one = made(name, *pair)
    except ConfigError as error:
        message = str(error)
        assert message.startswith(f"--with {' '.join(sorted(pair))}: ")
        assert all(f" in {method}" in line for line in message.splitlines()[1:] for method in pair)
        with pytest.raises(ConfigError) as again:
            made(name, *reversed(pair))
        assert str(again.value) == message
        return
    assert one == made(name, *reversed(pair))
    assert option_problems(one) == []


@pytest.mark.parametrize("method", METHODS)
def test_its_first_line_says_what_it_is_and_an_editor_takes_it(method: str) -> None:
    assert len(description_of(METHODS[method])) > 20
    assert METHODS[method].read_text(encoding="utf-8").startswith(f"# {method}: ")
    assert list(Draft7Validator(json_schema()).iter_errors(load_yaml(METHODS[method]))) == []


def on(opt: dict[str, Any]) -> set[str]:
    return {key for key in TERM_KEYS if opt["train"].get(key)}


def test_what_the_usual_methods_are() -> None:
    name = "dckd_x4_rcan.yml"
    pair, four = {"pixel_opt", "logits_opt"}, {"pixel_opt", "logits_opt", "contrastive_opt", "distribution_opt"}
    assert on(made(name, "scratch")) == {"pixel_opt"}
    assert on(made(name, "logits")) == pair
    assert made(name, "dckd")["train"] == {**plain(name)["train"], "consistency_opt": None, "losses": None}
    starred = made(name, "dckd_consistency")["train"]
    assert on({"train": starred}) == {*four, "consistency_opt"}
    assert starred["consistency_opt"] == {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"}
    fading = made(name, "dckd_fading")["train"]
    weight = fading["contrastive_opt"].pop("loss_weight")
    assert weight == {"type": "cosine", "from": 0.1, "to": 0.0, "until": 0.8}
    assert fading["contrastive_opt"].items() <= plain(name)["train"]["contrastive_opt"].items()
    assert on({"train": fading}) == four
    demo = made("demo_x4_edsr.yml", "dckd")["train"]
    assert demo["contrastive_opt"]["loss_weight"] == 0.1, "the paper's, not the demo's"


def test_methods_add_up() -> None:
    assert made("dckd_x4_edsr.yml", "scratch", "dckd")["train"] == made("dckd_x4_edsr.yml", "dckd")["train"]
    both = made("dckd_x4_edsr.yml", "dckd", "dckd_consistency")
    assert on(both) == set(TERM_KEYS)
    with pytest.raises(ConfigError, match=r"train\.contrastive_opt\.loss_weight is 0\.1 in dckd and .* in dckd_fading"):
        made("dckd_x4_edsr.yml", "dckd_fading", "dckd")
