"""Packing on disks that fill up, that cannot flush folders, and that other machines write to as well."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dckd_basicsr.data.lmdb.reader import LmdbImages
from dckd_basicsr.disk import Owner
from dckd_basicsr.errors import DatasetError
from dckd_basicsr.prepare.writer import LmdbWriter, lmdb_writers
from dckd_basicsr.weight_files import atomic_write, save_state


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def content(path: Path) -> bytes:
    with LmdbImages(path) as images:
        return images.get("k")


def write(paths: list[Path], data: bytes) -> None:
    with lmdb_writers(paths, overwrite=True) as writers:
        for writer in writers:
            writer.put("k", data, (1, 1, 3))


def dead_pid() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


# --- a full disk

_FULL = """
import resource, sys
from pathlib import Path
from dckd_basicsr.prepare.writer import LmdbWriter, lmdb_writers
from dckd_basicsr.disk import Owner
from dckd_basicsr.errors import DatasetError
out, kind, limit = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
# Long keys fill the text files, large images data.mdb.
name, size = ("x" * 480, 1) if kind == "text" else ("x", 30_000)

def fill(writers):
    for i in range(200):
        for writer in writers:
            writer.put(f"k{i:03d}{name}", bytes(size), (1, 1, 3))

try:
    with lmdb_writers([out / "GT.lmdb", out / "LQ.lmdb"]) as writers:
        fill(writers)
except DatasetError as error:
    print("said", error)
try:
    with LmdbWriter(out / "one.lmdb") as writer:
        fill([writer])
except DatasetError as error:
    print("said", error)
