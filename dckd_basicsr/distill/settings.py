"""Settings of the method: one frozen dataclass per block of ``train:`` in an option file.

The field names are the option keys and the defaults are the paper's (Zhou et al., AAAI 2025, section 4.1), so the
same classes build the parts, validate option files and document them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal, TypeVar, get_type_hints

from ..errors import ConfigError, near_miss

__all__ = [
    "BlurSettings",
    "ConsistencySettings",
    "DegradationSettings",
    "EncoderSettings",
    "HistorySettings",
    "NegativesSettings",
    "NoiseSettings",
    "ResizeSettings",
    "settings_from",
]

S = TypeVar("S")


def _check_probability(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be a probability in [0, 1], got {value}")


def _check_range(name: str, value: tuple[float, float], low: float) -> None:
    if len(value) != 2 or not low <= value[0] <= value[1]:
        raise ValueError(f"{name} must be [low, high] with {low} <= low <= high, got {list(value)}")


@dataclass(frozen=True)
class NoiseSettings:
    """Gaussian noise, drawn per sample.

    Attributes:
        prob: probability of noise.
        sigma: from the lower to the higher, in 8-bit grey levels.
        gray_prob: probability of the same noise in all channels.
    """

    prob: float = 1.0
    sigma: tuple[float, float] = (1.0, 30.0)
    gray_prob: float = 0.5

    def __post_init__(self) -> None:
        _check_probability("prob", self.prob)
        _check_probability("gray_prob", self.gray_prob)
        _check_range("sigma", self.sigma, 0)


@dataclass(frozen=True)
class BlurSettings:
    """Gaussian blur, drawn per axis and per negative.

    Attributes:
        prob: probability of blur.
        kernel: least and largest size of the kernel in pixels, odd.
        sigma: from the lower to the higher, in pixels.
    """

    prob: float = 0.0
    kernel: tuple[int, int] = (3, 11)
    sigma: tuple[float, float] = (0.1, 2.0)

    def __post_init__(self) -> None:
        _check_probability("prob", self.prob)
        _check_range("kernel", self.kernel, 1)
        if self.kernel[0] % 2 == 0 or self.kernel[1] % 2 == 0:
            raise ValueError(f"kernel sizes must be odd, got {list(self.kernel)}")
        _check_range("sigma", self.sigma, 1e-3)


@dataclass(frozen=True)
class ResizeSettings:
    """Resize by a random factor and back at the end, each with a random mode.

    Attributes:
        prob: probability of a resize.
        up_prob: probability that it is to a larger size, else to a smaller one.
        up: least and largest factor to a larger size.
        down: least and largest factor to a smaller size.
    """

    prob: float = 0.0
    up_prob: float = 0.25
    up: tuple[float, float] = (1.0, 1.5)
    down: tuple[float, float] = (0.5, 1.0)

    def __post_init__(self) -> None:
        _check_probability("prob", self.prob)
        _check_probability("up_prob", self.up_prob)
        _check_range("up", self.up, 1)
        _check_range("down", self.down, 0.05)


@dataclass(frozen=True)
class DegradationSettings:
    """The degradations D_j of the negatives, applied in the order blur, resize, noise.

    Attributes:
        blur: Gaussian blur.
        resize: a smaller or larger size, and back.
        noise: Gaussian noise.
    """

    blur: BlurSettings = field(default_factory=BlurSettings)
    resize: ResizeSettings = field(default_factory=ResizeSettings)
    noise: NoiseSettings = field(default_factory=NoiseSettings)


@dataclass(frozen=True)
class NegativesSettings:
    """Negatives of the contrast.

    Attributes:
        num: how many there are in total.
        include_clean: one of them is the clean LQ.
        chunk: bounds memory: at most that many images pass the history model at once; null for all on a GPU, and on a
            CPU for what its cache holds.
        degradation: how the others are made of the LQ.
    """

    num: int = 5
    include_clean: bool = True
    chunk: int | None = None
    degradation: DegradationSettings = field(default_factory=DegradationSettings)

    def __post_init__(self) -> None:
        if self.num < 1:
            raise ValueError(f"num must be at least 1, got {self.num}")
        if self.chunk is not None and self.chunk < 1:
            raise ValueError(f"chunk must be at least 1, or null for no chunks, got {self.chunk}")


@dataclass(frozen=True)
class HistorySettings:
    """History model: ``theta <- decay * theta + (1 - decay) * source`` every so many iterations.

    Attributes:
        decay: weight of the old parameters.
        schedule: ``[until, every]`` pairs with growing ``until``: up to and including iteration ``until`` an update
            comes every ``every`` iterations. The last entry goes on after its ``until``.
        source: ``ema`` takes the student's moving average (the authors' code), ``student`` the student itself. With
            ``ema_decay: 0`` there is no average and the student is taken.
    """

    decay: float = 0.1
    schedule: tuple[tuple[int, int], ...] = ((100_000, 1000), (200_000, 2000), (300_000, 3000))
    source: Literal["ema", "student"] = "ema"

    def __post_init__(self) -> None:
        _check_probability("decay", self.decay)
        if not self.schedule:
            raise ValueError("schedule must hold at least one [until, every] pair")
        untils = [until for until, _ in self.schedule]
        if sorted(set(untils)) != untils:
            raise ValueError(f"schedule must have growing 'until' iterations, got {untils}")
        if any(every < 1 for _, every in self.schedule):
            raise ValueError("schedule steps must be at least 1")


@dataclass(frozen=True)
class EncoderSettings:
    """Frozen VQGAN encoder.

    Attributes:
        input_range: images in [0, 1] are mapped to it before the encoder. The published code feeds ``[0, 1]`` although
            the VQGAN was trained on ``[-1, 1]``.
        chunk: bounds memory: at most that many gradient-free images pass the encoder at once; null for all on a GPU,
            and on a CPU for what its cache holds.
        fused_norms: a GroupNorm and the swish after it as one operation, with statistics in float32, that keeps one map
            for the backward pass where two are kept otherwise. Less memory; other last bits.
    """

    input_range: tuple[float, float] = (-1.0, 1.0)
    chunk: int | None = None
    fused_norms: bool = False

    def __post_init__(self) -> None:
        if len(self.input_range) != 2 or self.input_range[0] >= self.input_range[1]:
            raise ValueError(f"input_range must be [low, high] with low < high, got {list(self.input_range)}")
        if self.chunk is not None and self.chunk < 1:
            raise ValueError(f"chunk must be at least 1, or null for no chunks, got {self.chunk}")


@dataclass(frozen=True)
class ConsistencySettings:
    """Label consistency of DCKD*.

    Attributes:
        prob: probability, per sample, of each of invert, vflip, hflip, transpose.
    """

    prob: float = 0.5

    def __post_init__(self) -> None:
        _check_probability("prob", self.prob)


def settings_from(cls: type[S], options: Mapping[str, Any] | None, where: str) -> S:
    """Build a settings class from an option block, nested blocks included; missing keys take the defaults.

    Args:
        cls: one of the classes above.
        options: the block, or None for all defaults.
        where: its place in the option file, for messages.

    Raises:
        ConfigError: an unknown key or a value out of range.
    """
    hints = get_type_hints(cls)
    names = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in (options or {}).items():
        if key not in names:
            raise ConfigError(f"unknown key '{key}' in {where}{near_miss(key, names)} Known: {', '.join(names)}")
        if is_dataclass(hints[key]):
            value = settings_from(hints[key], value, f"{where}.{key}")
        values[key] = _tuples(value)
    try:
        return cls(**values)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where}: {error}") from error


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list | tuple) else value
