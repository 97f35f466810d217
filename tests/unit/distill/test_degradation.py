"""Degradations: statistics of the noise, blur against scipy, sizes, ranges, reproducibility."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import correlate1d

from dckd_basicsr.distill import (
    BlurSettings,
    Degradation,
    DegradationSettings,
    Generators,
    NoiseSettings,
    ResizeSettings,
    settings_from,
)
from dckd_basicsr.distill.degradation import add_noise, gaussian_blur
from dckd_basicsr.errors import ConfigError

GREY = torch.full((64, 3, 24, 24), 0.5)


def degrade(seed: int = 0, **settings) -> Degradation:
    return Degradation(DegradationSettings(**settings), Generators(seed))


def test_noise_level_is_drawn_per_sample_in_range():
    out = degrade(noise=NoiseSettings(gray_prob=0.0))(GREY)
    sigmas = (out - GREY).std(dim=(1, 2, 3)) * 255
    assert 0.9 < sigmas.min() < 6
    assert 25 < sigmas.max() < 31
    assert sigmas.std() > 5


def test_gray_noise_is_one_plane_for_half_the_samples():
    noise = degrade(noise=NoiseSettings(gray_prob=0.5))(GREY) - GREY
    gray = (noise[:, :1] == noise).flatten(1).all(1)
    assert 20 <= gray.sum() <= 44  # 64 draws with p = .5: within 3 sigma
    assert (degrade(noise=NoiseSettings(gray_prob=1.0))(GREY).diff(dim=1) == 0).all()


def test_noise_is_clipped_and_not_rounded():
    x = torch.rand(8, 3, 16, 16)
    out = degrade()(x)
    assert out.min() >= 0
    assert out.max() <= 1
    assert ((out * 255).round() / 255 - out).abs().max() > 1e-3


def test_add_noise_uses_only_its_generator():
    generator = torch.Generator().manual_seed(3)
    before = torch.random.get_rng_state()
    a = add_noise(GREY, torch.full((64,), 0.1), torch.zeros(64, dtype=torch.bool), generator)
    assert torch.equal(before, torch.random.get_rng_state())
    b = add_noise(GREY, torch.full((64,), 0.1), torch.zeros(64, dtype=torch.bool), generator.manual_seed(3))
    assert torch.equal(a, b)


def test_noise_by_hand():
    x, sigma = torch.rand(2, 3, 4, 5), torch.tensor([0.02, 0.5])
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
    noise[1] = noise[1, :1]  # gray
    out = add_noise(x, sigma, torch.tensor([False, True]), torch.Generator().manual_seed(3))
    torch.testing.assert_close(out, (x + sigma.view(2, 1, 1, 1) * noise).clamp(0, 1), rtol=0, atol=1e-7)
    half = add_noise(x.bfloat16(), sigma.bfloat16(), torch.tensor([False, True]), torch.Generator())
    assert half.dtype == torch.bfloat16
    assert degrade()(x.bfloat16()).dtype == torch.bfloat16


def test_blur_equals_scipy():
    x = torch.rand(1, 2, 17, 15, dtype=torch.float64)
    out = gaussian_blur(x, (5, 7), (0.8, 1.7))
    expected = x.numpy()
    for axis, size, sigma in ((2, 5, 0.8), (3, 7, 1.7)):
        offsets = np.arange(size) - size // 2
        weights = np.exp(-0.5 * (offsets / sigma) ** 2)
        expected = correlate1d(expected, weights / weights.sum(), axis=axis, mode="mirror")
    np.testing.assert_allclose(out.numpy(), expected, atol=1e-12)


def test_blur_works_on_images_smaller_than_the_kernel():
    assert gaussian_blur(torch.rand(1, 3, 4, 3), (11, 11), (2.0, 2.0)).shape == (1, 3, 4, 3)


@pytest.mark.parametrize("seed", range(6))
def test_resize_keeps_size_and_range(seed):
    settings = {"resize": ResizeSettings(prob=1.0), "noise": NoiseSettings(prob=0.0)}
    x = torch.rand(2, 3, 13, 17)
    out = degrade(seed, **settings)(x)
    assert out.shape == x.shape
    assert out.min() >= 0
    assert out.max() <= 1
    assert not torch.equal(out, x)


class Scripted(Generators):
    """Gives the numbers it was given, and keeps what was asked for."""

    def __init__(self, uniform=(), integer=()) -> None:
        super().__init__(0)
        self.numbers, self.choices = list(uniform), list(integer)
        self.bounds: list[tuple[float, float]] = []
        self.highs: list[int] = []

    def uniform(self, low: float, high: float) -> float:
        self.bounds.append((low, high))
        return self.numbers.pop(0)

    def integer(self, high: int) -> int:
        self.highs.append(high)
        return self.choices.pop(0)


QUIET = NoiseSettings(prob=0.0)


def test_a_blur_draws_sizes_and_sigmas_for_each_axis():
    x, draws = torch.rand(1, 3, 24, 24), Scripted([0.6, 1.7], [0, 4])
    out = Degradation(DegradationSettings(BlurSettings(prob=1.0), noise=QUIET), draws)(x)
    torch.testing.assert_close(out, gaussian_blur(x, (3, 11), (0.6, 1.7)), rtol=0, atol=0)
    assert draws.highs == [5, 5]  # 3, 5, 7, 9, 11
    assert draws.bounds == [(0.1, 2.0)] * 2


@pytest.mark.parametrize(
    ("draw", "bounds", "factor", "sides"),
    [(0.24, (1.0, 1.5), 1.4, (18, 10)), (0.25, (0.5, 1.0), 0.6, (8, 4)), (0.9, (0.5, 1.0), 0.03, (1, 1))],
)
def test_a_resize_goes_up_or_down_and_back_in_modes_of_their_own(draw, bounds, factor, sides):
    x = (torch.rand(1, 3, 13, 7) > 0.5).float()  # steep, so that bicubic overshoots and is clipped
    draws = Scripted([draw, factor], [2, 1])
    out = Degradation(DegradationSettings(resize=ResizeSettings(prob=1.0), noise=QUIET), draws)(x)
    there = F.interpolate(x, size=sides, mode="bicubic", align_corners=False).clamp(0, 1)
    back = F.interpolate(there, size=(13, 7), mode="bilinear", align_corners=False)
    torch.testing.assert_close(out, back, rtol=0, atol=0)
    assert (draws.bounds, draws.highs) == ([(0.0, 1.0), bounds], [3, 3])


def test_the_way_back_is_clipped_too_and_area_is_a_mode():
    x, draws = (torch.rand(1, 3, 12, 12) > 0.5).float(), Scripted([0.9, 0.5], [0, 2])
    out = Degradation(DegradationSettings(resize=ResizeSettings(prob=1.0), noise=QUIET), draws)(x)
    back = F.interpolate(F.interpolate(x, size=(6, 6), mode="area"), size=(12, 12), mode="bicubic", align_corners=False)
    assert (back.min() < 0, back.max() > 1) == (True, True)
    torch.testing.assert_close(out, back.clamp(0, 1), rtol=0, atol=0)


def test_operations_come_in_order_and_each_by_its_own_probability():
    """Blur, smaller, noise on the small image, back; one draw decides on each."""
    settings = DegradationSettings(BlurSettings(prob=0.5), ResizeSettings(prob=0.3), NoiseSettings(prob=0.8))
    x = torch.rand(2, 3, 8, 8)
    draws = Scripted([0.49, 1.0, 1.0, 0.29, 0.5, 0.5, 0.79], [1, 1, 1, 1])
    out = Degradation(settings, draws)(x)
    small = F.interpolate(gaussian_blur(x, (5, 5), (1.0, 1.0)), size=(4, 4), mode="bilinear", align_corners=False)
    noisy = Degradation(DegradationSettings(), Scripted())(small)
    torch.testing.assert_close(out, F.interpolate(noisy, size=(8, 8), mode="bilinear", align_corners=False))
    assert draws.numbers == draws.choices == []
    off = Scripted([0.5, 0.3, 0.8])
    assert torch.equal(Degradation(settings, off)(x), x)
    assert off.bounds == [(0.0, 1.0)] * 3


def test_everything_off_is_the_identity():
    out = degrade(noise=NoiseSettings(prob=0.0))(GREY)
    assert torch.equal(out, GREY)


def test_mix_of_all_is_reproducible_from_the_state():
    settings = DegradationSettings(BlurSettings(prob=0.5), ResizeSettings(prob=0.5), NoiseSettings(prob=0.8))
    generators = Generators(5)
    degradation = Degradation(settings, generators)
    x = torch.rand(2, 3, 16, 16)
    degradation(x)
    state = generators.training_state()
    wanted = [degradation(x) for _ in range(4)]
    other = Generators(99)
    other.load_training_state(state, "cpu")
    again = [Degradation(settings, other)(x) for _ in range(4)]
    assert all(torch.equal(a, b) for a, b in zip(wanted, again, strict=True))
    assert not torch.equal(wanted[0], wanted[1])


def test_different_seeds_differ():
    assert not torch.equal(degrade(0)(GREY), degrade(1)(GREY))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": {"prob": 2}}, r"train.negatives.degradation.noise: prob must be a probability"),
        ({"noise": {"sigma": [5, 1]}}, "sigma must be"),
        ({"blur": {"kernel": [2, 8]}}, "odd"),
        ({"resise": {}}, "did you mean 'resize'"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(ConfigError, match=message):
        settings_from(DegradationSettings, options, "train.negatives.degradation")
