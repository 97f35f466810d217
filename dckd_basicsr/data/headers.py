"""Sizes of image files by their headers, without decoding them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image as PillowImage

from .keys import PHOTO_SUFFIXES

__all__ = ["image_sizes"]


def image_sizes(folder: Path, names: Sequence[str] | None = None) -> dict[str, tuple[int, int]]:
    """Return height and width in pixels of the images in ``folder``, by file name; what has no readable header is out.

    Args:
        folder: sub-folders are not searched, as BasicSR's datasets do not.
        names: of these files alone.
    """
    if names is None:
        names = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in PHOTO_SUFFIXES)
    found: dict[str, tuple[int, int]] = {}
    for name in names:
        try:
            with PillowImage.open(folder / name) as image:
                found[name] = (image.height, image.width)
        except (OSError, ValueError, SyntaxError, PillowImage.DecompressionBombError):
            continue  # the reader that needs its pixels names it
    return found
