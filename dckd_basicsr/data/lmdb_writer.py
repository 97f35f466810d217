"""Writing image databases in BasicSR's LMDB layout, whole or not at all.

``NAME.lmdb/`` holds ``data.mdb``, ``lock.mdb``, ``meta_info.txt`` (a line ``key.png (h,w,c) level`` for each image,
which is what BasicSR's datasets read; ``key.raw (h,w,3) 0`` where raw pixels are stored) and ``checksums.txt`` (a line
``<sha256 of the stored bytes>  key``).
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import lmdb

from ..errors import DatasetError
from .keys import check_key
from .payload import RAW, Payload, check_payload

__all__ = ["LmdbWriter", "lmdb_writers"]

# Folders being written by this process. A process id alone is not enough: a container gives the same one again.
_ACTIVE: set[Path] = set()


class LmdbWriter:
    """Write one database; use as a context manager, or several at once through :func:`lmdb_writers`.

    Everything goes to a hidden folder beside the target, ``.NAME.lmdb.partial-<pid>``, renamed on a clean exit and
    removed on any exception. What a killed process left behind is removed by the next writer of the same target.

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
        self.path = path
        self.folder = path.with_name(f".{path.name}.partial-{os.getpid()}")
        self.count = 0
        self._old = path.with_name(f".{path.name}.replaced-{os.getpid()}")
        self._ending, self._overwrite = (".raw", 0) if payload == RAW else (".png", level), overwrite
        self._map_size, self._commit_bytes = map_size, commit_bytes
        self._pending: list[tuple[bytes, bytes]] = []
        self._pending_bytes = 0
        self._open = False
        if self.folder in _ACTIVE:
            raise DatasetError(f"'{path}' is already being written by this process; finish that writer first")
        with self._disk_errors():
            _clean_up_after_dead(path)
            self._check_target()
        with self._disk_errors():
            self._made = [parent for parent in path.parents if not parent.exists()]  # innermost first
            _check_parent(path.parent)
            path.parent.mkdir(parents=True, exist_ok=True)
            self.folder.mkdir()
            _ACTIVE.add(self.folder)
            try:
                # Not synced at each commit: a crash loses the hidden folder anyway, and finish() syncs once.
                self._env = lmdb.open(str(self.folder), map_size=map_size, sync=False, metasync=False)
                self._meta = (self.folder / "meta_info.txt").open("w", encoding="ascii", newline="\n")
                self._sums = (self.folder / "checksums.txt").open("w", encoding="ascii", newline="\n")
                self._open = True
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
            self._meta.write(f"{key}{ending} ({height},{width},{channels}) {level}\n")
            self._sums.write(f"{hashlib.sha256(data).hexdigest()}  {key}\n")
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
        if not self._open:
            return
        if not self.count:
            raise DatasetError(f"'{self.path}': no image was put, and an empty database is of no use; check the source")
        self._commit()
        with self._disk_errors():
            self._env.sync(True)
            for file in (self._meta, self._sums):
                file.flush()
                os.fsync(file.fileno())
            self._close()
            _sync_folder(self.folder)

    def discard(self) -> None:
        """Close and remove the hidden folder, and what was made to hold it; does nothing after the rename."""
        if self._open:
            self._close()
        shutil.rmtree(self.folder, ignore_errors=True)
        _ACTIVE.discard(self.folder)
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

    def _close(self) -> None:
        self._open = False
        self._env.close()
        self._meta.close()
        self._sums.close()

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
            raise DatasetError(f"cannot write '{self.path}': {error}; check free space and permissions") from error


@contextmanager
def lmdb_writers(
    paths: Sequence[Path], *, level: int = 1, payload: Payload = "png", overwrite: bool = False
) -> Iterator[list[LmdbWriter]]:
    """Write several databases that belong together: at the end all of them appear, or none does.

    Raises:
        DatasetError: see LmdbWriter; whatever else the block raises passes through, and nothing stays behind.
    """
    writers: list[LmdbWriter] = []
    try:
        for path in paths:
            writers.append(LmdbWriter(path, level=level, payload=payload, overwrite=overwrite))
        yield writers
        for writer in writers:
            writer.finish()
        _publish(writers)
    finally:
        for writer in reversed(writers):  # the first made the folder they share, so it goes last
            writer.discard()


def _publish(writers: Sequence[LmdbWriter]) -> None:
    """Rename every finished folder to its target; if one cannot be, put all of them back as they were."""
    try:
        for writer in writers:
            with writer._disk_errors():
                writer._check_target()  # it may have appeared while we packed
                if writer.path.exists():
                    writer.path.rename(writer._old)
                writer.folder.rename(writer.path)
    except BaseException:
        for writer in writers:  # told from the disk, not from memory: an interrupt can come between two lines
            if writer.path.exists() and not writer.folder.exists():
                writer.path.rename(writer.folder)
            if writer._old.exists():
                writer._old.rename(writer.path)
        raise
    for writer in writers:
        _sync_folder(writer.path.parent)
        shutil.rmtree(writer._old, ignore_errors=True)


def _clean_up_after_dead(path: Path) -> None:
    """Remove what killed writers of ``path`` left, and bring a database back that one was just replacing."""
    if not path.parent.is_dir():
        return
    for folder in path.parent.iterdir():
        for kind in ("partial", "replaced"):
            pid = folder.name.removeprefix(f".{path.name}.{kind}-")
            if not pid.isdecimal() or folder in _ACTIVE or _alive(int(pid)):
                continue
            if kind == "replaced" and not path.exists():
                folder.rename(path)
            else:
                shutil.rmtree(folder, ignore_errors=True)


def _check_parent(folder: Path) -> None:
    """Refuse a file where a folder is to be: the system's own message would blame the disk."""
    first = next(parent for parent in (folder, *folder.parents) if parent.exists() or parent == parent.parent)
    if not first.is_dir():
        raise DatasetError(f"'{first}' is a file, and the databases need a folder; choose another output folder")


def _alive(pid: int) -> bool:
    if pid == os.getpid():
        return False  # ours, but not active: an earlier process had the same number
    try:
        os.kill(pid, 0)  # signal 0 only asks
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's process
    return True


def _sync_folder(folder: Path) -> None:
    """Flush a folder's entries: a rename survives a power cut only once they are on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