"""


@pytest.mark.parametrize(
    ("kind", "limit"),
    [("text", 60_000), ("data", 1_000_000), ("lock file", 8191), ("first page", 8192)],
)
def test_a_disk_that_takes_no_more_is_one_error_and_nothing_stays(tmp_path: Path, kind: str, limit: int) -> None:
    """A limit on the size of files fails writes as a full disk does, and closing a file, which writes once more."""
    out = tmp_path / "made" / "out"
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(out), kind, str(limit)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    group, single = done.stdout.splitlines()
    for line, name in ((group, "(GT|LQ)"), (single, "one")):
        assert re.fullmatch(
            rf"said cannot write '{re.escape(str(out))}/{name}\.lmdb': .* \(\d+ MiB free there\); make room .*", line
        )
    assert names(tmp_path) == []  # not even the folders that were made


def test_a_full_disk_while_replacing_leaves_the_old_databases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / "GT.lmdb", tmp_path / "LQ.lmdb"]
    write(paths, b"old")
    fsync = os.fsync

    def full(descriptor: int) -> None:
        if os.fstat(descriptor).st_size == 65:  # pack_id.txt, the last file of all
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DatasetError, match=r"cannot write '.*GT\.lmdb': .*No space left on device"):
        write(paths, b"new")
    assert names(tmp_path) == ["GT.lmdb", "LQ.lmdb"]
    assert [content(path) for path in paths] == [b"old", b"old"]


# --- a disk that cannot flush folders


def test_a_file_system_that_cannot_flush_folders_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As some SMB and FUSE mounts answer."""
    fsync, refused = os.fsync, []

    def picky(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            refused.append(descriptor)
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", picky)
    paths = [tmp_path / "GT.lmdb", tmp_path / "LQ.lmdb"]
    write(paths, b"old")
    write(paths, b"new")
    assert [content(path) for path in paths] == [b"new", b"new"]
    with LmdbWriter(tmp_path / "one.lmdb") as writer:
        writer.put("k", b"x", (1, 1, 3))
    save_state({}, tmp_path / "a.pth")
    assert names(tmp_path) == ["GT.lmdb", "LQ.lmdb", "a.pth", "one.lmdb"]
    assert len(refused) > 3


# --- several processes, several machines, one target


def test_leftovers_of_dead_processes_are_cleared_live_ones_kept(tmp_path: Path) -> None:
    dead, alive = Owner(pid=dead_pid()), Owner(pid=os.getppid())
    mine = tmp_path / "x.lmdb"
    write([mine], b"old")
    mine.rename(tmp_path / f".x.lmdb.replaced-{dead}")  # killed between the two renames of an overwrite
    (tmp_path / f".x.lmdb.partial-{dead}").mkdir()
    (tmp_path / f".x.lmdb.partial-{alive}").mkdir()
    (tmp_path / f".x.lmdb.partial-{Owner()}").mkdir()  # an earlier process with our number
    (tmp_path / f".y.lmdb.partial-{dead}").mkdir()
    with pytest.raises(DatasetError, match="exists"):
        LmdbWriter(mine)
    assert names(tmp_path) == sorted(["x.lmdb", f".x.lmdb.partial-{alive}", f".y.lmdb.partial-{dead}"])
    assert content(mine) == b"old"


_OTHER = """
import os, socket, sys
from pathlib import Path
os.getpid = lambda: int(sys.argv[2])  # containers count from 1, each for itself
socket.gethostname = lambda: "other"
from dckd_basicsr.prepare.writer import LmdbWriter
with LmdbWriter(Path(sys.argv[1]), commit_bytes=1) as writer:
    writer.put("k", b"theirs", (1, 1, 3))
    print("writing", flush=True)
    if len(sys.argv) > 3:
        input()
"""


def test_two_machines_leave_each_others_folders_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another machine, with our process number, packs the same target and is done first."""
    path = tmp_path / "x.lmdb"
    command = [sys.executable, "-c", _OTHER, str(path), str(os.getpid())]

    def ours() -> None:
        with LmdbWriter(path, commit_bytes=1) as writer:
            writer.put("k", b"ours", (1, 1, 3))
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            assert writer.folder.is_dir()
            assert str(writer.folder) in done.stderr  # named
            assert content(path) == b"theirs"

    with pytest.raises(DatasetError, match=r"x\.lmdb' exists"):
        ours()
    assert names(tmp_path) == ["x.lmdb"]
    assert content(path) == b"theirs"

    command += ["killed"]
    path = tmp_path / "y.lmdb"
    other = subprocess.Popen([*command[:3], str(path), *command[4:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdout.readline() == b"writing\n"
    (theirs,) = tmp_path.glob(".y.lmdb.partial-other-*")
    other.kill()  # nobody here can know
    other.communicate()
    with LmdbWriter(path) as writer:
        writer.put("k", b"ours", (1, 1, 3))
    assert names(tmp_path) == sorted([theirs.name, "x.lmdb", "y.lmdb"])
    assert content(path) == b"ours"
    assert f"'{theirs}' belongs to a packing by another machine" in caplog.text


def test_what_another_machine_was_replacing_is_named_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write([tmp_path / "x.lmdb"], b"old")
    kept = tmp_path / ".x.lmdb.replaced-other-01234567-12-89abcdef"
    (tmp_path / "x.lmdb").rename(kept)
    (tmp_path / ".x.lmdb.partial-77").mkdir()  # as older versions named them
    write([tmp_path / "x.lmdb"], b"new")
    assert names(tmp_path) == sorted([kept.name, ".x.lmdb.partial-77", "x.lmdb"])
    assert f"'{kept}' belongs to" in caplog.text
    assert "rename it to 'x.lmdb' to have the old database back" in caplog.text
    assert content(kept) == b"old"


@pytest.mark.parametrize("cleared", [False, True])
def test_a_database_that_appeared_meanwhile_is_not_taken_for_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cleared: bool
) -> None:
    """Another machine's rename comes just before ours, or somebody even cleared our hidden folder: theirs stays."""
    path = tmp_path / "x.lmdb"
    write([tmp_path / "theirs.lmdb"], b"theirs")
    rename = Path.rename

    def beaten(self: Path, target: Path) -> Path:
        if ".partial-" in self.name:
            rename(tmp_path / "theirs.lmdb", path)
            if cleared:
                shutil.rmtree(self)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", beaten)
    with pytest.raises(DatasetError, match=r"cannot write '.*x\.lmdb'"):
        write([path], b"ours")
    assert names(tmp_path) == ["x.lmdb"]
    assert content(path) == b"theirs"


def test_processes_of_one_number_do_not_share_a_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.json"
    monkeypatch.setattr(os, "getpid", lambda: 1)

    def slow(temporary: Path) -> None:
        temporary.write_text("ours")
        atomic_write(path, lambda other: other.write_text("theirs"))  # another container, meanwhile
        assert path.read_text() == "theirs"
        assert temporary.read_text() == "ours"

    atomic_write(path, slow)
    assert path.read_text() == "ours"
    assert names(tmp_path) == ["w.json"]
