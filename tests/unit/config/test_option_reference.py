"""Every key has a meaning in the schema and in the reference, and docstrings are read as they are written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from jsonschema import Draft7Validator

from dckd_basicsr.config import load_options, load_yaml, option_problems
from dckd_basicsr.config.blocks import BLOCKS, Block, fields_of
from dckd_basicsr.config.blocks.base import walk
from dckd_basicsr.config.blocks.docstrings import arguments_of, prose_of, summary_of
from dckd_basicsr.config.editor import json_schema
from dckd_basicsr.config.reference import option_keys, reference, write_reference
from dckd_basicsr.distill.settings import HistorySettings
from tests import ROOT

DOCUMENT = ROOT / "docs" / "reference" / "options.md"
KEYS = ROOT / "tests" / "golden" / "option_keys.txt"


def blocks() -> Iterator[tuple[str, type[Block]]]:
    for name, cls in BLOCKS.items():
        yield from walk(cls, name)


def test_every_key_is_described() -> None:
    plain = [f"{place}.{key}" for place, cls in blocks() for key, f in fields_of(cls).items() if not f.description]
    assert plain == []


def test_a_new_key_is_a_deliberate_act() -> None:
    frozen = KEYS.read_text(encoding="utf-8").splitlines()
    assert option_keys() == frozen, (
        "option keys came or went. Files that people have must go on meaning the same; if this is meant, write the "
        f"list in {KEYS.name} anew by hand, name the keys in CHANGELOG.md, and run "
        "`python -m dckd_basicsr.config.reference docs/reference/options.md`"
    )


def test_the_document_has_the_reference(tmp_path: Path) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text.endswith(reference()), (
        "write it anew: python -m dckd_basicsr.config.reference docs/reference/options.md"
    )
    copy = tmp_path / "options.md"
    copy.write_text(text.replace("| `ema_decay` |", "| `ema_dekay` |"), encoding="utf-8")
    write_reference(copy)
    assert copy.read_text(encoding="utf-8") == text


def test_keys_are_listed_by_their_places() -> None:
    keys = option_keys()
    wanted = {"scale", "_base_", "path.param_key_g", "datasets.NAME.gt_size", "train.history.decay", "val.tile.size"}
    assert wanted | {"train.negatives.degradation.noise.sigma", "train.losses[].weight"} <= set(keys)
    assert len(set(keys)) == len(keys)
    assert not [key for key in keys if key.endswith((".phase", "world_size"))]  # set by the run


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
