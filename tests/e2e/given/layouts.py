"""Data sets in miniature, with the folder and file names they are published with, and commands run in this process."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from dckd_basicsr.bicubic import imresize_uint8
from dckd_basicsr.cli import main

__all__ = ["Job", "save_pair", "save_sr_pair"]

SCENES = {
    "train": {"GOPR0372_07_00": ["000047", "000048"], "GOPR0374_11_00": ["000047", "000048"]},
    "test": {name: ["000001", "000002"] for name in ("GOPR0384_11_00", "GOPR0384_11_05", "GOPR0385_11_01")},
}
"""GoPro's first scenes: frame numbers start anew in each."""

RAIN_SETS = ("Test100", "Rain100H", "Rain100L", "Test2800", "Test1200")

BENCHMARKS = {
    "Set5": ("Set5", ["baby", "bird", "butterfly"]),
    "Set14": ("Set14", ["baboon", "barbara"]),
    "BSD100": ("B100", ["101085", "101087"]),
    "Urban100": ("Urban100", ["img001", "img002"]),
}
"""Folder in EDSR-PyTorch's benchmark.tar, and images, by the name of the set."""


class Job:
    """A folder in which commands run, and what they logged.

    Args:
        folder: made by the test.
        patch: undone when the job's tests are through.
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.patch = patch
        self.log = ""

    def basicsr(self, *arguments: str) -> str:
        """Run a command in the folder, as a user would but without a new process; return what it logged."""
        self.patch.chdir(self.folder)
        self.patch.setattr(sys, "argv", sys.argv)
        with _logged() as messages:
            assert main(arguments) == 0, arguments
        text = "\n".join(messages)
        self.log += text
        return text


@contextlib.contextmanager
def _logged() -> Iterator[list[str]]:
    messages: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    log, handler = logging.getLogger("basicsr"), Keep()
    log.addHandler(handler)
    try:
        yield messages
    finally:
        log.removeHandler(handler)


def _photo(seed: int, height: int, width: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 6 + 2, width // 6 + 2, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def _save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def save_pair(gt: Path, lq: Path, seed: int) -> None:
    """Write a photo and a blurred one, both 32x40, of which no other has the same."""
    photo = _photo(seed, 32, 40)
    _save(gt, photo)
    _save(lq, cv2.GaussianBlur(photo, (5, 5), 1.0 + seed % 7 / 4))


def save_sr_pair(gt: Path, lq: Path, seed: int, scale: int, size: tuple[int, int] = (50, 62)) -> None:
    """Write a photo, also of a size that is no multiple of the scale, and what MATLAB's bicubic makes of it."""
    photo = _photo(seed, *size)
    height, width = (side // scale * scale for side in size)
    _save(gt, photo)
    _save(lq, imresize_uint8(photo[:height, :width], Fraction(1, scale)))


def write_gopro(root: Path) -> None:
    """``GOPRO_Large``: two training scenes and three test scenes of two frames."""
    seed = 0
    for part, scenes in SCENES.items():
        for scene, frames in scenes.items():
            for frame in frames:
                seed += 1
                folder = root / part / scene
                save_pair(folder / f"sharp/{frame}.png", folder / f"blur/{frame}.png", seed)
                save_pair(folder / f"sharp/{frame}.png", folder / f"blur_gamma/{frame}.png", seed)


def write_rain13k(root: Path) -> None:
    """MPRNet's ``Datasets``: JPEGs to train on, and five test sets whose images are all called 1 and 2."""
    for number in (1, 2, 3):
        folder = root / "train/Rain13K"
        save_pair(folder / f"target/{number}.jpg", folder / f"input/{number}.jpg", number)
    for i, name in enumerate(RAIN_SETS, start=1):
        for number in (1, 2):
            folder = root / "test" / name
            save_pair(folder / f"target/{number}.png", folder / f"input/{number}.png", 10 * i + number)


def write_div2k(root: Path, train: Sequence[str], valid: Sequence[str]) -> None:
    """DIV2K at x4: photos to train on and to validate on, LQ with ``x4`` appended."""
    for part, names in (("train", train), ("valid", valid)):
        for name in names:
            gt = root / f"DIV2K_{part}_HR/{name}.png"
            save_sr_pair(gt, root / f"DIV2K_{part}_LR_bicubic/X4/{name}x4.png", int(name), 4, (66, 80))


def write_benchmarks(root: Path) -> None:
    """Set5, Set14, B100, Urban100 at x4 as in benchmark.tar."""
    seed = 100
    for folder, names in BENCHMARKS.values():
        for name in names:
            seed += 1
            gt, lq = root / folder / f"HR/{name}.png", root / folder / f"LR_bicubic/X4/{name}x4.png"
            save_sr_pair(gt, lq, seed, 4)
