"""The method without BasicSR: usable from a bare PyTorch loop (see README, "In your own training loop")."""

from .consistency import Transform, draw_transform
from .degradation import Degradation
from .encoder import FrozenEncoder
from .generators import Generators
from .history import HistoryModel
from .objective import TERM_KEYS, Objective, ObjectiveValues
from .settings import (
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
from .step import DistillParts, DistillStep, Drawn, Need

__all__ = [
    "TERM_KEYS",
    "BlurSettings",
    "ConsistencySettings",
    "Degradation",
    "DegradationSettings",
    "DistillParts",
    "DistillStep",
    "Drawn",
    "EncoderSettings",
    "FrozenEncoder",
    "Generators",
    "HistoryModel",
    "HistorySettings",
    "Need",
    "NegativesSettings",
    "NoiseSettings",
    "Objective",
    "ObjectiveValues",
    "ResizeSettings",
    "Transform",
    "draw_transform",
    "settings_from",
]
