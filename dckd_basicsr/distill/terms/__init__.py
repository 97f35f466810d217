"""The loss terms, one a file; importing them registers them."""

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
from .features import CsdTerm, MclirTerm
from .logits import LogitsTerm
from .output import OutputTerm, where_teacher_is_better
from .pixel import PixelTerm

__all__ = [
    "SHORT_NAMES",
    "TERMS",
    "TERM_KEYS",
    "TOTAL",
    "ConsistencyTerm",
    "ContrastTerm",
    "CsdTerm",
    "DistributionTerm",
    "LogitsTerm",
    "MclirTerm",
    "OutputTerm",
    "PixelTerm",
    "Term",
    "TermOptions",
    "WeightedTerm",
    "build_terms",
    "name_fault",
    "register_term",
    "term_options",
    "where_teacher_is_better",
]
