"""The published deblurring and deraining metrics, against their golden values, by hand, and by brute force."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from basicsr.metrics import calculate_metric, calculate_psnr, calculate_ssim

from dckd_basicsr.errors import ConfigError, DatasetError
from dckd_basicsr.metrics import calculate_psnr_y_rounded, calculate_ssim_3d, calculate_ssim_y_rounded
from dckd_basicsr.metrics.y_rounded import rounded_y

METRICS = [calculate_psnr_y_rounded, calculate_ssim_y_rounded, calculate_ssim_3d]


def image(seed: int, height: int = 16, width: int = 13) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["butterfly", "head"])
def test_golden(shared: Path, name: str) -> None:
    gold = json.loads((shared / "golden" / "metrics.json").read_text())[name]
    restored = cv2.imread(str(shared / "golden" / f"{name}_bicubic_x4.png"))
    gt = cv2.imread(str(shared / "data" / gold["dataset"] / "HR" / f"{name}.png"))
    stock = {
        "psnr_y_crop4": calculate_psnr(restored, gt, 4, test_y_channel=True),
        "ssim_y_crop4": calculate_ssim(restored, gt, 4, test_y_channel=True),
        "psnr_rgb_nocrop": calculate_psnr(restored, gt, 0),
        "ssim_rgb_2d_nocrop": calculate_ssim(restored, gt, 0),
        "psnr_y_rounded_nocrop": calculate_psnr_y_rounded(restored, gt, 0),
    }
    for key, value in stock.items():
        assert value == pytest.approx(gold[key], abs=1e-9), key
    # The golden value was summed in float32, whose rounding is 1e-5: repeated here, and exact for the default.
    assert calculate_ssim_3d(restored, gt, 0, single=True) == pytest.approx(gold["ssim_rgb_3d_nocrop"], abs=5e-7)
    assert calculate_ssim_3d(restored, gt, 0) == pytest.approx(gold["ssim_rgb_3d_nocrop"], abs=1e-5)


# --- the 3-D SSIM


def brute_force_ssim_3d(img: np.ndarray, img2: np.ndarray) -> float:
    """Every window written out, with its own means, variances and covariance."""
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.einsum("i,j,k->ijk", taps, taps, taps)
    window /= window.sum()
    first, second = (np.pad(a.astype(np.float64), 5, mode="edge") for a in (img, img2))
    c1, c2 = 6.5025, 58.5225
    values = []
    for place in np.ndindex(img.shape):
        box = tuple(slice(start, start + 11) for start in place)
        a, b = first[box], second[box]
        mean, mean2 = (window * a).sum(), (window * b).sum()
        variances = (window * (a - mean) ** 2).sum() + (window * (b - mean2) ** 2).sum()
        covariance = (window * (a - mean) * (b - mean2)).sum()
        values.append((2 * mean * mean2 + c1) * (2 * covariance + c2) / ((mean**2 + mean2**2 + c1) * (variances + c2)))
    return float(np.mean(values))


@pytest.mark.parametrize("shape", [(16, 13), (5, 7), (1, 1)])
def test_ssim_3d_is_the_brute_force_one(shape: tuple[int, int]) -> None:
    first = image(0, *shape)
    second = cv2.addWeighted(first, 0.7, image(1, *shape), 0.3, 0)
    assert calculate_ssim_3d(first, second, 0) == pytest.approx(brute_force_ssim_3d(first, second), abs=1e-12)
    single = calculate_ssim_3d(first, second, 0, single=True)
    assert single == pytest.approx(brute_force_ssim_3d(first, second), abs=1e-4)


def test_ssim_3d_by_hand() -> None:
    # Constant images have no variance: what is left is (2 ab + c1) / (a^2 + b^2 + c1).
    first, second = np.full((4, 5, 3), 100, np.uint8), np.full((4, 5, 3), 50, np.uint8)
    assert calculate_ssim_3d(first, second, 0) == pytest.approx((10_000 + 6.5025) / (12_500 + 6.5025), abs=1e-9)


def test_ssim_3d_mixes_the_channels() -> None:
    first, second = image(0, 24, 24), image(1, 24, 24)
    alone = np.mean([calculate_ssim_3d(first[..., c], second[..., c], 0) for c in range(3)])
    assert abs(calculate_ssim_3d(first, second, 0) - alone) > 1e-3
    flipped = calculate_ssim_3d(first[..., ::-1], second[..., ::-1], 0)
    assert flipped == pytest.approx(calculate_ssim_3d(first, second, 0), abs=1e-12)


# --- the rounded Y


@pytest.mark.parametrize(
    ("bgr", "y"),
    [
        ((0, 0, 0), 16),
        ((255, 255, 255), 235),
        ((255, 0, 0), 41),  # 16 + 24.966
        ((0, 255, 0), 145),  # 16 + 128.553
        ((0, 0, 255), 81),  # 16 + 65.481
        ((1, 1, 1), 17),  # 16.859
        ((62, 6, 104), 52),  # 52.484
    ],
)
def test_rounded_y(bgr: tuple[int, int, int], y: int) -> None:
    assert rounded_y(np.full((1, 1, 3), bgr, np.uint8)).item() == y


def test_every_tie_goes_to_the_even_value() -> None:
    # Y - 16 is 219 (114 B + 587 G + 299 R) / 255000: halfway exactly where the sum is 42500 or 127500.
    b, g = np.meshgrid(np.arange(256), np.arange(256))
    for total, y in ((42_500, 52), (127_500, 126)):  # from 52.5 and 125.5
        rest = total - 114 * b - 587 * g
        ok = (rest % 299 == 0) & (rest >= 0) & (rest <= 255 * 299)
        assert ok.any()
        ties = np.stack([b[ok], g[ok], rest[ok] // 299], -1).astype(np.uint8)[None]
        assert set(rounded_y(ties).ravel()) == {y}


def test_psnr_y_rounded_by_hand() -> None:
    first = np.zeros((2, 2, 3), np.uint8)
    second = first.copy()
    second[0, 0] = 255  # one Y of four differs by 219
    expected = 10 * math.log10(255**2 / (219**2 / 4))
    assert calculate_psnr_y_rounded(first, second, 0) == pytest.approx(expected, abs=1e-12)
    assert calculate_psnr_y_rounded(first[..., 0], second[..., 0], 0) == pytest.approx(10 * math.log10(4), abs=1e-12)
    # A difference of a third of a Y step is rounded away.
    second = first.copy()
    second[..., 0] = 3
    assert calculate_psnr_y_rounded(first, second, 0) == math.inf


def test_ssim_y_rounded_is_the_stock_one_on_the_rounded_y() -> None:
    first, second = image(0), image(1)
    luma = [np.rint(a.astype(float) @ [24.966, 128.553, 65.481] / 255 + 16) for a in (first, second)]
    assert calculate_ssim_y_rounded(first, second, 0) == pytest.approx(calculate_ssim(*luma, 0), abs=1e-12)


# --- all of them


@pytest.mark.parametrize("metric", METRICS)
def test_common_ground(metric) -> None:
    first, second = image(0, 20, 18), image(1, 20, 18)
    assert metric(first, first, 0) == (math.inf if metric is calculate_psnr_y_rounded else 1)
    value = metric(first, second, 2)
    assert isinstance(value, float)
    assert metric(first[2:-2, 2:-2], second[2:-2, 2:-2], 0) == value
    chw = [a.transpose(2, 0, 1) for a in (first, second)]
    assert metric(*chw, 2, input_order="CHW") == value
    named = calculate_metric({"img": first, "img2": second}, {"type": metric.__name__, "crop_border": 2, "better": "x"})
    assert named == value
    with pytest.raises(DatasetError, match=r"\(20, 18, 3\) and \(20, 17, 3\) cannot be compared"):
        metric(first, second[:, :17], 0)
    with pytest.raises(DatasetError, match="nothing is left of a 20x18 image after cropping 9"):
        metric(first, second, 9)
    if metric is not calculate_ssim_y_rounded:  # which needs 11 pixels
        assert metric(first, second, 8) == metric(first[8:12, 8:10], second[8:12, 8:10], 0)
    with pytest.raises(ConfigError, match="crop_border"):
        metric(first, second, -1)
    with pytest.raises(ConfigError, match="input_order"):
        metric(first, second, 0, input_order="HCW")


def test_rounded_y_metrics_refuse_what_has_no_rounded_y() -> None:
    with pytest.raises(DatasetError, match="float64 of shape"):
        calculate_psnr_y_rounded(image(0) / 255, image(1) / 255, 0)
    with pytest.raises(DatasetError, match=r"\(16, 13, 2\)"):
        calculate_psnr_y_rounded(image(0)[..., :2], image(1)[..., :2], 0)
    with pytest.raises(DatasetError, match="at least 11x11 pixels, got 10x7"):
        calculate_ssim_y_rounded(image(0), image(1), 3)
    with pytest.raises(DatasetError, match="at least 11x11 pixels, got 10x30"):
        calculate_ssim_y_rounded(image(0, 10, 30), image(1, 10, 30), 0)
    assert calculate_ssim_y_rounded(image(0, 11, 11), image(0, 11, 11), 0) == 1
