"""Databases on disk: written whole or not at all, read by BasicSR, and every damage found."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import pytest

from dckd_basicsr.cli import main
from dckd_basicsr.data.lmdb.reader import LmdbImages
from dckd_basicsr.data.photos.images import Image, encode_png
from dckd_basicsr.errors import DatasetError
from dckd_basicsr.prepare.verify import verify_lmdb, verify_pair
from dckd_basicsr.prepare.writer import LmdbWriter, lmdb_writers

KEYS = ["b", "a/2", "a/10"]


def noise(seed: int, height: int = 24, width: int = 32) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def pack(path: Path, keys: list[str] = KEYS, divide: int = 1) -> Path:
    with LmdbWriter(path) as writer:
        for seed, key in enumerate(keys):
            image = noise(seed)[::divide, ::divide]
            height, width, channels = image.shape
            writer.put(key, encode_png(image), (height, width, channels))
    return path


def pack_group(
    paths: list[Path], key: str, *, overwrite: bool = False, before_the_end: Callable[[], None] | None = None
) -> None:
    with lmdb_writers(paths, overwrite=overwrite) as writers:
        for writer in writers:
            writer.put(key, encode_png(noise(0)), (24, 32, 3))
        if before_the_end:
            before_the_end()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return pack(tmp_path / "GT.lmdb"), pack(tmp_path / "LQ.lmdb", divide=4)


# --- the format


def test_layout_is_basicsrs_plus_checksums(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.lmdb")
    assert names(tmp_path) == ["x.lmdb"]
    assert names(path) == ["checksums.txt", "data.mdb", "lock.mdb", "meta_info.txt"]
    assert (path / "meta_info.txt").read_text() == "b.png (24,32,3) 1\na/2.png (24,32,3) 1\na/10.png (24,32,3) 1\n"
    stored = encode_png(noise(0))
    assert (path / "checksums.txt").read_text().startswith(f"{hashlib.sha256(stored).hexdigest()}  b\n")
    with LmdbImages(path) as images:
        assert images.keys == KEYS
        assert images.shapes["a/2"] == (24, 32, 3)
        assert images.get("b") == stored
        np.testing.assert_array_equal(images.image("a/10"), noise(2))
        with pytest.raises(DatasetError, match=r"x\.lmdb.*'c'.*basicsr prepare"):
            images.get("c")


def test_basicsrs_own_dataset_reads_it(pair: tuple[Path, Path]) -> None:
    import dckd_basicsr  # noqa: F401  (makes `import basicsr` work)

    dataset_module = pytest.importorskip("basicsr.data.paired_image_dataset")
    gt, lq = pair
    options = {"dataroot_gt": str(gt), "dataroot_lq": str(lq), "io_backend": {"type": "lmdb"}, "scale": 4}
    dataset = dataset_module.PairedImageDataset({**options, "phase": "val"})
    assert len(dataset) == 3
    samples = {sample["gt_path"]: sample for sample in (dataset[i] for i in range(3))}
    assert sorted(samples) == sorted(KEYS)
    for seed, key in enumerate(KEYS):
        for side, image in (("gt", noise(seed)), ("lq", noise(seed)[::4, ::4])):
            rgb = np.rint(samples[key][side].numpy().transpose(1, 2, 0) * 255)
            np.testing.assert_array_equal(rgb, image[:, :, ::-1])


def test_map_grows_and_nothing_is_lost(tmp_path: Path) -> None:
    blobs = {f"k{i}": np.random.default_rng(i).bytes(50_000) for i in range(40)}
    with LmdbWriter(tmp_path / "x.lmdb", map_size=1 << 14, commit_bytes=120_000) as writer:
        for key, blob in blobs.items():
            writer.put(key, blob, (1, 1, 3))
            assert writer._pending_bytes < 120_000  # memory does not grow with the number of images
        assert writer._map_size >= 2_000_000
    with LmdbImages(tmp_path / "x.lmdb") as images:
        assert images.keys == list(blobs)
        assert all(images.get(key) == blob for key, blob in blobs.items())


_kept: list[LmdbImages] = []


def _keep(images: LmdbImages) -> None:
    _kept.append(images)


def _read_kept() -> bytes:
    return _kept[-1].get("b")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_reader_serves_worker_processes_while_open(tmp_path: Path, method: str) -> None:
    with LmdbImages(pack(tmp_path / "x.lmdb")) as images:
        here = images.get("b")
        with multiprocessing.get_context(method).Pool(1, _keep, [images]) as pool:
            assert pool.apply(_read_kept) == here
        assert images.get("b") == here


# --- whole or not at all


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_exception_midway_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def interrupted() -> None:
        with LmdbWriter(tmp_path / "x.lmdb", commit_bytes=1) as writer:
            writer.put("a", encode_png(noise(0)), (24, 32, 3))
            (partial,) = names(tmp_path)
            assert re.fullmatch(rf"\.x\.lmdb\.partial-.*-{os.getpid()}-[0-9a-f]{{8}}", partial)
            raise error

    with pytest.raises(error):
        interrupted()
    assert names(tmp_path) == []


_CHILD = """
import sys, time
from pathlib import Path
from dckd_basicsr.prepare.writer import LmdbWriter
from dckd_basicsr.prepare.parallel import ordered_map
with LmdbWriter(Path(sys.argv[1]), commit_bytes=1) as writer:
    for i, _ in enumerate(ordered_map(time.sleep, [0.01] * 100000, workers=2)):
        writer.put(f"k{i}", b"x" * 1000, (1, 1, 3))
        print(i, flush=True)
