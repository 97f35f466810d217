"""The method without BasicSR: usable from a bare PyTorch loop (see README, "In your own training loop")."""

from ..moved import names_of
from .consistency import Transform, draw_transform
from .degradation import Degradation
from .distiller import TOTAL, Distiller
from .encoder import FrozenEncoder
from .features import FeatureMaps
from .generators import Generators
from .history import HistoryModel
from .loss_weight import LossWeight, loss_weight
from .needs import OF_ENCODER, OF_FIRST_TEACHER, STUDENT, FeatureMap, Need, TeacherOutput
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
from .sources import Drawn, Sources
from .step import DistillStep
from .teachers import needed_teachers, teacher_blocks
from .terms import TERMS, FeatureTerm, Term, WeightedTerm, build_terms, register_term

__all__ = [
    "OF_ENCODER",
    "OF_FIRST_TEACHER",
    "STUDENT",
    "TERMS",
    "TOTAL",
    "BlurSettings",
    "ConsistencySettings",
    "Degradation",
    "DegradationSettings",
    "DistillStep",
    "Distiller",
    "Drawn",
    "EncoderSettings",
    "FeatureMap",
    "FeatureMaps",
    "FeatureTerm",
    "FrozenEncoder",
    "Generators",
    "HistoryModel",
    "HistorySettings",
    "LossWeight",
    "Need",
    "NegativesSettings",
    "NoiseSettings",
    "ResizeSettings",
    "Sources",
    "TeacherOutput",
    "Term",
    "Transform",
    "WeightedTerm",
    "build_terms",
    "draw_transform",
    "loss_weight",
    "needed_teachers",
    "register_term",
    "settings_from",
    "teacher_blocks",
]

__getattr__ = names_of(__name__)
