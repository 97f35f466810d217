"""Reading image databases in BasicSR's LMDB layout, with errors that say which key of which database."""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import lmdb

from ...errors import DatasetError
from ..photos.images import Image
from .pages import page_problem
from .payload import RAW, Payload, Shape, decode

__all__ = ["LmdbImages", "MetaInfo", "check_open", "read_checksums", "read_meta", "read_meta_info"]

REPAIR = "pack it again with `basicsr prepare`"

# Read as BasicSR reads it: the key ends at the first dot.
_META_LINE = re.compile(r"([^.]+)\.(\S*) \(([0-9]{1,9}),([0-9]{1,9}),([0-9]{1,9})\)")
_SUM_LINE = re.compile(r"([0-9a-f]{64})  (\S+)")


class MetaInfo(NamedTuple):
    """``meta_info.txt``: the shape (height, width, channels) of each image by key, in its order, and what is stored."""

    shapes: dict[str, Shape]
    payload: Payload


def read_meta_info(folder: Path) -> dict[str, Shape]:
    """Return the shapes alone, see :func:`read_meta`."""
    return read_meta(folder).shapes


def read_meta(folder: Path) -> MetaInfo:
    """Read ``meta_info.txt``; a name that ends in ``.raw`` stands for raw pixels, any other for an image file.

    Raises:
        DatasetError: the folder or file is missing, empty, mixes the two, or has a line that is not
            ``key.png (h,w,c) level``.
    """
    shapes: dict[str, Shape] = {}
    endings: set[bool] = set()
    for number, line in enumerate(_lines(folder, "meta_info.txt"), start=1):
        match = _META_LINE.match(line)
        if match is None:
            raise DatasetError(
                f"'{folder / 'meta_info.txt'}' line {number} is {line[:60]!r}, "
                f"`key.png (h,w,c) level` was expected; {REPAIR}"
            )
        if match[1] in shapes:
            raise DatasetError(
                f"'{folder / 'meta_info.txt'}' line {number}: key '{match[1]}' is listed twice; {REPAIR}"
            )
        shapes[match[1]] = (int(match[3]), int(match[4]), int(match[5]))
        endings.add(match[2] == RAW)
    if not shapes:
        raise DatasetError(f"'{folder / 'meta_info.txt'}' lists no images; {REPAIR}")
    if len(endings) > 1:
        raise DatasetError(f"'{folder / 'meta_info.txt'}' lists raw pixels beside image files; {REPAIR}")
    return MetaInfo(shapes, RAW if True in endings else "png")


def read_checksums(folder: Path) -> dict[str, str] | None:
    """Return the SHA-256 (hex) of each image's stored bytes by key, or None if there is no ``checksums.txt``.

    Raises:
        DatasetError: a line is not ``<sha256 hex>  key``.
    """
    if not (folder / "checksums.txt").is_file():
        return None
    sums: dict[str, str] = {}
    for number, line in enumerate(_lines(folder, "checksums.txt"), start=1):
        match = _SUM_LINE.fullmatch(line)
        if match is None:
            raise DatasetError(f"'{folder / 'checksums.txt'}' line {number} is damaged; {REPAIR}")
        sums[match[2]] = match[1]
    return sums


class LmdbImages:
    """The images of one database, read-only. May be handed to worker processes; each opens the database for itself.

    It is held open from the first read to ``close()`` or the end of the ``with`` block. LMDB lets a process hold a
    database open once only: close this before BasicSR's own reader opens the same one in the same process.

    Args:
        path: the folder, ``NAME.lmdb``.

    Raises:
        DatasetError: a file is missing, ``data.mdb`` is cut short or damaged, or its number of images is not that of
            ``meta_info.txt``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shapes, self.payload = read_meta(path)
        self._env: tuple[int, lmdb.Environment] | None = None
        self._open().close()  # only to check it; held open from the first read on

    @property
    def keys(self) -> list[str]:
        """The keys, in the order of ``meta_info.txt``."""
        return list(self.shapes)

    def get(self, key: str) -> bytes:
        """Return the stored bytes of an image: a PNG file, or raw pixels. Raises DatasetError if the key is missing."""
        try:
            with self._environment().begin() as transaction:
                data: bytes | None = transaction.get(key.encode())
        except lmdb.Error as error:
            raise DatasetError(f"'{self.path}': cannot read key '{key}' ({error}); {REPAIR}") from error
        if data is None:
            raise DatasetError(f"'{self.path}' has no image under key '{key}'; {REPAIR}")
        return data

    def image(self, key: str) -> Image:
        """Return an image as uint8, H x W x 3, BGR. Raises DatasetError if it is missing or damaged."""
        data, name = self.get(key), f"{self.path}: {key}"
        return decode(data, self.payload, self.shapes[key], name)

    def close(self) -> None:
        """Close the database; the next read opens it again."""
        if self._env is not None:
            self._env[1].close()
        self._env = None

    def __len__(self) -> int:
        return len(self.shapes)

    def __enter__(self) -> LmdbImages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_env": None}

    def _environment(self) -> lmdb.Environment:
        # An LMDB environment must not be used across a fork, so it is remembered together with its process.
        if self._env is None or self._env[0] != os.getpid():
            self.close()
            self._env = (os.getpid(), self._open())
        return self._env[1]

    def _open(self) -> lmdb.Environment:
        data = self.path / "data.mdb"
        if not data.is_file():
            raise DatasetError(f"'{data}' is missing; {REPAIR}")
        if data.stat().st_size == 0:
            raise DatasetError(f"'{data}' is empty; copy it again or {REPAIR}")
        try:
            env = lmdb.open(str(self.path), readonly=True, lock=False, readahead=False)
        except (OSError, lmdb.Error) as error:
            raise DatasetError(f"'{data}' cannot be opened ({error}); if it is damaged, {REPAIR}") from error
        try:
            check_open(env, data, len(self.shapes))
        except DatasetError:
            env.close()
            raise
        return env


def check_open(env: lmdb.Environment, data: Path, images: int) -> None:
    """Raise DatasetError if the opened ``data.mdb`` is cut short or does not hold so many images."""
    stat, size = env.stat(), data.stat().st_size
    expected = (env.info()["last_pgno"] + 1) * stat["psize"]
    if size < expected:  # reading past the end of the mapped file would kill the process (SIGBUS)
        raise DatasetError(f"'{data}' is cut short: {size} of {expected} bytes; copy it again or {REPAIR}")
    if stat["entries"] != images:
        raise DatasetError(f"'{data}' holds {stat['entries']} images but meta_info.txt lists {images}; {REPAIR}")
    if wrong := page_problem(data):  # following a damaged page would kill the process as well
        raise DatasetError(f"'{data}' is damaged ({wrong}); copy it again or {REPAIR}")


def _lines(folder: Path, name: str) -> list[str]:
    if not os.path.isdir(folder):  # noqa: PTH112 (Path.is_dir raises on a name longer than names can be)
        raise DatasetError(f"database '{folder}' does not exist or is not a folder; check the path, or {REPAIR}")
    try:
        return (folder / name).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DatasetError(f"'{folder / name}' does not exist; {REPAIR}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"'{folder / name}' cannot be read ({error}); {REPAIR}") from error
