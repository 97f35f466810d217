"""What the check says of validation and test sets: names, sizes, sets without ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from dckd_basicsr.config import option_problems
from dckd_basicsr.config.files import file_problems
from dckd_basicsr.config.resolve import fill_defaults
from dckd_basicsr.prepare.sets.sr import prepare_sr
from tests.tiny import METRICS, STUDENT, write_photos


def save(path: Path, height: int, width: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.zeros((height, width, 3), np.uint8))


def paired(folder: Path, name: str = "Set5", **keys: Any) -> dict[str, Any]:
    roots = {"dataroot_gt": str(folder / "HR"), "dataroot_lq": str(folder / "X2"), "filename_tmpl": "{}x2"}
    return {"name": name, "type": "PairedImageDataset", **roots, "io_backend": {"type": "disk"}, **keys}


def options_of(**sets: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "t",
        "model_type": "RestorationModel",
        "scale": 2,
        "datasets": sets,
        "network_g": dict(STUDENT),
        "val": {"metrics": METRICS},
    }


def problems(opt: dict[str, Any], is_train: bool = False) -> list[str]:
    return [*option_problems(opt, is_train), *file_problems(opt, is_train)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pairs, large enough for any metric."""
    for name in ("baby", "bird"):
        save(tmp_path / "HR" / f"{name}.png", 41, 60)
        save(tmp_path / "X2" / f"{name}x2.png", 20, 30)
    return tmp_path


def test_two_sets_of_one_name(folder: Path) -> None:
    assert problems(options_of(test_1=paired(folder), test_2=paired(folder, "Set14"))) == []
    found = problems(options_of(test_1=paired(folder), test_2=paired(folder, "Set14"), test_3=paired(folder)))
    assert found == [
        "datasets.test_1 and datasets.test_3 are both named 'Set5', and results are kept by name; rename one"
    ]
    training = options_of(train=paired(folder), val=paired(folder), val_2=paired(folder))
    found = [text for text in option_problems(training) if "named" in text]
    assert found == [
        "datasets.val and datasets.val_2 are both named 'Set5', and results are kept by name; rename one"
    ]  # a training set may have the name of its validation set, as in the option files for GoPro


@pytest.mark.parametrize("name", ["", "..", "a/b", "../a", "a\\b"])
def test_the_name_of_a_set_is_one_folder(folder: Path, name: str) -> None:
    (found,) = problems(options_of(test_1=paired(folder, name)))
    assert found.startswith("'name' in datasets.test_1 becomes a folder of pictures and must")
    assert problems(options_of(test_1=paired(folder, "BSD100 (x2), part 1"))) == []


def test_images_too_small_to_be_measured_in_a_folder(folder: Path) -> None:
    save(folder / "HR" / "icon.png", 15, 60)  # cut to 14, of which 10 are left
    save(folder / "X2" / "iconx2.png", 7, 30)
    (found,) = problems(options_of(test_1=paired(folder)))
    assert found == (
        f"datasets.test_1: 1 of 3 images in '{folder / 'HR'}' are too small to be measured ('icon.png' 15x60): "
        "val.metrics.ssim (calculate_ssim, crop_border 2) needs at least 15x15 px; take small images out of the set, "
        "or lower crop_border (its window takes 11x11)"
    )
    psnr = options_of(test_1=paired(folder)) | {"val": {"metrics": {"psnr": METRICS["psnr"]}}}
    assert problems(psnr) == []
    psnr["val"]["metrics"]["psnr"] = {**METRICS["psnr"], "crop_border": 7}
    assert "needs at least 15x15 px" in problems(psnr)[0]
    (folder / "list.txt").write_text("baby.png (41,60,3)\nbird.png (41,60,3)\n")
    assert problems(options_of(test_1=paired(folder, meta_info_file=str(folder / "list.txt")))) == []


