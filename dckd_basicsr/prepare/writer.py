"""Writing image databases in BasicSR's LMDB layout, whole or not at all.

``NAME.lmdb/`` holds ``data.mdb``, ``lock.mdb``, ``meta_info.txt`` (a line ``key.png (h,w,c) level`` for each image,
which is what BasicSR's datasets read; ``key.raw (h,w,3) 0`` where raw pixels are stored), ``checksums.txt`` (a line
``<sha256 of the stored bytes>  key``) and, in a set of databases, ``pack_id.txt`` (see ``pack_id.py``).
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType

import lmdb

from ..data.lmdb.pack_id import PACK_ID, make_pack_id, refuse_to_split
from ..data.lmdb.payload import RAW, Payload, check_payload
from ..data.photos.keys import check_key
from ..disk import Owner, flush_folder, free_mib
from ..errors import DatasetError
from .unfinished import PARTIAL, REPLACED, clear_leftovers, hidden

__all__ = ["LmdbWriter", "lmdb_writers", "seal"]

_LOG = logging.getLogger("basicsr")

#: What LMDB needs of ``lock.mdb``.
_LOCK_BYTES = 8192

# The databases being written by this process, each with the token of its writer.
_ACTIVE: dict[Path, str] = {}


class LmdbWriter:
    """Write one database; use as a context manager, or several at once through :func:`lmdb_writers`.

    Everything goes to a hidden folder beside the target, ``.NAME.lmdb.partial-<machine>-<pid>-<random>``, renamed on a
    clean exit and removed on any exception. What a killed process of this machine left behind is removed by the next
    writer of the same target; folders of other machines are left alone and named in the log.

    Args:
        path: the target; its name must end in ``.lmdb``, BasicSR insists.
        level: PNG compression level of the images that will be put, for ``meta_info.txt``.
        payload: what they will be put as, for ``meta_info.txt``.
        overwrite: replace an existing database, at the moment of the rename.
        map_size: LMDB's first size limit in bytes; doubled as often as needed.
        commit_bytes: write to disk after this many bytes; the memory needed does not depend on the number of images.

    Raises:
        DatasetError: wrong name, the target exists, or the disk refuses.
    """

    def __init__(
        self,
        path: Path,
        *,
        level: int = 1,
        payload: Payload = "png",
        overwrite: bool = False,
        map_size: int = 64 << 20,
        commit_bytes: int = 32 << 20,
    ) -> None:
        if path.suffix != ".lmdb":
            raise DatasetError(f"database name '{path}' must end in '.lmdb' (BasicSR refuses others); rename it")
        check_payload(payload)
        owner = Owner()
        self.path = path
        self.folder = hidden(path, PARTIAL, owner)
        self.count = 0
        self.pack_id: str | None = None
        self._target = path.absolute()
        self._old = hidden(path, REPLACED, owner)
        self._ending, self._overwrite = (".raw", 0) if payload == RAW else (".png", level), overwrite
        self._map_size, self._commit_bytes = map_size, commit_bytes
        self._pending: list[tuple[bytes, bytes]] = []
        self._pending_bytes = 0
        self._digest = hashlib.sha256()
        self._opened = ExitStack()
        self._finished = self._renaming = False
        if self._target in _ACTIVE:
            raise DatasetError(f"'{path}' is already being written by this process; finish that writer first")
        with self._disk_errors():
            clear_leftovers(path, set(_ACTIVE.values()))
            self._check_target()
            self._made = [parent for parent in path.parents if not parent.exists()]  # innermost first
            _check_parent(path.parent)
            _ACTIVE[self._target] = owner.token
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self.folder.mkdir()
                _reserve_lock(self.folder)
                # Not synced at each commit: a crash loses the hidden folder anyway, and finish() syncs once.
                self._env = self._opened.enter_context(
                    lmdb.open(str(self.folder), map_size=map_size, sync=False, metasync=False)
                )
                self._meta, self._sums = (
                    self._opened.enter_context((self.folder / name).open("w", encoding="ascii", newline="\n"))
                    for name in ("meta_info.txt", "checksums.txt")
                )
            except BaseException:
                self.discard()
                raise

    def put(self, key: str, data: bytes, shape: tuple[int, int, int]) -> None:
        """Add an image: its key, the stored bytes (of ``payload.encode``), and its shape (height, width, channels).

        Raises:
            DatasetError: unusable key, a key put twice (seen at the next commit), or the disk refuses.
        """
        check_key(key)
        height, width, channels = shape
        with self._disk_errors():
            ending, level = self._ending
            lines = (
                f"{key}{ending} ({height},{width},{channels}) {level}\n",
                f"{hashlib.sha256(data).hexdigest()}  {key}\n",
            )
            for file, line in zip((self._meta, self._sums), lines):
                file.write(line)
                self._digest.update(line.encode("ascii"))
        self._pending.append((key.encode("ascii"), data))
        self._pending_bytes += len(data)
        self.count += 1
        if self._pending_bytes >= self._commit_bytes:
            self._commit()

    def finish(self) -> None:
        """Flush everything to disk and close the files, still under the hidden name ``folder``. May be repeated.

        Raises:
            DatasetError: no image was put, or the disk refuses.
        """
        if self._finished:
            return
        if not self.count:
            raise DatasetError(f"'{self.path}': no image was put, and an empty database is of no use; check the source")
        self._commit()
        with self._disk_errors():
            self._env.sync(True)
            for file in (self._meta, self._sums):
                file.flush()
                os.fsync(file.fileno())
            self._opened.close()
            flush_folder(self.folder)
        self._finished = True

    def discard(self) -> None:
        """Close and remove the hidden folder, and what was made to hold it; does nothing after the rename."""
        try:
            with suppress(OSError, lmdb.Error):  # closing writes what is left: on a full disk it fails once more
                self._opened.close()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
            _ACTIVE.pop(self._target, None)
            with suppress(OSError):  # folders made for a database that did not come about; not if anything is in them
                for parent in self._made:
                    parent.rmdir()

    def __enter__(self) -> LmdbWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.finish()
                _publish([self])
        finally:
            self.discard()

    def _commit(self) -> None:
        with self._disk_errors():
            while self._pending:
                try:
                    with self._env.begin(write=True) as transaction:
                        for key, data in self._pending:
                            if not transaction.put(key, data, overwrite=False):
                                raise DatasetError(
                                    f"'{self.path}': key '{key.decode()}' was put twice, and one image would be lost"
                                )
                except lmdb.MapFullError:  # nothing of the batch was kept, so all of it is put again
                    self._map_size *= 2
                    self._env.set_mapsize(self._map_size)
                else:
                    self._pending.clear()
                    self._pending_bytes = 0

    def _write_id(self, pack_id: str) -> None:
        with self._disk_errors():
            with (self.folder / PACK_ID).open("w", encoding="ascii", newline="\n") as file:
                file.write(f"{pack_id}\n")
                file.flush()
                os.fsync(file.fileno())
            flush_folder(self.folder)
        self.pack_id = pack_id

    def _check_target(self) -> None:
        if not (self.path.exists() or self.path.is_symlink()):
            return
        if not self._overwrite:
            raise DatasetError(f"'{self.path}' exists; choose another folder, or replace it with --overwrite")
        if self.path.is_symlink() or not (self.path / "data.mdb").is_file():
            raise DatasetError(f"'{self.path}' is not an LMDB folder, so it is not overwritten; move it away first")

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, lmdb.Error) as error:
            free = free_mib(self.path.parent)  # LMDB calls a full disk an input/output error
            raise DatasetError(
                f"cannot write '{self.path}': {error} ({free} MiB free there); make room or check permissions"
            ) from error


@contextmanager
def lmdb_writers(
    paths: Sequence[Path], *, level: int = 1, payload: Payload = "png", overwrite: bool = False
) -> Iterator[list[LmdbWriter]]:
    """Write several databases that belong together: at the end all of them appear, or none does.

    Those that :func:`seal` has not been called for get one pack id.

    Raises:
        DatasetError: see LmdbWriter; replacing would leave databases of the same set behind; whatever else the block
            raises passes through. Nothing stays behind.
    """
    writers: list[LmdbWriter] = []
    try:
        for path in paths:
            writers.append(LmdbWriter(path, level=level, payload=payload, overwrite=overwrite))
        refuse_to_split(paths)
        yield writers
        seal([writer for writer in writers if writer.pack_id is None])
        refuse_to_split(paths)  # others may have come while we packed
        _publish(writers)
    finally:
        with ExitStack() as discards:  # every one, whatever becomes of another
            for writer in writers:  # the first made the folder they share; the stack ends with it
                discards.callback(writer.discard)


def seal(writers: Sequence[LmdbWriter]) -> None:
    """Finish the databases of a set and give all of them its pack id; one alone has nothing to be paired with.

    Raises:
        DatasetError: see :meth:`LmdbWriter.finish`.
    """
    for writer in writers:
        writer.finish()
    if len(writers) > 1:
        pack_id = make_pack_id(writer._digest.hexdigest() for writer in writers)
        for writer in writers:
            writer._write_id(pack_id)


def _publish(writers: Sequence[LmdbWriter]) -> None:
    """Rename every finished folder to its target; if one cannot be, put all of them back as they were."""
    try:
        for writer in writers:  # all old ones go before the first new one comes: a kill leaves no new beside an old one
            with writer._disk_errors():
                writer._check_target()  # it may have appeared while we packed
                if writer.path.exists():
                    writer.path.rename(writer._old)
        for writer in writers:
            with writer._disk_errors():
                writer._renaming = True
                try:
                    writer.folder.rename(writer.path)
                except OSError:
                    writer._renaming = False  # what is at the target now is somebody else's
                    raise
    except BaseException:
        _take_back(writers)
        raise
    for writer in writers:
        flush_folder(writer.path.parent)
        shutil.rmtree(writer._old, ignore_errors=True)


def _take_back(writers: Sequence[LmdbWriter]) -> None:
    """Undo the renames; how many there were is told from the disk: an interrupt can come between two lines."""
    for writer in writers:
        try:
            if writer._renaming and writer.path.exists() and not writer.folder.exists():
                writer.path.rename(writer.folder)
            if writer._old.exists():
                writer._old.rename(writer.path)
        except OSError as error:
            _LOG.warning(
                "'%s' could not be put back (%s); the database that was there is '%s'", writer.path, error, writer._old
            )


def _reserve_lock(folder: Path) -> None:
    """Give ``lock.mdb`` its bytes: LMDB makes a hole of that size and writes to it through memory, and on a full disk
    that kills the process (SIGBUS) where a write fails."""
    with (folder / "lock.mdb").open("xb") as file:
        file.write(bytes(_LOCK_BYTES))


def _check_parent(folder: Path) -> None:
    """Refuse a file where a folder is to be: the system's own message would blame the disk."""
    first = next(parent for parent in (folder, *folder.parents) if parent.exists() or parent == parent.parent)
    if not first.is_dir():
        raise DatasetError(f"'{first}' is a file, and the databases need a folder; choose another output folder")
