"""What a run leaves behind besides weights: result files."""

from .results import add_results, read_results

__all__ = ["add_results", "read_results"]
