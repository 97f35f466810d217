"""What surrounds a forward pass: padding, tiles, self-ensemble, validation and its records."""

from .results import add_results, read_results

__all__ = ["add_results", "read_results"]
