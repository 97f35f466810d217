"""Overrides set values and never run anything."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dckd_basicsr.config import apply_overrides
from dckd_basicsr.errors import ConfigError

KEYS = st.text("abcdefghijklmnopqrstuvwxyz_0123456789", min_size=1, max_size=8)
TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xD7FF, exclude_categories=["Cc", "Cs"]), max_size=20)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(KEYS, v, max_size=3), max_leaves=8)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("train:ema_decay=0.999", {"train": {"ema_decay": 0.999}}),
        ("path:a=builtin:x", {"path": {"a": "builtin:x"}}),
        ("val:metrics:psnr:crop_border=4", {"val": {"metrics": {"psnr": {"crop_border": 4}}}}),
        ("datasets:train:gt_size=96", {"datasets": {"train": {"gt_size": 96}}}),
        ("a:b={c: [1, 2]}", {"a": {"b": {"c": [1, 2]}}}),
        ("a=~", {"a": None}),
        ("a=null", {"a": None}),
        ("a=1e-4", {"a": 1e-4}),
        ("a=true", {"a": True}),
        ("a=x=y:z", {"a": "x=y:z"}),
        ("a=~/data", {"a": "~/data"}),
        ("a='{}x4'", {"a": "{}x4"}),
        ('a=""', {"a": ""}),
        (" a : b = 1 ", {"a": {"b": 1}}),
    ],
)
def test_values(entry: str, expected: dict[str, Any]) -> None:
    assert apply_overrides({}, [entry]) == expected


def test_keeps_the_rest_and_the_order() -> None:
    opt = {"train": {"lr": 1, "ema": 2}, "path": None}
    assert apply_overrides(opt, ["train:lr=3", "path:a=4", "train:lr=5"]) is opt
    assert opt == {"train": {"lr": 5, "ema": 2}, "path": {"a": 4}}


def test_does_not_go_through_a_value() -> None:
    with pytest.raises(ConfigError, match="train:lr is 1, which holds no keys, so 'x' cannot be set in it"):
        apply_overrides({"train": {"lr": 1}}, ["train:lr:x=1"])


@pytest.mark.parametrize("entry", ["a", "", "=1", ":=1", "a:=1", "a::b=1"])
def test_no_key(entry: str) -> None:
    with pytest.raises(ConfigError, match="must look like key=value"):
        apply_overrides({}, [entry])


@pytest.mark.parametrize("entry", ["a=", "a= ", "a=#5"])
def test_no_value(entry: str) -> None:
    with pytest.raises(ConfigError, match="has no value; write a=~ for null"):
        apply_overrides({}, [entry])


def test_a_home_folder_where_the_shell_was_given_null(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    with pytest.raises(ConfigError, match="the shell made ~ your home folder; write val=null"):
        apply_overrides({}, ["val=/home/somebody"])
    assert apply_overrides({}, ["path:a=/home/somebody", "b=/home/somebody/c"])["path"] == {"a": "/home/somebody"}


def test_all_problems_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        apply_overrides({}, ["a", "b=1", "c=[1", "d={}x4"])
    assert str(error.value).startswith("overrides: 3 problems\n  1. override 'a' must")
    assert "override 'c=[1', line 1" in str(error.value)


@given(st.lists(KEYS, min_size=1, max_size=4), VALUES)
def test_round_trip(keys: list[str], value: Any) -> None:
    opt = apply_overrides({}, [f"{':'.join(keys)}={json.dumps(value, ensure_ascii=False)}"])
    for key in keys:
        assert list(opt) == [key]
        opt = opt[key]
    assert opt == value


class _Ran(Exception):
    """Something was executed, opened or imported."""


_FORBIDDEN = {"exec", "compile", "import", "open", "os.system", "subprocess.Popen"}
_watched_thread: int | None = None


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event in _FORBIDDEN and threading.get_ident() == _watched_thread:
        raise _Ran(event, args)


HOSTILE = st.sampled_from(
    [
        "__import__('os').system('x')",
        "[__import__('os').system('x')]",
        "!!python/object/apply:os.system ['x']",
        "!!python/object/new:type {args: [z, !!python/tuple [], {}]}",
        "!!python/module:this",
        "exec('x')",
        '"]=1; x["',
    ]
)


@given(st.lists(TEXT | HOSTILE | st.builds(lambda k, v: f"{k}={v}", KEYS | TEXT, TEXT | HOSTILE), max_size=3))
def test_nothing_is_ever_executed(entries: list[str]) -> None:
    """Whatever is typed becomes plain data or a ConfigError; an audit hook would see code run."""
    global _watched_thread
    if not hasattr(sys, "_dckd_audited"):
        sys.addaudithook(_audit)  # hooks cannot be removed, so there is one, and a switch
        sys._dckd_audited = True  # type: ignore[attr-defined]
    opt: dict[str, Any] = {}
    _watched_thread = threading.get_ident()
    try:
        apply_overrides(opt, entries)
    except ConfigError:
        pass
    finally:
        _watched_thread = None
    assert _is_plain(opt)


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_plain(v) for pair in value.items() for v in pair)
    if isinstance(value, list | set | tuple):
        return all(_is_plain(v) for v in value)
    return type(value).__module__ in ("builtins", "datetime") and not callable(value)
