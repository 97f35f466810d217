"""Option files: finding, loading, overriding, checking and completing them."""

from .check import check_options, option_problems, problems_of
from .inherit import load_options
from .load import load_yaml
from .overrides import apply_overrides
from .parse import parse_options
from .problems import report
from .resources import builtin_weights, find_options, packaged_options, resolve_weights, where_to_get
from .rules import option_notes

__all__ = [
    "apply_overrides",
    "builtin_weights",
    "check_options",
    "find_options",
    "load_options",
    "load_yaml",
    "option_notes",
    "option_problems",
    "packaged_options",
    "parse_options",
    "problems_of",
    "report",
    "resolve_weights",
    "where_to_get",
]
