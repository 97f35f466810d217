"""Every packaged option file means what it meant in 0.1, key by key, but for the changes that are named here.

``tests/golden/options_0.1.yml`` holds the files of 0.1 with everything they inherit and their defaults.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from dckd_basicsr.commands.config import resolved_yaml
from dckd_basicsr.config import load_options, load_yaml, packaged_options
from dckd_basicsr.config.load import parse_yaml
from tests.curves import FOLDER

FILES = packaged_options()
TASKS = ("x4_edsr", "deblur_nafnet", "derain_restormer")
WHOLE = {f"{use}_{task}.yml" for use in ("dckd", "test", "teacher") for task in TASKS}
WHOLE |= {"demo_x4_edsr.yml", "demo_test_x4.yml", "vqgan_f16.yml"}
"""The files that hold everything and explain it; all others say what differs from one of them."""

GONE = object()
CHANGED: dict[str, dict[str, Any]] = {
    # A run of 640 iterations loses by the paper's 0.1.
    "demo_x4_edsr.yml": {"train.contrastive_opt.loss_weight": 0.01},
    # The teacher is measured with local pooling, as published; on patches of its size it changes nothing.
    **{f"dckd_{task}_nafnet.yml": {"network_teacher.tlc": 256} for task in ("deblur", "derain")},
}
"""What was changed on purpose: by file and key the value today, GONE where the key is left out."""


@cache
def golden() -> dict[str, dict[str, Any]]:
    return load_yaml(FOLDER / "options_0.1.yml")


def resolved(name: str) -> dict[str, Any]:
    options, _ = load_options(FILES[name])
    return parse_yaml(resolved_yaml(options, is_train="test" not in name), name)


def leaves(block: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value by its place, and the order of keys where a run follows it."""
    if not isinstance(block, dict):
        yield where, block
        return
    if where in ("datasets", "val.metrics"):
        yield f"{where} in order", list(block)
    for key, value in block.items():
        yield from leaves(value, f"{where}.{key}" if where else str(key))


@pytest.mark.parametrize("name", golden())
def test_an_option_file_means_what_it_meant(name: str) -> None:
    expected = dict(leaves(golden()[name])) | CHANGED.get(name, {})
    assert dict(leaves(resolved(name))) == {key: value for key, value in expected.items() if value is not GONE}


def test_every_named_change_is_one() -> None:
    for name, changes in CHANGED.items():
        before = dict(leaves(golden()[name]))
        assert all(before.get(key, GONE) != value for key, value in changes.items())


def test_the_comparison_sees_a_value_and_the_order_of_data_sets() -> None:
    found = dict(leaves({"datasets": {"val": {"a": 1}, "val_2": {"a": 2}}}))
    assert found == {"datasets in order": ["val", "val_2"], "datasets.val.a": 1, "datasets.val_2.a": 2}


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_a_whole_file_stands_alone(name: str) -> None:
    assert "_base_" not in load_yaml(FILES[name])


@pytest.mark.parametrize("name", sorted(FILES.keys() - WHOLE))
def test_an_overlay_says_nothing_twice(name: str) -> None:
    own = load_yaml(FILES[name])
    base, _ = load_options(FILES[own.pop("_base_")])
    inherited, said = dict(leaves(base)), dict(leaves(own))
    anew = {f"{key.rpartition('.')[0]}." for key in said if key.endswith("._replace_")}  # says everything
    anew |= {key.removesuffix("type") for key in said if key.endswith(".type") and inherited.get(key) != said[key]}
    again = [key for key in said if key in inherited and said[key] == inherited[key] and not key.endswith(" in order")]
    assert [key for key in again if not key.startswith(tuple(anew))] == []
