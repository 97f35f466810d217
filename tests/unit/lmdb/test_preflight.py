"""The check of a pair before a training: databases and folders, by names, sizes and orientation tags."""

from __future__ import annotations

from pathlib import Path

from PIL import Image as Pillow

from dckd_basicsr.data.lmdb.reader import LmdbImages
from dckd_basicsr.data.photos.images import encode_png
from dckd_basicsr.data.preflight import paired_folder_problems, paired_lmdb_problems
from tests.unit.lmdb.test_lmdb import noise, pack


def test_preflight_of_databases(tmp_path: Path) -> None:
    gt, lq = pack(tmp_path / "GT.lmdb"), pack(tmp_path / "LQ.lmdb", divide=4)
    assert paired_lmdb_problems(gt, lq, 4) == []
    assert paired_lmdb_problems(gt, lq, 4, gt_size=24) == []

    def only(problems: list[str]) -> str:
        (problem,) = problems
        return problem

    assert "'b' is 24x32, smaller than gt_size 25" in only(paired_lmdb_problems(gt, lq, 4, gt_size=25))
    assert "not 3 times smaller" in only(paired_lmdb_problems(gt, lq, 3))
    assert "hold different images" in only(paired_lmdb_problems(gt, pack(tmp_path / "o.lmdb", ["b"]), 1))
    two = paired_lmdb_problems(tmp_path / "no.lmdb", tmp_path / "no", 4)
    assert "dataroot_gt: database" in two[0]
    assert "does not exist" in two[0]
    assert "must be a folder whose name ends in '.lmdb'" in two[1]
    with LmdbImages(gt):  # already open in this process is no problem
        assert paired_lmdb_problems(gt, lq, 4) == []
    (lq / "data.mdb").write_bytes((lq / "data.mdb").read_bytes()[:-4096])
    assert "dataroot_lq: " in only(paired_lmdb_problems(gt, lq, 4))
    assert "cut short" in only(paired_lmdb_problems(gt, lq, 4))


def test_preflight_of_folders(tmp_path: Path) -> None:
    gt, lq = tmp_path / "gt", tmp_path / "lq"
    assert len(paired_folder_problems(gt, lq, 4)) == 2
    gt.mkdir()
    lq.mkdir()
    assert "holds no files" in paired_folder_problems(gt, lq, 4)[0]
    for name in ("1", "2"):
        (gt / f"{name}.png").write_bytes(encode_png(noise(0, 27, 32)))
        (lq / f"{name}x4.png").write_bytes(encode_png(noise(0, 6, 8)))
    (gt / ".DS_Store").touch()  # hidden files do not count
    assert paired_folder_problems(gt, lq, 4, "{}x4", rest=True) == []  # as in a test set
    assert "'1.png' is 27x32" in paired_folder_problems(gt, lq, 4, "{}x4")[0].replace(f"{gt}/", "")  # no training
    assert "'1.png' is 27x32" in paired_folder_problems(gt, lq, 2, "{}x4")[0].replace(f"{gt}/", "")
    assert paired_folder_problems(gt, lq, 4, "{}x4", rest=True, turns=False) == []
    (problem,) = paired_folder_problems(gt, lq, 4)
    assert "2 missing in 'lq' (1.png, 2.png); 2 only in 'lq' (1x4.png, 2x4.png)" in problem
    (lq / "2x4.png").unlink()
    (problem,) = paired_folder_problems(gt, lq, 4, "{}x4")
    assert "holds 2 files and dataroot_lq" in problem
    assert "1 missing in 'lq' (2x4.png)" in problem


def test_preflight_of_folders_whose_orientation_tags_differ(tmp_path: Path) -> None:
    """Square images: turned or not, their sizes fit."""
    for folder, tags in (("gt", (6, 6, 3)), ("lq", (6, 6, 1))):
        (tmp_path / folder).mkdir()
        for number, tag in enumerate(tags):
            exif = Pillow.Exif()
            exif[274] = tag
            Pillow.fromarray(noise(number, 16, 16)).save(tmp_path / folder / f"{number}.jpg", exif=exif)
    gt, lq = tmp_path / "gt", tmp_path / "lq"
    (problem,) = paired_folder_problems(gt, lq, 1)
    assert f"'{gt / '2.jpg'}' has orientation tag 3 and '{lq / '2.jpg'}' 1 (1 is none)" in problem
    assert "PairedPatchDataset" in problem
    assert paired_folder_problems(gt, lq, 1, turns=False) == []
    (gt / "2.jpg").unlink()
    (lq / "2.jpg").unlink()
    assert paired_folder_problems(gt, lq, 1) == []