def test_images_too_small_to_be_measured_in_a_database(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 2)
    save(photos / "icons/1.png", 14, 14)
    prepare_sr(photos, tmp_path, [2], crop=None, workers=0)
    for kind in ("PairedImageDataset", "PairedLMDBDataset", "PairedPatchDataset"):
        roots = {"dataroot_gt": str(tmp_path / "GT.lmdb"), "dataroot_lq": str(tmp_path / "LQ_x2.lmdb")}
        (found,) = problems(options_of(test_1={"name": "mine", "type": kind, **roots}))
        assert f"1 of 3 images in '{tmp_path / 'GT.lmdb'}' are too small to be measured ('icons/1' 14x14)" in found


def test_training_sets_may_hold_any_size(folder: Path) -> None:
    save(folder / "HR" / "baby.png", 40, 60)  # any multiple of the scale, that is
    save(folder / "HR" / "icon.png", 14, 14)
    save(folder / "X2" / "iconx2.png", 7, 7)
    train = paired(folder, type="PairedPatchDataset", gt_size=16, batch_size_per_gpu=1)
    assert file_problems(options_of(train=train), True) == []


def test_a_folder_without_ground_truth(tmp_path: Path) -> None:
    mine = {"name": "mine", "type": "SingleImageDataset", "dataroot_lq": str(tmp_path / "photos")}
    assert problems(options_of(test_1=mine)) == [
        f"datasets.test_1.dataroot_lq: '{tmp_path / 'photos'}' does not exist; pack photos of your own with "
        "`basicsr prepare sr PHOTOS OUT --scale S`"
    ]
    (tmp_path / "photos").mkdir()
    assert "holds no files (sub-folders are not searched)" in problems(options_of(test_1=mine))[0]
    write_photos(tmp_path / "photos")
    assert problems(options_of(test_1=mine)) == []
    (tmp_path / "photos/notes.txt").write_text("x")
    assert "holds files that are no images (notes.txt), and every file" in problems(options_of(test_1=mine))[0]
    (tmp_path / "a.png").write_text("x")
    one_file = mine | {"dataroot_lq": str(tmp_path / "a.png")}
    assert "a.png' is no folder" in problems(options_of(test_1=one_file))[0]
    del mine["dataroot_lq"]
    assert problems(options_of(test_1=mine)) == ["missing key 'dataroot_lq' in datasets.test_1"]


def test_a_database_without_ground_truth_is_read_as_one(tmp_path: Path) -> None:
    prepare_sr(write_photos(tmp_path / "photos"), tmp_path, [2], crop=None, workers=0)
    mine = {"name": "mine", "type": "SingleImageDataset", "dataroot_lq": str(tmp_path / "LQ_x2.lmdb")}
    opt = options_of(test_1=mine)
    assert problems(opt) == []
    fill_defaults(opt, is_train=False)
    assert mine["io_backend"] == {"type": "lmdb"}


def test_what_needs_a_ground_truth_does_not_get_a_set_without(folder: Path) -> None:
    single = {"name": "mine", "type": "SingleImageDataset", "dataroot_lq": str(folder / "X2")}
    found = option_problems(options_of(train=single | {"batch_size_per_gpu": 1}, val=paired(folder)))
    wanted = "datasets.train: SingleImageDataset gives whole images, to be restored; to train on inputs alone, with a"
    assert any(text.startswith(wanted) for text in found)
    opt = options_of(val=single, val_2=paired(folder)) | {"logger": {"keep_best": "psnr"}}
    wanted = "logger.keep_best judges by the first validation set, and datasets.val (SingleImageDataset) has no ground"
    assert any(text.startswith(wanted) for text in option_problems(opt))
    opt["datasets"] = {"val_2": paired(folder), "val": single}
    assert not any("keep_best" in text for text in option_problems(opt))


