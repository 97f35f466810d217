"""Whether a value fits an annotation, and in which words it should."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from dckd_basicsr.config.blocks.values import describe, fits, implied

CASES = [
    (1, float, True),
    (1.5, int, False),
    (True, float, False),
    (True, int, False),
    (1, bool, False),
    ("1", float, False),
    (None, float, False),
    (None, float | None, True),
    ("a", str, True),
    ("a", Path, True),
    (1, Path, False),
    ([1, 2], tuple[float, float], True),
    ([1], tuple[float, float], False),
    ([1, "a"], Sequence[float], False),
    ("ab", Sequence[str], False),
    ([[1, 2], [3, 4]], tuple[tuple[int, int], ...], True),
    ([[1, 2, 3]], tuple[tuple[int, int], ...], False),
    ({"a": 1}, Mapping[str, Any], True),
    ([], Mapping[str, Any], False),
    ("paper", Literal["paper", "released"], True),
    ("papr", Literal["paper", "released"], False),
    (True, Literal[1], False),
    (1e-3, float | torch.Tensor, True),
    ("a", float | torch.Tensor, False),
    ("a", float | Callable[[int], int], False),
    ("cuda", torch.device, True),
    ("x", Any, True),
    (object, "not resolved", True),
]


@pytest.mark.parametrize(("value", "annotation", "expected"), CASES)
def test_fits(value: Any, annotation: Any, expected: bool) -> None:
    assert fits(value, annotation) is expected


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (float, "a number"),
        (int, "an integer"),
        (bool, "true or false"),
        (str, "text"),
        (int | None, "an integer or null"),
        (Literal["a", "b"], "one of 'a', 'b'"),
        (Sequence[float], "a list of numbers"),
        (tuple[float, float], "a list of 2 numbers"),
        (tuple[tuple[int, int], ...], "a list of lists of 2 integers"),
        (Mapping[str, Any], "a block of 'key: value' lines"),
        (float | torch.Tensor, "a number"),
    ],
)
def test_describe(annotation: Any, words: str) -> None:
    assert describe(annotation) == words


@pytest.mark.parametrize(
    ("default", "value", "expected"),
    [
        (1, 0.1, True),  # EDSR's res_scale=1
        (1, "1", False),
        (False, 1, False),
        ("", "pixelshuffle", True),
        ((6, 6), [6, 6, 6], True),
        ((6, 6), ["a"], False),
        ((), ["a"], True),
        (None, "anything", True),
        (torch.nn.LayerNorm, "anything", True),
    ],
)
def test_implied_by_default(default: Any, value: Any, expected: bool) -> None:
    assert fits(value, implied(default)) is expected
