"""MATLAB's bicubic imresize: weights worked out by hand, and the published LR photos pixel for pixel."""

from __future__ import annotations

import math
import os
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dckd_basicsr.bicubic import bicubic_matrix, imresize_uint8
from tests import ROOT

SHARED = Path(os.environ.get("DCKD_SHARED", ROOT.parent / "shared")) / "data"


def published() -> list[tuple[str, int]]:
    return [("Set5", 2), ("Set5", 3), ("Set5", 4), ("Set14", 4)]


def test_enlarging_by_two_has_keys_weights() -> None:
    # Output 4 lies over input 1.75: distances 1.75, 0.75, 0.25, 1.25 to inputs 0, 1, 2, 3.
    row = bicubic_matrix(8, 16)[4]
    np.testing.assert_allclose(row[:4] * 128, [-3, 29, 111, -9], atol=1e-12)
    assert not row[4:].any()


def test_shrinking_by_two_has_the_widened_kernel() -> None:
    # Output 4 lies over input 8.5: distances (halved) 0.25, 0.75, 1.25, 1.75 on both sides, weights halved.
    row = bicubic_matrix(20, 10)[4]
    side = [-3, -9, 29, 111]
    np.testing.assert_allclose(row[5:13] * 256, side + side[::-1], atol=1e-12)
    assert not row[:5].any()
    assert not row[13:].any()


def test_border_is_mirrored_with_the_edge_repeated() -> None:
    # Output 0 of an enlargement by two lies over -0.25: inputs -2, -1, 0, 1 are 1, 0, 0, 1.
    np.testing.assert_allclose(bicubic_matrix(8, 16)[0, :3] * 128, [111 + 29, -9 - 3, 0], atol=1e-12)


def test_same_size_is_the_identity() -> None:
    np.testing.assert_array_equal(bicubic_matrix(5, 5), np.eye(5))


def test_explicit_scale_moves_the_centres() -> None:
    # MATLAB: 10 samples at scale 1/4 give ceil(2.5) = 3; with n_out / n_in the centres would be elsewhere.
    matrix = bicubic_matrix(10, 3, scale=0.25)
    centres = matrix[:1] @ np.arange(10.0)
    assert matrix.shape == (3, 10)
    assert not np.allclose(matrix, bicubic_matrix(10, 3))
    assert centres[0] == pytest.approx(1.5, abs=0.3)  # over input 1.5, but for the mirrored border


@given(st.integers(1, 40), st.integers(1, 40))
def test_rows_sum_to_one(n_in: int, n_out: int) -> None:
    np.testing.assert_allclose(bicubic_matrix(n_in, n_out).sum(axis=1), 1, atol=1e-12)


@given(
    st.integers(1, 30), st.integers(1, 30), st.integers(0, 255), st.sampled_from(["1/4", "1/3", "1/2", "1", "2", "3"])
)
@settings(max_examples=50)
def test_constant_image_stays_constant(height: int, width: int, value: int, scale: str) -> None:
    factor = Fraction(scale)
    resized = imresize_uint8(np.full((height, width), value, np.uint8), factor)
    assert resized.shape == (math.ceil(height * factor), math.ceil(width * factor))
    assert (resized == value).all()


def test_rounds_and_clamps_between_the_passes() -> None:
    image = np.random.default_rng(0).integers(0, 2, (16, 16), dtype=np.uint8) * 255
    matrix = bicubic_matrix(16, 8)
    tall = np.clip(np.floor(matrix @ image + 0.5), 0, 255)
    expected = np.clip(np.floor(tall @ matrix.T + 0.5), 0, 255)
    at_once = np.clip(np.floor(matrix @ image @ matrix.T + 0.5), 0, 255)
    resized = imresize_uint8(image, 0.5)
    np.testing.assert_array_equal(resized, expected)
    assert (resized != at_once).any()


def test_channels_are_independent_and_views_are_fine() -> None:
    image = np.random.default_rng(1).integers(0, 256, (31, 47, 3), dtype=np.uint8)
    resized = imresize_uint8(image[:30, 2:], Fraction(1, 3))
    assert resized.shape == (10, 15, 3)
    assert resized.flags.c_contiguous
    for channel in range(3):
        np.testing.assert_array_equal(resized[..., channel], imresize_uint8(image[:30, 2:, channel], Fraction(1, 3)))


def test_large_photo_is_worked_on_in_blocks_without_seams() -> None:
    image = np.random.default_rng(2).integers(0, 256, (200, 4000), dtype=np.uint8)
    matrix = bicubic_matrix(200, 100)
    tall = np.clip(np.floor(matrix @ image + 0.5), 0, 255)
    np.testing.assert_array_equal(
        imresize_uint8(image, 0.5), np.clip(np.floor(tall @ bicubic_matrix(4000, 2000).T + 0.5), 0, 255)
    )


def test_float_scale_means_the_simple_fraction() -> None:
    image = np.random.default_rng(3).integers(0, 256, (33, 99), dtype=np.uint8)
    np.testing.assert_array_equal(imresize_uint8(image, 1 / 3), imresize_uint8(image, Fraction(1, 3)))
    assert imresize_uint8(image, 1 / 3).shape == (11, 33)


def test_bad_input_is_refused() -> None:
    with pytest.raises(TypeError, match="float64"):
        imresize_uint8(np.zeros((4, 4)), 0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(4,\)"):
        imresize_uint8(np.zeros(4, np.uint8), 0.5)
    with pytest.raises(ValueError, match="positive"):
        imresize_uint8(np.zeros((4, 4), np.uint8), 0)
    with pytest.raises(ValueError, match="positive"):
        bicubic_matrix(0, 4)


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no research-only data at {SHARED}; set DCKD_SHARED")
@pytest.mark.parametrize(("name", "scale"), published())
def test_published_lr_photos_are_reproduced_exactly(name: str, scale: int) -> None:
    photos = sorted((SHARED / name / "HR").glob("*.png"))
    assert len(photos) == {"Set5": 5, "Set14": 14}[name]
    for path in photos:
        hr = np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), np.uint8)
        lr_path = SHARED / name / "LR_bicubic" / f"X{scale}" / f"{path.stem}x{scale}.png"
        lr = np.asarray(cv2.imread(str(lr_path), cv2.IMREAD_UNCHANGED), np.uint8)
        height, width = (side // scale * scale for side in hr.shape[:2])
        resized = imresize_uint8(hr[:height, :width], Fraction(1, scale))
        assert resized.shape == lr.shape, path
        assert int((resized != lr).sum()) == 0, path
