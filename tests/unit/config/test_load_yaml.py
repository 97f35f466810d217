"""Option files are read safely, with numbers as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dckd_basicsr.config import load_yaml
from dckd_basicsr.config.load import parse_yaml
from dckd_basicsr.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "options.yml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1.e-4", 1e-4),
        ("1.0e-4", 1e-4),
        ("2.5e5", 2.5e5),
        ("-3E+2", -300.0),
        (".5e1", 5.0),
        ("!!float 1e-4", 1e-4),
        ("!!float 1", 1.0),
    ],
)
def test_floats(text: str, value: float) -> None:
    found = parse_yaml(text, "test")
    assert isinstance(found, float)
    assert found == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("12", 12), ("0x1e4", 0x1E4), ("e-4", "e-4"), ("1e", "1e"), ("x4", "x4"), ("builtin:x", "builtin:x")],
)
def test_other_scalars_stay_what_they_were(text: str, value: object) -> None:
    found = parse_yaml(text, "test")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["{}e", "{}x", "-{}.{}x", ".{}x", "{}.{}e", "{}e-"])
def test_a_long_row_of_digits_is_read_once(text: str) -> None:
    """With a pattern that could split it in two anywhere, each of these would take hours."""
    text = text.replace("{}", "1_" * 300_000 + "1")
    assert parse_yaml(f"[{text}]", "test") == [text]


@pytest.mark.parametrize("text", ["0x" + "f" * 5000, "1" * 400, "0b" + "1" * 3000])
def test_integers_that_cannot_be_reckoned_with(text: str) -> None:
    with pytest.raises(ConfigError, match="line 1, column 1: an integer of more than 1000 bits"):
        parse_yaml(text, "test")


def test_plain_dicts_in_file_order(tmp_path: Path) -> None:
    options = load_yaml(write(tmp_path, "z: 1\na: {y: 1, b: 2}\nm: [1e-4]\n"))
    assert options == {"z": 1, "a": {"y": 1, "b": 2}, "m": [1e-4]}
    assert [list(options), list(options["a"]), type(options["a"])] == [["z", "a", "m"], ["y", "b"], dict]


def test_merge_keys_may_be_overridden(tmp_path: Path) -> None:
    text = "a: &a {x: 1, y: 2}\nd: {e: {f: &b {<<: *a, x: 3}}}\nc: {<<: *b, y: 4}\n"
    options = load_yaml(write(tmp_path, text))
    assert options["d"]["e"]["f"] == {"x": 3, "y": 2}
    assert options["c"] == {"x": 3, "y": 4}


def test_the_first_of_several_merged_mappings_wins(tmp_path: Path) -> None:
    """With keys longer than a letter, which PyYAML 6.0.4 takes for different ones."""
    text = "a: &a {width: 1, depth: 2}\nb: &b {width: 3, heads: 4}\nc: {heads: 5, <<: [*a, *b]}\n"
    assert load_yaml(write(tmp_path, text))["c"] == {"width": 1, "depth": 2, "heads": 5}


def test_only_mappings_can_be_merged(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="line 1, column 10: '<<' takes a mapping or a list of mappings"):
        load_yaml(write(tmp_path, "c: {<<: [1, {a: 2}]}\n"))


def test_duplicate_key_names_both_lines(tmp_path: Path) -> None:
    path = write(tmp_path, "name: a\ntrain:\n  lr: 1\n  ema_decay: 0\n  lr: 2\n")
    with pytest.raises(ConfigError, match=r"options\.yml', line 5, column 3: key 'lr' is given twice, first in line 3"):
        load_yaml(path)


def test_syntax_error_names_file_line_and_column(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"options\.yml', line 2, column 2: .*check indentation"):
        load_yaml(write(tmp_path, "a: [1, 2\nb: 3\n"))


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system ['true']",
        "a: !!python/name:os.system",
        "a: !something x",
        "a: !!float x",
        "a: !!timestamp x",
        "a: !!bool x",
        "a: 2024-13-45",
        "a: 0b_",
        "? [1, {b: 1}]\n: 2",
        "a: 1\n---\nb: 2",
        "a: \x00",
        "a: *unknown",
        "[" * 3000,
    ],
)
def test_whatever_cannot_be_read_is_a_config_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"options\.yml"):
        load_yaml(write(tmp_path, text))


@pytest.mark.parametrize(("text", "kind"), [("", "empty"), ("- 1", "a list"), ("text", "a str")])
def test_top_must_be_a_mapping(tmp_path: Path, text: str, kind: str) -> None:
    with pytest.raises(ConfigError, match=f"is {kind}; 'key: value' lines"):
        load_yaml(write(tmp_path, text))


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_yaml(tmp_path / "missing.yml")
    (tmp_path / "latin.yml").write_bytes(b"name: \xe9\xff")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_yaml(tmp_path / "latin.yml")
