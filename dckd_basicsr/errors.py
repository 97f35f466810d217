"""Errors a user can act on: each message names the file or key, what was expected, and what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DCKDError",
    "DatasetError",
    "Interrupted",
    "MissingBasicSR",
    "ProcessError",
    "TrainingDiverged",
    "message_of",
    "near_miss",
]


class DCKDError(Exception):
    """Base of everything this package raises on bad input; the command line prints it without a traceback."""


class ConfigError(DCKDError, ValueError):
    """An option file or a command-line override is wrong. Several problems are reported in one message."""


class CheckpointError(DCKDError, RuntimeError):
    """A weight file or a training state cannot be read, or does not fit the network it is meant for."""


class MissingBasicSR(DCKDError, ImportError):
    """BasicSR, without which nothing is trained or tested, is not installed."""


class DatasetError(DCKDError, RuntimeError):
    """A photo folder or an LMDB is missing, incomplete, or not what the options say it is."""


class ProcessError(DCKDError, RuntimeError):
    """The processes of a job cannot find each other, or one of them is gone."""


class TrainingDiverged(DCKDError, ArithmeticError):
    """Losses, gradients or weights are no longer finite."""


class Interrupted(DCKDError):
    """A signal asked the run to stop, and it did, after saving.

    Attributes:
        signum: the signal's number.
    """

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum


def near_miss(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known name closest to ``name``, or an empty string.

    >>> near_miss("num_fet", ["num_feat", "num_block"])
    "; did you mean 'num_feat'?"
    """
    close = difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


def message_of(error: DCKDError) -> str:
    """Return an error's own message, without the traceback that a data loader's worker process wraps around it."""
    return re.split(rf"^[\w.]*\b{type(error).__name__}: ", str(error), flags=re.MULTILINE)[-1].strip()
