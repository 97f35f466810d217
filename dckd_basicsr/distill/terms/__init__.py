"""The loss terms, one a file; importing them registers them."""

from .augkd import AugKDTerm
from .base import TERMS, Term, register_term
from .build import (
    SHORT_NAMES,
    TERM_KEYS,
    TOTAL,
    TermOptions,
    WeightedTerm,
    build_terms,
    name_fault,
    term_options,
)
from .consistency import ConsistencyTerm
from .contrast import ContrastTerm
from .distribution import DistributionTerm
from .eco import ECOTerm
from .features import AffinityTerm, AttentionTerm, CSDTerm, FeatureTerm, FitnetTerm, MCLIRTerm, MiPKDTerm
from .logits import LogitsTerm
from .mtkd import MTKDTerm
from .output import OutputTerm, where_teacher_is_better
from .pixel import PixelTerm
from .psd import PSDTerm
from .wavelet import WaveletTerm

__all__ = [
    "SHORT_NAMES",
    "TERMS",
    "TERM_KEYS",
    "TOTAL",
    "AffinityTerm",
    "AttentionTerm",
    "AugKDTerm",
    "CSDTerm",
    "ConsistencyTerm",
    "ContrastTerm",
    "DistributionTerm",
    "ECOTerm",
    "FeatureTerm",
    "FitnetTerm",
    "LogitsTerm",
    "MCLIRTerm",
    "MTKDTerm",
    "MiPKDTerm",
    "OutputTerm",
    "PSDTerm",
    "PixelTerm",
    "Term",
    "TermOptions",
    "WaveletTerm",
    "WeightedTerm",
    "build_terms",
    "name_fault",
    "register_term",
    "term_options",
    "where_teacher_is_better",
]
