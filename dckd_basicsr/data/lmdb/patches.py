"""Patches out of an LMDB's memory map: nothing but the patch is copied, and of raw pixels nothing else read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import lmdb
import numpy as np

from ...errors import DatasetError
from ..photos.images import Image
from ..reflect import at_least
from .environments import shared_environment
from .payload import RAW, raw_view
from .reader import REPAIR, check_open, read_meta

__all__ = ["LmdbPatches"]


class LmdbPatches:
    """One database, PNG or raw, read by patches. May be handed to worker processes; each opens it for itself.

    An environment, once open, is shared with BasicSR's readers of the same database in this process.

    Args:
        path: the folder, ``NAME.lmdb``.

    Raises:
        DatasetError: ``meta_info.txt`` is missing or damaged. Others come with the first read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shapes, self.payload = read_meta(path)
        self._env: tuple[int, lmdb.Environment] | None = None

    @contextmanager
    def reading(self) -> Iterator[lmdb.Transaction]:
        """Open a transaction; the arrays of :meth:`view` are valid in its block alone."""
        with self._environment().begin(buffers=True) as transaction:
            yield transaction

    def view(self, transaction: lmdb.Transaction, key: str) -> Image:
        """Return an image, uint8, H x W x 3, BGR: of raw pixels a read-only view of the memory map.

        Raises:
            DatasetError: no such key, damaged, or not of the shape in ``meta_info.txt``.
        """
        try:
            data = transaction.get(key.encode())  # a memoryview
        except lmdb.Error as error:
            raise DatasetError(f"'{self.path}': cannot read key '{key}' ({error}); {REPAIR}") from error
        if data is None:
            raise DatasetError(f"'{self.path}' has no image under key '{key}'; {REPAIR}")
        if self.payload == RAW:
            return raw_view(data, self.shapes[key], f"{self.path}: {key}")
        image: Any = None
        with suppress(cv2.error):
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)  # gray becomes three channels
        if image is None or image.shape[:2] != self.shapes[key][:2]:
            found = "does not decode" if image is None else f"is {image.shape[0]}x{image.shape[1]}"
            height, width = self.shapes[key][:2]
            raise DatasetError(f"'{self.path}': '{key}' {found}, meta_info.txt says {height}x{width}; {REPAIR}")
        pixels: Image = image
        return pixels

    def cut(self, transaction: lmdb.Transaction, key: str, top: int, left: int, out: Image) -> None:
        """Copy the patch at (top, left) of an image into ``out``, uint8, contiguous, h x w x 3.

        An image smaller than the patch is reflected to its size first; the place counts in the reflected image.
        """
        image = self.view(transaction, key)
        height, width = out.shape[:2]
        if image.shape[0] < height or image.shape[1] < width:
            image = at_least(image, max(height, width))
        # As rows of bytes, so that each row of the patch is one copy.
        rows = image.reshape(image.shape[0], -1)
        out.reshape(height, -1)[:] = rows[top : top + height, 3 * left : 3 * (left + width)]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_env": None}

    def _environment(self) -> lmdb.Environment:
        if self._env is None or self._env[0] != os.getpid():
            data = self.path / "data.mdb"
            try:
                env = shared_environment(str(self.path), readonly=True, lock=False, readahead=False)
            except (OSError, lmdb.Error) as error:
                raise DatasetError(f"'{data}' cannot be opened ({error}); if it is damaged, {REPAIR}") from error
            check_open(env, data, len(self.shapes))
            self._env = (os.getpid(), env)
        return self._env[1]
