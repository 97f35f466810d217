"""Databases that were not packed together: refused wherever a pair is opened, and never left beside each other."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from basicsr.data.paired_image_dataset import PairedImageDataset

from dckd_basicsr.cli import main
from dckd_basicsr.config.files import file_problems
from dckd_basicsr.data.lmdb.environments import close_shared
from dckd_basicsr.data.lmdb.pack_id import pack_problems, refuse_to_split
from dckd_basicsr.data.lmdb.reader import LmdbImages
from dckd_basicsr.data.paired_lmdb_dataset import PairedLMDBDataset
from dckd_basicsr.data.paired_patch_dataset import PairedPatchDataset
from dckd_basicsr.data.photos.images import encode_png
from dckd_basicsr.data.preflight import paired_lmdb_problems
from dckd_basicsr.errors import DatasetError
from dckd_basicsr.prepare.sets.paired import prepare_paired
from dckd_basicsr.prepare.sets.sr import prepare_sr
from dckd_basicsr.prepare.verify import verify_pair
from dckd_basicsr.prepare.writer import LmdbWriter, lmdb_writers
from tests.tiny import write_photos


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos", 2, (64, 64))  # at scale 4 whole, at scales 2, 3 and 4 cut to 60 x 60


def pack(photos: Path, out: Path, scales: list[int], **options: Any) -> Path:
    prepare_sr(photos, out, scales, **{"crop": 24, "step": 24, "workers": 0, **options})
    return out


def ids(out: Path) -> dict[str, str | None]:
    """The pack ids by name of the database, as they stand in the files."""
    files = {path.name: path / "pack_id.txt" for path in sorted(out.glob("*.lmdb"))}
    return {name: file.read_text() if file.is_file() else None for name, file in files.items()}


@pytest.fixture
def mixed(tmp_path: Path, photos: Path) -> Path:
    """The GT of scale 4 beside the x2 LQ of scales 2, 3 and 4: equal keys and shapes, shifted border crops."""
    old, new = pack(photos, tmp_path / "old", [2, 3, 4]), pack(photos, tmp_path / "mixed", [4])
    shutil.copytree(old / "LQ_x2.lmdb", new / "LQ_x2.lmdb")
    return new


# --- the id


def test_all_databases_of_a_set_have_one_id_and_other_sets_another(tmp_path: Path, photos: Path) -> None:
    one, two = ids(pack(photos, tmp_path / "a", [2, 3, 4])), ids(pack(photos, tmp_path / "b", [4]))
    assert list(one) == ["GT.lmdb", "LQ_x2.lmdb", "LQ_x3.lmdb", "LQ_x4.lmdb"]
    assert len(set(one.values())) == len(set(two.values())) == 1
    assert one["GT.lmdb"] is not None
    assert one["GT.lmdb"] != two["GT.lmdb"]


def test_the_id_says_what_was_packed_not_when_or_by_how_many(tmp_path: Path, photos: Path) -> None:
    first = ids(pack(photos, tmp_path / "a", [2, 4]))["GT.lmdb"]
    again = ids(pack(photos, tmp_path / "b", [4, 2], workers=2, verify=True))["GT.lmdb"]
    assert first == again
    changed = np.zeros((30, 30, 3), np.uint8)
    (photos / "photo1.png").write_bytes(encode_png(changed))
    assert ids(pack(photos, tmp_path / "c", [2, 4]))["GT.lmdb"] != first


def test_only_lq_differs(tmp_path: Path, photos: Path) -> None:
    """Two degradations of the same photos: GT is the same to the byte, the sets are two all the same."""
    for name in ("blur", "noise"):
        lq = tmp_path / name
        write_photos(lq, 2, (64, 64))
        (lq / "photo0.png").write_bytes(encode_png(np.full((64, 64, 3), len(name), np.uint8)))
        prepare_paired(photos, lq, tmp_path / f"o{name}", workers=0)
    sums = [(tmp_path / f"o{name}" / "GT.lmdb" / "checksums.txt").read_bytes() for name in ("blur", "noise")]
    assert sums[0] == sums[1]
    assert set(ids(tmp_path / "oblur").values()).isdisjoint(ids(tmp_path / "onoise").values())


def test_sets_of_one_run_have_ids_of_their_own(tmp_path: Path) -> None:
    from dckd_basicsr.prepare.databases import PackSet, pack_databases
    from dckd_basicsr.prepare.packing import PhotoJob, pack_settings

    settings = pack_settings([2], crop=None, step=None)
    sets = []
    for name in ("train", "test"):
        photo = write_photos(tmp_path / name, 1, (24, 24 + len(name))) / "photo0.png"
        sets.append(
            PackSet(settings, [PhotoJob("p", photo)], tmp_path / f"{name}_GT.lmdb", {2: tmp_path / f"{name}_LQ.lmdb"})
        )
    pack_databases(sets, workers=0, verify=True)
    found = ids(tmp_path)
    assert found["train_GT.lmdb"] == found["train_LQ.lmdb"] != found["test_GT.lmdb"] == found["test_LQ.lmdb"]
    assert None not in found.values()


def test_a_group_that_is_written_by_hand_is_a_set_and_a_single_database_none(tmp_path: Path) -> None:
    with lmdb_writers([tmp_path / "a.lmdb", tmp_path / "b.lmdb"]) as writers:
        for writer in writers:
            writer.put("k", b"x", (1, 1, 3))
    with LmdbWriter(tmp_path / "c.lmdb") as writer:
        writer.put("k", b"x", (1, 1, 3))
    with lmdb_writers([tmp_path / "d.lmdb"]) as writers:
        writers[0].put("k", b"x", (1, 1, 3))
    found = ids(tmp_path)
    assert found["a.lmdb"] == found["b.lmdb"] is not None
    assert found["c.lmdb"] is found["d.lmdb"] is None


# --- wherever a pair is opened


def _preflight(gt: Path, lq: Path) -> None:
    if problems := paired_lmdb_problems(gt, lq, 2):
        raise DatasetError("; ".join(problems))


def _options_of(model: str) -> Callable[[Path, Path], None]:
    def check(gt: Path, lq: Path) -> None:
        block = {"type": "PairedImageDataset", **_roots(gt, lq)}
        if problems := file_problems({"model_type": model, "scale": 2, "datasets": {"train": block}}, True):
            raise DatasetError("; ".join(problems))

    return check


def _roots(gt: Path, lq: Path) -> dict[str, Any]:
    return {"dataroot_gt": str(gt), "dataroot_lq": str(lq), "io_backend": {"type": "lmdb"}, "scale": 2}


def _opens(kind: type, phase: str) -> Callable[[Path, Path], None]:
    def read(gt: Path, lq: Path) -> None:
        dataset = kind({**_roots(gt, lq), "phase": phase, "gt_size": 8, "use_hflip": False, "use_rot": False})
        assert len(dataset) == 18
        dataset[0]
        for path in (gt, lq):
            close_shared(path)

    return read


OPENERS: dict[str, Callable[[Path, Path], object]] = {
    "verify": lambda gt, lq: verify_pair(gt, lq, 2),
    "preflight": _preflight,
    "check": _options_of("DCKDModel"),
    "check for a model of BasicSR": _options_of("SRModel"),
    "PairedLMDBDataset": _opens(PairedLMDBDataset, "val"),
    "PairedPatchDataset": _opens(PairedPatchDataset, "val"),
    "BasicSR's own dataset": _opens(PairedImageDataset, "val"),
    "BasicSR's own dataset in training": _opens(PairedImageDataset, "train"),
}


@pytest.mark.parametrize("opener", OPENERS)
def test_a_pair_of_two_packs_is_refused(mixed: Path, opener: str) -> None:
    gt, lq = mixed / "GT.lmdb", mixed / "LQ_x2.lmdb"
    with LmdbImages(gt) as gts, LmdbImages(lq) as lqs:  # nothing else tells them apart
        assert gts.keys == lqs.keys
        assert all(gts.shapes[key] == (24, 24, 3) and lqs.shapes[key] == (12, 12, 3) for key in gts.keys)
    with pytest.raises(DatasetError, match="were not packed together") as caught:
        OPENERS[opener](gt, lq)
    assert str(gt) in str(caught.value)
    assert "basicsr prepare" in str(caught.value)
    (gt / "pack_id.txt").unlink()  # packed before there were ids, or by another program
    with pytest.raises(DatasetError, match=r"GT\.lmdb' has no pack_id\.txt .* remove pack_id\.txt from both"):
        OPENERS[opener](gt, lq)
    (lq / "pack_id.txt").unlink()  # the way out for who knows better, and what old databases look like
    OPENERS[opener](gt, lq)


@pytest.mark.parametrize("opener", OPENERS)
def test_a_pair_of_one_pack_is_opened(tmp_path: Path, photos: Path, opener: str) -> None:
    out = pack(photos, tmp_path / "out", [2, 3, 4])
    OPENERS[opener](out / "GT.lmdb", out / "LQ_x2.lmdb")
    moved = tmp_path / "elsewhere.lmdb"
    (out / "LQ_x2.lmdb").rename(moved)  # the id travels with the folder
    OPENERS[opener](out / "GT.lmdb", moved)
    assert pack_problems(out / "GT.lmdb", moved) == []


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\xff\xfe", b"0" * 64 + b"\n" + b"0" * 64])
def test_a_damaged_id_is_named(tmp_path: Path, photos: Path, content: bytes) -> None:
    out = pack(photos, tmp_path / "out", [2])
    (out / "LQ_x2.lmdb" / "pack_id.txt").write_bytes(content)
    for opener in ("verify", "preflight", "PairedLMDBDataset"):
        with pytest.raises(DatasetError, match=r"LQ_x2\.lmdb/pack_id\.txt' is damaged.*basicsr prepare"):
            OPENERS[opener](out / "GT.lmdb", out / "LQ_x2.lmdb")


def test_verify_says_whether_there_were_ids_to_compare(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = pack(photos, tmp_path / "out", [2])
    command = ["prepare", "verify", str(out / "GT.lmdb"), str(out / "LQ_x2.lmdb"), "--scale", "2"]
    assert main(command) == 0
    assert "packed together" in capsys.readouterr().out
    for name in ("GT", "LQ_x2"):
        (out / f"{name}.lmdb" / "pack_id.txt").unlink()
    assert main(command) == 0
    assert "no pack id to compare" in capsys.readouterr().out


# --- nothing is replaced that others need


@pytest.mark.parametrize("old", [False, True])
def test_gt_is_not_replaced_while_lq_of_its_pack_would_stay(tmp_path: Path, photos: Path, old: bool) -> None:
    out = pack(photos, tmp_path / "out", [2, 3, 4])
    if old:  # packed before there were ids
        for path in out.glob("*/pack_id.txt"):
            path.unlink()
    before = {path.name: path.stat().st_ino for path in out.iterdir()}
    with pytest.raises(DatasetError, match=r"'LQ_x2\.lmdb', 'LQ_x3\.lmdb'.*remove or move away") as caught:
        pack(photos, out, [4], overwrite=True)
    assert str(out / "GT.lmdb") in str(caught.value)
    assert {path.name: path.stat().st_ino for path in out.iterdir()} == before  # and nothing hidden beside them
    pack(photos, out, [4, 2, 3], overwrite=True)  # the whole set may be
    assert {path.name: path.stat().st_ino for path in out.iterdir()}.items().isdisjoint(before.items())
    for name in ("LQ_x2.lmdb", "LQ_x3.lmdb"):
        shutil.rmtree(out / name)
    pack(photos, out, [4], overwrite=True)  # what the message advises
    verify_pair(out / "GT.lmdb", out / "LQ_x4.lmdb", 4)
    pack(photos, out, [4, 2], overwrite=True)  # and a set may grow
    verify_pair(out / "GT.lmdb", out / "LQ_x2.lmdb", 2)


def test_lq_that_comes_while_packing_is_seen_at_the_end(tmp_path: Path) -> None:
    """Another process may finish a larger set meanwhile."""

    def group(out: Path, names: list[str], meanwhile: Callable[[], object] = lambda: None) -> None:
        with lmdb_writers([out / f"{name}.lmdb" for name in names], overwrite=True) as writers:
            for writer in writers:
                writer.put("k", encode_png(np.full((4, 4, 3), len(names), np.uint8)), (4, 4, 3))
            meanwhile()

    group(tmp_path / "other", ["GT", "LQ_x2", "LQ_x4"])
    out = tmp_path / "out"
    with pytest.raises(DatasetError, match=r"'LQ_x2\.lmdb'.*remove or move away"):
        group(out, ["GT", "LQ_x4"], lambda: shutil.copytree(tmp_path / "other", out, dirs_exist_ok=True))
    assert ids(out) == ids(tmp_path / "other")
    assert len(list(out.iterdir())) == 3


def test_other_sets_of_the_folder_are_left_alone(tmp_path: Path, photos: Path) -> None:
    """Sets with equal keys share a folder: Rain100H and Rain100L, say."""
    for name in ("H", "L"):
        names = {"gt_name": f"{name}_GT.lmdb", "lq_name": f"{name}_LQ.lmdb"}
        prepare_paired(photos, photos, tmp_path / "out", workers=0, level=len(ids(tmp_path / "out")), **names)
    found = ids(tmp_path / "out")
    names = {"gt_name": "H_GT.lmdb", "lq_name": "H_LQ.lmdb"}
    prepare_paired(photos, photos, tmp_path / "out", workers=0, level=9, overwrite=True, **names)
    after = ids(tmp_path / "out")
    assert after["L_GT.lmdb"] == found["L_GT.lmdb"]
    assert after["H_GT.lmdb"] == after["H_LQ.lmdb"] != found["H_GT.lmdb"]


@pytest.mark.parametrize(
    ("others", "one_set"),
    [
        ({"Rain100L_GT": (32, 32), "Rain100L_LQ": (32, 32)}, False),  # another name
        ({"Test100_GT_x4": (96, 64)}, False),  # no whole number of times the size
        ({"Test100_LQ_x2": (16, 16)}, True),
        ({"inputs": (32, 32)}, True),  # its name does not tell
    ],
)
def test_what_a_set_without_ids_is(tmp_path: Path, others: dict[str, tuple[int, int]], one_set: bool) -> None:
    """Test sets of 0.1 lie in one folder, and all of them call their images 1, 2, 3."""
    sizes = {"Test100_GT": (32, 32), "Test100_LQ": (32, 32), **others}
    for name, (height, width) in sizes.items():
        with LmdbWriter(tmp_path / f"{name}.lmdb") as writer:
            for key in ("1", "2"):
                writer.put(key, encode_png(np.zeros((height, width, 3), np.uint8)), (height, width, 3))
    targets = [tmp_path / f"Test100_{side}.lmdb" for side in ("GT", "LQ")]
    if one_set:
        with pytest.raises(DatasetError, match=rf"belongs to one set with '{next(iter(others))}\.lmdb'"):
            refuse_to_split(targets)
    else:
        refuse_to_split(targets)


# --- a kill at the worst moment


def _pack_until(photos: Path, out: Path, renames: int) -> None:
    """Pack over what is there, and be killed before the rename of that number."""
    rename, left = os.rename, [renames]

    def killing(*arguments: Any, **options: Any) -> None:
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        rename(*arguments, **options)

    os.rename = killing
    pack(photos, out, [2, 4], overwrite=True)


@pytest.mark.parametrize("ids_before", [True, False])
def test_a_kill_between_the_renames_never_leaves_a_pair_of_two_packs(
    tmp_path: Path, photos: Path, ids_before: bool
) -> None:
    old = pack(photos, tmp_path / "old", [2, 4])
    if not ids_before:
        for path in old.glob("*/pack_id.txt"):
            path.unlink()
    for photo in photos.iterdir():  # other pixels, equal keys and shapes
        image = np.random.default_rng(len(photo.name)).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        photo.write_bytes(encode_png(image))
    new = pack(photos, tmp_path / "new", [2, 4])
    whole = [contents(old), contents(new)]
    assert whole[0] != whole[1]
    ends = set()
    for renames in range(7):
        out = Path(shutil.copytree(old, tmp_path / f"o{renames}"))
        process = multiprocessing.get_context("fork").Process(target=_pack_until, args=(photos, out, renames))
        process.start()
        process.join()
        ends.add(process.exitcode)
        assert whole_or_refused(out, whole), renames
        with suppress(DatasetError):  # the next packing clears up; without --overwrite it finds databases there or not
            pack(photos, out, [2, 4])
        assert whole_or_refused(out, whole), renames
        pack(photos, out, [2, 4], overwrite=True)
        assert contents(out) == whole[1]
        assert sorted(path.name for path in out.iterdir()) == ["GT.lmdb", "LQ_x2.lmdb", "LQ_x4.lmdb"]
    assert ends == {-signal.SIGKILL, 0}  # the last ones were not killed: every moment was tried


def contents(out: Path) -> dict[str, str]:
    return {path.parent.name: path.read_text() for path in sorted(out.glob("*.lmdb/checksums.txt"))}


def whole_or_refused(out: Path, whole: list[dict[str, str]]) -> bool:
    """Tell whether each pair is of one pack, or is refused."""
    for scale in (2, 4):
        pair = {name: sums for name, sums in contents(out).items() if name in ("GT.lmdb", f"LQ_x{scale}.lmdb")}
        problems = paired_lmdb_problems(out / "GT.lmdb", out / f"LQ_x{scale}.lmdb", scale)
        if not problems and not any(pair.items() <= one.items() and len(pair) == 2 for one in whole):
            return False
    return True
