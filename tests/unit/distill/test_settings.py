"""The method's settings: the paper's values are the defaults, the edges of every range, blocks out of option files."""

from __future__ import annotations

import pytest

from dckd_basicsr.distill import (
    BlurSettings,
    ConsistencySettings,
    DegradationSettings,
    EncoderSettings,
    HistorySettings,
    NegativesSettings,
    NoiseSettings,
    ResizeSettings,
    settings_from,
)
from dckd_basicsr.errors import ConfigError

DEFAULTS = {
    NoiseSettings: {"prob": 1.0, "sigma": (1.0, 30.0), "gray_prob": 0.5},
    BlurSettings: {"prob": 0.0, "kernel": (3, 11), "sigma": (0.1, 2.0)},
    ResizeSettings: {"prob": 0.0, "up_prob": 0.25, "up": (1.0, 1.5), "down": (0.5, 1.0)},
    DegradationSettings: {"blur": BlurSettings(), "resize": ResizeSettings(), "noise": NoiseSettings()},
    NegativesSettings: {"num": 5, "include_clean": True, "chunk": None, "degradation": DegradationSettings()},
    HistorySettings: {
        "decay": 0.1,
        "schedule": ((100_000, 1000), (200_000, 2000), (300_000, 3000)),
        "source": "ema",
    },
    EncoderSettings: {"input_range": (-1.0, 1.0), "chunk": None, "fused_norms": False},
    ConsistencySettings: {"prob": 0.5},
}


@pytest.mark.parametrize("cls", DEFAULTS)
def test_the_papers_values_are_the_defaults(cls) -> None:
    assert vars(cls()) == DEFAULTS[cls]
    assert settings_from(cls, None, "here") == cls()


@pytest.mark.parametrize(
    ("cls", "values"),
    [
        (NoiseSettings, {"prob": 0, "gray_prob": 1, "sigma": [0, 0]}),
        (NoiseSettings, {"prob": 1, "gray_prob": 0, "sigma": [5, 5]}),
        (BlurSettings, {"kernel": [1, 1], "sigma": [1e-3, 1e-3]}),
        (ResizeSettings, {"up": [1, 1], "down": [0.05, 0.05]}),
        (NegativesSettings, {"num": 1, "chunk": 1}),
        (EncoderSettings, {"input_range": [0, 1], "chunk": 1}),
        (HistorySettings, {"decay": 0, "schedule": [[1, 1]]}),
        (HistorySettings, {"decay": 1, "schedule": [[1, 5], [2, 1]]}),
    ],
)
def test_the_edges_of_the_ranges_are_allowed(cls, values) -> None:
    found = vars(settings_from(cls, values, "here"))
    for key, value in values.items():
        wanted = tuple(tuple(v) if isinstance(v, list) else v for v in value) if isinstance(value, list) else value
        assert found[key] == wanted


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (NoiseSettings, {"prob": -0.01}, "prob must be a probability"),
        (NoiseSettings, {"prob": 1.01}, "prob must be a probability"),
        (NoiseSettings, {"gray_prob": 1.01}, "gray_prob must be a probability"),
        (NoiseSettings, {"sigma": [-0.1, 1]}, r"sigma must be \[low, high\] with 0 <="),
        (NoiseSettings, {"sigma": [1, 2, 3]}, "sigma must be"),
        (NoiseSettings, {"sigma": [1]}, "sigma must be"),
        (BlurSettings, {"prob": 2}, "prob must be a probability"),
        (BlurSettings, {"kernel": [-1, 3]}, r"kernel must be \[low, high\] with 1 <="),
        (BlurSettings, {"kernel": [2, 5]}, "kernel sizes must be odd"),
        (BlurSettings, {"kernel": [3, 6]}, "kernel sizes must be odd"),
        (BlurSettings, {"sigma": [0, 1]}, r"sigma must be \[low, high\] with 0\.001 <="),
        (BlurSettings, {"sigma": [0.0015, 0.001]}, "sigma must be"),
        (ResizeSettings, {"prob": 2}, "prob must be a probability"),
        (ResizeSettings, {"up_prob": 2}, "up_prob must be a probability"),
        (ResizeSettings, {"up": [0.9, 2]}, r"up must be \[low, high\] with 1 <="),
        (ResizeSettings, {"down": [0.04, 1]}, r"down must be \[low, high\] with 0\.05 <="),
        (NegativesSettings, {"num": 0}, "num must be at least 1"),
        (NegativesSettings, {"chunk": 0}, "chunk must be at least 1"),
        (HistorySettings, {"decay": -0.1}, "decay must be a probability"),
        (HistorySettings, {"schedule": []}, "schedule must hold at least one"),
        (HistorySettings, {"schedule": [[5, 1], [5, 2]]}, "schedule must have growing"),
        (HistorySettings, {"schedule": [[5, 1], [9, 0]]}, "schedule steps must be at least 1"),
        (EncoderSettings, {"input_range": [1, 1]}, r"input_range must be \[low, high\] with low < high"),
        (EncoderSettings, {"input_range": [0]}, r"input_range must be \[low, high\] with low < high"),
        (EncoderSettings, {"input_range": [0, 1, 2]}, r"input_range must be \[low, high\] with low < high"),
        (EncoderSettings, {"chunk": 0}, "chunk must be at least 1"),
        (ConsistencySettings, {"prob": 1.01}, "prob must be a probability"),
    ],
)
def test_what_lies_beyond_them_is_refused_by_name(cls, values, message) -> None:
    with pytest.raises(ConfigError, match=f"^here: {message}"):
        settings_from(cls, values, "here")


def test_blocks_in_blocks() -> None:
    found = settings_from(NegativesSettings, {"degradation": {"noise": {"sigma": [2, 3]}}}, "train.negatives")
    assert found.degradation == DegradationSettings(noise=NoiseSettings(sigma=(2, 3)))
    with pytest.raises(ConfigError, match=r"unknown key 'sigme' in train\.negatives\.degradation\.noise; did you mean"):
        settings_from(NegativesSettings, {"degradation": {"noise": {"sigme": 1}}}, "train.negatives")


@pytest.mark.parametrize("cls", DEFAULTS)
def test_settings_do_not_change(cls) -> None:
    with pytest.raises(AttributeError):
        setattr(cls(), next(iter(DEFAULTS[cls])), 1)
