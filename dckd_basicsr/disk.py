"""What whoever writes files has to know about disks: names that nobody else takes, flushing a folder, locks."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import socket
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Owner", "clear_temporary", "flush_folder", "free_mib", "locked", "temporary_folder", "temporary_in"]

_TEMPORARY = ".dckd.tmp-"
_GIVEN: set[str] = set()
"""The tokens of this process's own temporary names."""
_OWNER = re.compile(r"(.*)-([0-9a-f]{8})-([0-9]{1,10})-([0-9a-f]{8})")


@dataclass(frozen=True)
class Owner:
    """Who writes something that is not finished yet; ``str()`` goes into its name, so that nobody else takes it.

    A process number alone is not enough: containers and machines that share a folder give the same ones.

    Attributes:
        host: the machine's name as far as it fits a file name; for people.
        system: eight hex digits for what process numbers count in: this machine since it was started, and the
            container in it. Two that are equal can see whether the other's process is alive.
        pid: the process.
        token: eight random hex digits.
    """

    host: str = field(default_factory=lambda: re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname())[:32])
    system: str = field(default_factory=lambda: _system())
    pid: int = field(default_factory=os.getpid)
    token: str = field(default_factory=lambda: secrets.token_hex(4))

    @classmethod
    def parse(cls, text: str) -> Owner | None:
        """Return the owner that ``str()`` wrote, or None for any other text."""
        match = _OWNER.fullmatch(text)
        return None if match is None else cls(match[1], match[2], int(match[3]), match[4])

    def __str__(self) -> str:
        return f"{self.host}-{self.system}-{self.pid}-{self.token}"

    def is_near(self) -> bool:
        """Tell whether this process can see if the owner's process is alive."""
        return self.system == _system()

    def is_alive(self) -> bool:
        """Tell whether the owner's process number is in use; call it if :meth:`is_near` alone."""
        if os.name == "nt":
            return True  # where asking in this way would send it a Ctrl-C
        try:
            os.kill(self.pid, 0)  # signal 0 only asks
        except (ProcessLookupError, OverflowError):
            return False
        except OSError:
            return True  # somebody else's process
        return True


def temporary_in(folder: Path) -> Path:
    """Return a path in ``folder`` that nobody else uses, for what is moved to its place once it is whole.

    The name says nothing of the target: one that is as long as names may be leaves no room for more.
    """
    owner = Owner()
    _GIVEN.add(owner.token)
    # Without dots behind the prefix: up to the last one a name becomes part of what torch.save writes.
    return folder / f"{_TEMPORARY}{str(owner).replace('.', '_')}"


def clear_temporary(folder: Path) -> None:
    """Remove what writers that were killed left in a folder under names of :func:`temporary_in`.

    Only processes of this machine and container are known to be dead; what others left, or are writing, stays.
    """
    with contextlib.suppress(OSError):
        for path in folder.glob(f"{_TEMPORARY}*"):
            owner = Owner.parse(path.name.removeprefix(_TEMPORARY))
            if owner is None or not owner.is_near():
                continue
            # With our number but none of our tokens: an earlier process that had the same number.
            if owner.token in _GIVEN if owner.pid == os.getpid() else owner.is_alive():
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Make a folder in ``parent`` that goes at the end, with all that is left in it; :func:`clear_temporary` before.

    Raises:
        OSError: it cannot be made.
    """
    clear_temporary(parent)
    folder = temporary_in(parent)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def flush_folder(folder: Path) -> None:
    """Flush a folder's entries: a rename survives a power cut only once they are on disk.

    Some file systems cannot (EINVAL on some SMB and FUSE mounts) and need no error for it: what was renamed is there.
    """
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def free_mib(folder: Path) -> int:
    """Return a folder's free space in MiB; 0 if it cannot be told."""
    with contextlib.suppress(OSError):
        return shutil.disk_usage(folder).free >> 20 if folder.is_dir() else 0
    return 0


@contextlib.contextmanager
def locked(file: Path) -> Iterator[int | None]:
    """Keep other processes from what a file, which need not be there, stands for.

    Yields:
        The file's number, None on Windows, where there is no such lock. A process that is started with it
        (``pass_fds``) holds the lock for as long as it lives, should this one be killed.

    Raises:
        BlockingIOError: another process holds the lock.
        OSError: the file system has no locks.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield None
        return
    with file.open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield lock.fileno()


def _system() -> str:
    # The kernel's number of this start and the numbers of the container, where there are any; else the network card.
    parts = [socket.gethostname()]
    try:
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text(), str(Path("/proc/self/ns/pid").readlink())]
    except OSError:
        parts.append(str(uuid.getnode()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
