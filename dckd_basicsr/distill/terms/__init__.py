"""The loss terms, one a file; importing them registers them."""

from .base import TERMS, Term, register_term

__all__ = ["TERMS", "Term", "register_term"]
