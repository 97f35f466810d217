"""What spoils a file: each returns a function that does it in the current folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

__all__ = ["alter", "drop", "gray_photo", "lq_photos", "rewrite"]


def drop(path: str) -> Callable[[], object]:
    """Remove a file."""
    return lambda: Path(path).unlink()


def rewrite(path: str, change: Callable[[list[str]], list[str]]) -> Callable[[], object]:
    """Change the lines of a text file."""
    return lambda: Path(path).write_text("\n".join(change(Path(path).read_text().splitlines())) + "\n")


def alter(path: str, change: Callable[[bytes], bytes]) -> Callable[[], object]:
    """Change the bytes of a file."""
    return lambda: Path(path).write_bytes(change(Path(path).read_bytes()))


def gray_photo(name: str, height: int, width: int, dtype: type = np.uint8) -> Callable[[], object]:
    """Write a gray photo."""

    def spoil() -> None:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(name, np.full((height, width, 3), 90, dtype))

    return spoil


def lq_photos(*names: str) -> Callable[[], object]:
    """An ``lq`` folder with copies of the photos under other names."""

    def spoil() -> None:
        Path("lq").mkdir()
        for number, name in enumerate(names):
            shutil.copy(f"photos/photo{number}.png", f"lq/{name}")

    return spoil
