"""What the command line takes for numbers, for all commands alike."""

from __future__ import annotations

import argparse

__all__ = ["count"]


def count(text: str) -> int:
    """Return a whole number of at least 1; raises ArgumentTypeError, which argparse words with the flag."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 1, got '{text}'")
    return int(text)
