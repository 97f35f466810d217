"""Random degradations of the student's input that make negatives (Zhou et al., AAAI 2025, section 3.2, Table 6)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .generators import Generators
from .settings import BlurSettings, DegradationSettings, NoiseSettings, ResizeSettings

__all__ = ["Degradation", "add_noise", "gaussian_blur", "resize"]

_MODES = ("area", "bilinear", "bicubic")


def gaussian_blur(x: Tensor, kernel: tuple[int, int], sigma: tuple[float, float]) -> Tensor:
    """Blur with a separable Gaussian, reflecting at the border.

    Args:
        x: images (B, C, H, W).
        kernel: odd sizes along height and width; cut to the largest that the border can reflect.
        sigma: standard deviations in pixels along height and width.
    """
    channels = x.shape[1]
    for axis in (0, 1):
        size = min(kernel[axis], 2 * x.shape[2 + axis] - 1)
        half = size // 2
        offsets = torch.arange(-half, half + 1, device=x.device, dtype=x.dtype)
        weights = torch.exp(-0.5 * (offsets / sigma[axis]) ** 2)
        weights = weights / weights.sum()
        shape = (channels, 1, size, 1) if axis == 0 else (channels, 1, 1, size)
        pad = (0, 0, half, half) if axis == 0 else (half, half, 0, 0)
        x = F.conv2d(F.pad(x, pad, mode="reflect"), weights.view(shape[1:]).expand(shape), groups=channels)
    return x


def resize(x: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """Interpolate to ``size`` (height, width) with ``area``, ``bilinear`` or ``bicubic``."""
    return F.interpolate(x, size=size, mode=mode, align_corners=None if mode == "area" else False)


def add_noise(x: Tensor, sigma: Tensor, gray: Tensor, generator: torch.Generator) -> Tensor:
    """Add Gaussian noise and clip to [0, 1]; values are not rounded.

    Args:
        x: images in [0, 1], (B, C, H, W).
        sigma: standard deviation per sample in the same unit, (B,).
        gray: True where one noise plane serves all channels, (B,).
        generator: on the device of ``x``.
    """
    noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    noise = torch.where(gray.view(-1, 1, 1, 1), noise[:, :1], noise)
    return (x + sigma.view(-1, 1, 1, 1) * noise).clamp(0.0, 1.0)


class Degradation:
    """Draws one degraded copy of a batch: blur, resize, noise, each with its own probability.

    Whether an operation happens, kernel sizes, factors and modes are drawn once per call from the host generator;
    noise levels, the choice of gray noise and the noise itself per sample from the device generator. So nothing is
    read back from the device.

    Args:
        settings: probabilities and parameters.
        generators: where the randomness comes from, and nothing else.
    """

    def __init__(self, settings: DegradationSettings, generators: Generators) -> None:
        self.settings = settings
        self.generators = generators

    def __call__(self, x: Tensor) -> Tensor:
        """Degrade images in [0, 1], (B, C, H, W), keeping the size."""
        size = (x.shape[2], x.shape[3])
        if self._happens(self.settings.blur.prob):
            x = self._blur(x, self.settings.blur)
        resized = self._happens(self.settings.resize.prob)
        if resized:
            x = self._resize(x, self.settings.resize)
        if self._happens(self.settings.noise.prob):
            x = self._noise(x, self.settings.noise)
        if resized:
            x = resize(x, size, self._mode()).clamp(0.0, 1.0)
        return x

    def _blur(self, x: Tensor, settings: BlurSettings) -> Tensor:
        low, high = settings.kernel
        sizes = [low + 2 * self.generators.integer((high - low) // 2 + 1) for _ in range(2)]
        sigmas = [self.generators.uniform(*settings.sigma) for _ in range(2)]
        return gaussian_blur(x, (sizes[0], sizes[1]), (sigmas[0], sigmas[1]))

    def _resize(self, x: Tensor, settings: ResizeSettings) -> Tensor:
        bounds = settings.up if self._happens(settings.up_prob) else settings.down
        factor = self.generators.uniform(*bounds)
        size = (max(1, round(x.shape[2] * factor)), max(1, round(x.shape[3] * factor)))
        return resize(x, size, self._mode()).clamp(0.0, 1.0)

    def _noise(self, x: Tensor, settings: NoiseSettings) -> Tensor:
        batch, generator = len(x), self.generators.on(x.device)
        low, high = settings.sigma
        sigma = torch.rand(batch, generator=generator, device=x.device) * (high - low) + low
        gray = torch.rand(batch, generator=generator, device=x.device) < settings.gray_prob
        return add_noise(x, sigma.to(x.dtype) / 255.0, gray, generator)

    def _mode(self) -> str:
        return _MODES[self.generators.integer(len(_MODES))]

    def _happens(self, prob: float) -> bool:
        # No draw for what is impossible or certain: switching an operation off must not shift the others' numbers.
        return prob > 0 and (prob >= 1 or self.generators.uniform(0.0, 1.0) < prob)
