"""Loss terms that compare features, one a file; importing them registers them."""

from .csd import CsdTerm
from .mclir import MclirTerm

__all__ = ["CsdTerm", "MclirTerm"]
