"""Every key has a meaning in the schema and in docs/options.md, and docstrings are read as they are written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from dckd_basicsr.config import load_options, load_yaml, option_problems
from dckd_basicsr.config.docstrings import arguments_of, prose_of, summary_of
from dckd_basicsr.config.json_schema import json_schema
from dckd_basicsr.config.key_docs import BLOCKS, DESCRIPTIONS, reference, write_reference
from dckd_basicsr.config.keys import LOGGER, PAIRED, PATH, SETTINGS, TOP, TRAIN, VAL
from dckd_basicsr.distill.settings import HistorySettings

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "options.md"


@pytest.mark.parametrize("block", BLOCKS)
def test_every_key_is_described_and_nothing_else(block: str) -> None:
    assert DESCRIPTIONS[block].keys() == BLOCKS[block].keys()
    assert all(DESCRIPTIONS[block].values())


def test_no_table_is_forgotten() -> None:
    described = {key for keys in BLOCKS.values() for key in keys}
    assert described >= {*TOP, *PATH, *TRAIN, *VAL, *LOGGER, *PAIRED}


def test_the_document_has_the_reference(tmp_path: Path) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text.endswith(reference()), "write it anew: python -m dckd_basicsr.config.key_docs docs/options.md"
    assert all(f"### `train.{name}`" in text for name in SETTINGS)
    copy = tmp_path / "options.md"
    copy.write_text(text.replace("| `ema_decay` |", "| `ema_dekay` |"), encoding="utf-8")
    write_reference(copy)
    assert copy.read_text(encoding="utf-8") == text


def test_the_example_of_the_document_is_right(tmp_path: Path) -> None:
    (tmp_path / "my_run.yml").write_text(
        re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)[0], encoding="utf-8"
    )
    assert Draft7Validator(json_schema()).is_valid(load_yaml(tmp_path / "my_run.yml"))
    opt, _ = load_options(tmp_path / "my_run.yml")
    assert option_problems(opt) == []
    assert opt["train"]["history"] == {"decay": 0.5}
    assert opt["train"]["scheduler"] == {"type": "CosineAnnealingLR", "T_max": 50000}
    assert (opt["network_g"]["num_feat"], opt["network_g"]["num_block"]) == (64, 16)


def documented() -> None:
    """Do one thing,
    on two lines.

    And say more.

    Args:
        first: one, which
            goes on: with a colon.
        second (int | None): two.

    Returns:
        third: nothing.
    """


def test_docstrings() -> None:
    assert summary_of(documented) == "Do one thing, on two lines."
    assert prose_of(documented) == "Do one thing, on two lines. And say more."
    assert arguments_of(documented) == {"first": "one, which goes on: with a colon.", "second": "two."}
    assert list(arguments_of(HistorySettings)) == ["decay", "schedule", "source"]
    assert (summary_of(lambda: 0), arguments_of(lambda: 0), prose_of(lambda: 0)) == ("", {}, "")