"""


def _session_members(session: int) -> list[str]:
    """The live processes of a session, by name (Linux)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, fields = stat.read_text().rsplit(")", 1)
        except OSError:
            continue
        if int(fields.split()[3]) == session and fields.split()[0] != "Z":
            found.append(name)
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_or_interrupted_process_leaves_no_database_and_no_workers(
    tmp_path: Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-c", _CHILD, str(tmp_path / "x.lmdb")]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) == 20:
            break
    assert len(_session_members(child.pid)) >= 3  # itself and two workers at least
    if number == signal.SIGINT:
        os.killpg(child.pid, number)  # what a terminal's Ctrl-C does: the workers get it too
    else:
        child.kill()
    child.stdout.close()
    assert child.wait(30) != 0
    deadline = time.monotonic() + 20
    while _session_members(child.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _session_members(child.pid) == []
    assert not list(tmp_path.glob("*.lmdb"))
    assert len(names(tmp_path)) == (1 if number == signal.SIGKILL else 0)
    pack(tmp_path / "x.lmdb")  # the next run clears what a kill -9 left
    assert names(tmp_path) == ["x.lmdb"]
    verify_lmdb(tmp_path / "x.lmdb")


def test_databases_of_a_group_appear_together(tmp_path: Path) -> None:
    paths = [tmp_path / "a.lmdb", tmp_path / "b.lmdb"]
    with pytest.raises(DatasetError, match=r"b\.lmdb' exists"):
        # Someone else takes the second name meanwhile.
        pack_group(paths, "k", before_the_end=(tmp_path / "b.lmdb").mkdir)
    assert names(tmp_path) == ["b.lmdb"]
    assert names(tmp_path / "b.lmdb") == []


def test_failed_group_brings_replaced_databases_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [pack(tmp_path / "a.lmdb", ["old"]), pack(tmp_path / "b.lmdb", ["old"])]
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name.startswith(".b.lmdb.partial") and Path(target).name == "b.lmdb":
            raise OSError("disk on fire")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(DatasetError, match="disk on fire"):
        pack_group(paths, "new", overwrite=True)
    assert names(tmp_path) == ["a.lmdb", "b.lmdb"]
    for path in paths:
        with LmdbImages(path) as images:
            assert images.keys == ["old"]


def test_overwrite_only_when_asked_and_only_at_the_end(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.lmdb", ["old"])
    with pytest.raises(DatasetError, match=r"x\.lmdb' exists.*--overwrite"):
        LmdbWriter(path)
    with LmdbWriter(path, overwrite=True) as writer:
        writer.put("new", encode_png(noise(0)), (24, 32, 3))
        with LmdbImages(path) as images:
            assert images.keys == ["old"]
    with LmdbImages(path) as images:
        assert images.keys == ["new"]
    assert names(tmp_path) == ["x.lmdb"]


def test_a_folder_that_is_no_database_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "x.lmdb").mkdir()
    (tmp_path / "x.lmdb" / "thesis.txt").touch()
    with pytest.raises(DatasetError, match="not an LMDB"):
        LmdbWriter(tmp_path / "x.lmdb", overwrite=True)
    assert names(tmp_path / "x.lmdb") == ["thesis.txt"]


def test_unusable_puts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="'a' was put twice"):
        pack(tmp_path / "x.lmdb", ["a", "b", "a"])
    with pytest.raises(DatasetError, match=r"a\.b"):
        pack(tmp_path / "x.lmdb", ["a.b"])
    with pytest.raises(DatasetError, match="no image"):
        pack(tmp_path / "x.lmdb", [])
    with pytest.raises(DatasetError, match=r"end in '\.lmdb'"):
        LmdbWriter(tmp_path / "x")
    with LmdbWriter(tmp_path / "x.lmdb") as writer:
        writer.put("a", b"1", (1, 1, 3))
        with pytest.raises(DatasetError, match="already being written"):
            LmdbWriter(tmp_path / "x.lmdb")


# --- damage is found


def _flip_byte(gt: Path) -> None:
    data = bytearray((gt / "data.mdb").read_bytes())
    start = data.find(encode_png(noise(1)))
    data[start + 500] ^= 1
    (gt / "data.mdb").write_bytes(data)


def _flip_byte_without_checksums(gt: Path) -> None:
    _flip_byte(gt)
    (gt / "checksums.txt").unlink()


def _exchange(gt: Path, remove: str, add: str | None) -> None:
    with lmdb.open(str(gt)) as env, env.begin(write=True) as transaction:
        assert transaction.delete(remove.encode())
        if add:
            transaction.put(add.encode(), b"?")


def _truncate(gt: Path) -> None:
    with (gt / "data.mdb").open("rb+") as file:
        file.truncate((gt / "data.mdb").stat().st_size - 4096)


def _wrong_shape(gt: Path) -> None:
    text = (gt / "meta_info.txt").read_text().replace("a/2.png (24,32,3)", "a/2.png (32,24,3)")
    (gt / "meta_info.txt").write_text(text)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped byte": (_flip_byte, "'a/2' differs from its checksum"),
    "flipped byte, no checksums": (_flip_byte_without_checksums, "'a/2' is damaged"),
    "missing key": (lambda gt: _exchange(gt, "a/2", None), "holds 2 images but meta_info.txt lists 3"),
    "key exchanged": (lambda gt: _exchange(gt, "a/2", "zz"), "no image under key 'a/2'"),
    "truncated": (_truncate, "cut short"),
    "emptied": (lambda gt: (gt / "data.mdb").write_bytes(b""), "is empty"),
    "data gone": (lambda gt: (gt / "data.mdb").unlink(), "data.mdb' is missing"),
    "meta gone": (lambda gt: (gt / "meta_info.txt").unlink(), "meta_info.txt' does not exist"),
    "meta damaged": (lambda gt: (gt / "meta_info.txt").write_text("b.png\n"), "line 1 is 'b.png'"),
    "shape": (_wrong_shape, "'a/2' is 24x32, meta_info.txt says 32x24"),
    "folder gone": (shutil.rmtree, "does not exist"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_verify_finds_damage(tmp_path: Path, kind: str) -> None:
    path = pack(tmp_path / "x.lmdb")
    assert verify_lmdb(path).images == 3
    damage, message = DAMAGE[kind]
    damage(path)
    with pytest.raises(DatasetError) as caught:
        verify_lmdb(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "basicsr prepare" in str(caught.value)


def test_verify_pair(pair: tuple[Path, Path], tmp_path: Path) -> None:
    report = verify_pair(*pair, scale=4)
    assert (report.gt.images, report.lq.images, report.scale, report.gt.checksums) == (3, 3, 4, True)
    assert report.gt.bytes == sum(len(encode_png(noise(seed))) for seed in range(3))
    with pytest.raises(DatasetError, match=r"'b' is 24x32 in .*GT\.lmdb' and 6x8 in .*LQ\.lmdb', not 2 times"):
        verify_pair(*pair, scale=2)
    other = pack(tmp_path / "other.lmdb", ["b", "c"])
    with pytest.raises(DatasetError, match=r"2 only in 'GT\.lmdb' \(a/10, a/2\); 1 only in 'other\.lmdb' \(c\)"):
        verify_pair(pair[0], other, scale=1)


def test_verify_accepts_a_test_set_with_a_remainder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As BasicSR packs one, and as validation reads it."""
    for name, height, width in (("GT", 50, 62), ("LQ", 16, 20)):
        with LmdbWriter(tmp_path / f"{name}.lmdb") as writer:
            writer.put("baboon", encode_png(noise(0, height, width)), (height, width, 3))
    gt, lq = tmp_path / "GT.lmdb", tmp_path / "LQ.lmdb"
    assert verify_pair(gt, lq, 3).rest
    assert main(["prepare", "verify", str(gt), str(lq), "--scale", "3"]) == 0
    said = capsys.readouterr().out
    assert "every GT image is 3 times its LQ image but for a remainder at the right and bottom" in said
    assert "this set serves validation and testing" in said
    with pytest.raises(DatasetError, match="not 4 times smaller"):
        verify_pair(gt, lq, 4)