def test_a_list_whose_images_would_share_an_input(folder: Path) -> None:
    """BasicSR pairs by the last part of the name: both ground truths would be trained against one input."""
    listed = folder / "list.txt"
    set5 = paired(folder, meta_info_file=str(listed))
    for name in ("one/1", "two/1", "two/2"):
        save(folder / "HR" / f"{name}.png", 40, 60)
        save(folder / "X2" / f"{Path(name).name}x2.png", 20, 30)
    listed.write_text("one/1.png (40,60,3)\ntwo/2.png (40,60,3)\none/1.png (40,60,3)\n")
    assert file_problems(options_of(train=set5), True) == []  # twice as often
    listed.write_text("one/1.png (41,60,3)\ntwo/1.png (41,60,3)\n")
    for key in ("train", "test_1"):
        (found,) = file_problems(options_of(**{key: set5}), key == "train")
        assert f"'{listed}' lists 'one/1.png' and 'two/1.png', and BasicSR reads one input for both" in found


LISTS = {
    "no lines": ("", "lists no images"),
    "an empty line": ("baby.png (41,60,3)\r\nbird.png\r\n\r\n", "line 3 is empty, and BasicSR takes every line for"),
    "a line twice": ("baby.png (41,60,3)\nbird.png\nbaby.png\n", "lists 'baby.png' in lines 1 and 3; list every image"),
    "a file that is not there": ("baby.png\nzebra.png\n", "line 2 names 'zebra.png', but '"),
}


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("alone", [True, False])
def test_what_a_list_holds(folder: Path, kind: str, alone: bool) -> None:
    text, message = LISTS[kind]
    (folder / "list.txt").write_bytes(text.encode())
    block = paired(folder, meta_info_file=str(folder / "list.txt"))
    if alone:
        block = {"type": "SingleImageDataset", "dataroot_lq": str(folder / "HR")} | {
            key: block[key] for key in ("name", "meta_info_file", "io_backend")
        }
    (found,) = file_problems(options_of(test_1=block), False)
    assert found.startswith(f"datasets.test_1.meta_info_file: '{folder / 'list.txt'}' ")
    assert message in found
    (folder / "list.txt").write_text(" baby.png (41,60,3)\nbird.png" if not alone else "baby.png (41,60,3)\nbird.png")
    assert file_problems(options_of(test_1=block), False) == []


def test_a_list_names_inputs_and_sizes_that_fit(folder: Path) -> None:
    (folder / "list.txt").write_text("bird.png\n")
    block = paired(folder, meta_info_file=str(folder / "list.txt"))
    save(folder / "X2/birdx2.png", 19, 30)
    assert "not 2 times smaller; check scale and paths" in file_problems(options_of(test_1=block), False)[0]
    (folder / "X2/birdx2.png").unlink()
    assert f"'{folder / 'X2/birdx2.png'}' is missing" in file_problems(options_of(test_1=block), False)[0]


@pytest.mark.parametrize("name", ["a.pgm", "a.jp2", "a.jfif", "a"])
def test_what_is_an_image_is_told_by_its_content(tmp_path: Path, name: str) -> None:
    suffix = {"a.jfif": ".jpg", "a": ".png"}.get(name, Path(name).suffix)
    data = cv2.imencode(suffix, np.zeros((64, 64), np.uint8))[1].tobytes()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / name).write_bytes(data)
    mine = {"name": "mine", "type": "SingleImageDataset", "dataroot_lq": str(tmp_path / "photos")}
    assert problems(options_of(test_1=mine)) == []
    (tmp_path / "photos/b.png").write_text("x")
    assert "holds files that are no images (b.png), and every file" in problems(options_of(test_1=mine))[0]


def test_orientation_tags_that_differ_matter_where_images_are_turned_by_them(folder: Path) -> None:
    exif = Pillow.Exif()
    exif[274] = 6
    Pillow.new("RGB", (60, 41)).save(folder / "HR/baby.png", exif=exif)
    (found,) = file_problems(options_of(test_1=paired(folder)), False)
    assert found.startswith(f"datasets.test_1: '{folder / 'HR/baby.png'}' has orientation tag 6 and '")
    assert file_problems(options_of(test_1=paired(folder, type="PairedPatchDataset")), False) == []
