"""Whatever stands in an option file or an override: plain data, readable problems, or a ConfigError; nothing else."""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dckd_basicsr.config import apply_overrides, check_options, load_yaml, option_problems
from dckd_basicsr.config.load import parse_yaml
from dckd_basicsr.errors import ConfigError
from tests.tiny import job_options, write_job

thorough = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xD7FF, exclude_categories=["Cc", "Cs"]), max_size=12)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXT | st.sampled_from([0, 1, -1, 0.5])
)
VALUES = st.recursive(
    SCALARS | st.dates(),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(TEXT | SCALARS, v, max_size=3),
    max_leaves=6,
)
# Keys that the checks look at, so that values reach them.
KNOWN = st.sampled_from(
    re.findall(
        r"\w+",
        "name model_type scale datasets train val path network_g network_teacher network_vqgan logger num_gpu type "
        "metrics progressive optim_g scheduler pixel_opt history io_backend ddconfig gt_size restarts tile",
    )
)
NAMES = st.sampled_from(
    re.findall(
        r"\w+",
        "DCKDModel RestorationModel SRModel EDSR VQGAN SwinIR Restormer PretrainedNet PairedPatchDataset Adam L1Loss "
        "MultiStepLR CosineAnnealingRestartLR",
    )
)
ODD = st.sampled_from(["", "~", "/", "builtin:", "a\0b", "{}{}", "{a}", ".lmdb"])
OPTIONS = st.dictionaries(
    KNOWN,
    st.recursive(SCALARS | NAMES, lambda v: st.lists(v, max_size=3) | st.dictionaries(KNOWN, v, max_size=4)),
    max_size=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in nested dicts and lists."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(inner, (*path, key))


JOB = job_options()
PLACES = list(places(JOB))


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """The options of a run that works, with up to three keys deleted, renamed or given another value."""
    options = copy.deepcopy(JOB)
    for path in draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=3, unique=True)):
        *outer, last = path
        block: Any = options
        try:
            for key in outer:
                block = block[key]
            kind = draw(st.sampled_from(["delete", "rename", "retype", "list", "block"]))
            value = block[last]
        except (KeyError, IndexError, TypeError):  # an earlier change took the place away
            continue
        if not isinstance(block, dict | list):
            continue
        if kind in ("delete", "rename"):
            del block[last]
        if kind == "rename" and isinstance(block, dict):
            block[draw(TEXT | SCALARS)] = value
        elif kind in ("retype", "list", "block"):
            block[last] = {"retype": draw(VALUES | NAMES | ODD), "list": [value], "block": {"type": value}}[kind]
    return options


def assert_readable(problems: list[str]) -> None:
    for problem in problems:
        assert isinstance(problem, str)
        assert problem.strip()
        assert len(problem) < 2000
        assert "Traceback" not in problem
        assert "object at 0x" not in problem


@thorough
@given(OPTIONS | st.dictionaries(TEXT | SCALARS, VALUES, max_size=4), st.booleans())
def test_any_options_give_readable_problems(options: dict[Any, Any], is_train: bool) -> None:
    assert_readable(option_problems(options, is_train))


@thorough
@given(mutated(), st.booleans())
def test_changed_options_pass_or_give_readable_problems(options: dict[str, Any], is_train: bool) -> None:
    before = copy.deepcopy(options)
    assert_readable(option_problems(options, is_train))
    assert repr(options) == repr(before)  # checking changes nothing (nan differs from itself, so not ==)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_job(tmp_path_factory.mktemp("job")).parent


@pytest.mark.parametrize("path", ["x" * 300, "~nobody-of-that-name/weights.pth"])
def test_paths_that_cannot_be(path: str) -> None:
    options = job_options()
    options["path"]["pretrain_network_teacher"] = path
    with pytest.raises(ConfigError, match=r"path\.pretrain_network_teacher"):
        check_options(options)


@settings(thorough, max_examples=60)
@given(mutated().filter(lambda options: "'~" not in repr(options)))
def test_files_of_changed_options_are_checked(job: Path, options: dict[str, Any]) -> None:
    back = Path.cwd()
    os.chdir(job)
    try:
        check_options(options)
    except ConfigError as error:
        numbered = str(error).splitlines()
        assert_readable(numbered)
    finally:
        os.chdir(back)


@thorough
@given(st.dictionaries(TEXT | st.integers() | st.booleans(), VALUES, max_size=5))
def test_loading_gives_what_was_written_and_the_same_again(tmp_path_factory: Any, options: dict[Any, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "written.yml"
    # Quoted: the stock dumper leaves text such as 0E0 bare, which is a number here.
    text = yaml.safe_dump(options, allow_unicode=True, sort_keys=False, default_style='"')
    path.write_text(text, encoding="utf-8")
    first = load_yaml(path)
    assert repr(first) == repr(load_yaml(path)) == repr(options)


@thorough
@given(
    st.text(st.characters(exclude_categories=["Cs"]))
    | st.text("abc: -[]{},&*!|>'\"%@`#?\n\t0123456789.e<", max_size=60)
)
def test_any_text_is_data_or_a_config_error(text: str) -> None:
    try:
        first = parse_yaml(text, "text")
    except ConfigError as error:
        assert str(error).startswith("text")  # noqa: PT017 (both outcomes are right)
        return
    assert repr(first) == repr(parse_yaml(text, "text"))


@thorough
@given(st.lists(st.text(max_size=20) | st.builds(lambda k, v: f"{k}={v}", TEXT, TEXT), max_size=3))
def test_any_override_is_set_or_a_config_error(entries: list[str]) -> None:
    options = copy.deepcopy(JOB)
    try:
        apply_overrides(options, entries)
    except ConfigError as error:
        assert str(error).startswith("overrides: ")  # noqa: PT017 (both outcomes are right)
    assert_readable(option_problems(options))


@thorough
@given(st.permutations([path for path in PLACES if all(isinstance(key, str) for key in path)]))
def test_a_whole_file_typed_as_overrides_is_the_file(paths: list[tuple[str, ...]]) -> None:
    typed = []
    for path in paths:
        value: Any = JOB
        for key in path:
            value = value[key]
        if not isinstance(value, dict):
            typed.append(f"{':'.join(path)}={json.dumps(value)}")
    assert apply_overrides({}, typed) == JOB
