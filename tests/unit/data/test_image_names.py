"""What images are called: whole keys, paths below the root, and extensions only where they tell files apart."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from dckd_basicsr.data.samples import NamedSamples
from dckd_basicsr.inference.image_names import image_names, picture_path


def named(paths: list[str], listed: bool = True, **opt: object) -> list[str]:
    dataset = SimpleNamespace(opt=opt)
    if listed:
        dataset.paths = [{"lq_path": path, "gt_path": path} for path in paths]
    name = image_names(dataset)
    return [name(path) for path in paths]


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize(
    ("root", "paths", "names"),
    [
        ("o/GoPro_LQ.lmdb", ["GOPR0384_11_00/000001", "GOPR0384_11_05/000001"], None),  # keys stay as they are
        ("Set5/X4", ["Set5/X4/babyx4.png", "Set5/X4/birdx4.png"], ["babyx4", "birdx4"]),
        ("./Set5/X4/", ["Set5/X4/babyx4.PNG"], ["babyx4"]),
        (".", ["./a.jpg", "./sub/a.jpg"], ["a", "sub/a"]),
        ("/data/lq", ["/data/lq/one/1.png", "/data/lq/two/1.png"], ["one/1", "two/1"]),
        (["/a.lmdb", "/data/lq"], ["/data/lq/one/1.png"], ["one/1"]),
        ("elsewhere", ["/abs/one/1.png", "../two/1.png"], ["abs/one/1", "two/1"]),
        ("x", ["frame.0001", "frame.0002"], None),  # no extension of a photo: part of the name
        ("x", ["x/frame.0001.png", "x/frame.0002.png"], ["frame.0001", "frame.0002"]),
    ],
)
def test_names(listed: bool, root: object, paths: list[str], names: list[str] | None) -> None:
    assert named(paths, listed, dataroot_lq=root) == (names or paths)


def test_extensions_stay_where_they_tell_files_apart() -> None:
    assert named(["r/a.jpg", "r/a.png", "r/b.png"], dataroot_lq="r") == ["a.jpg", "a.png", "b"]
    odd = ["r/a.jpg", "r/a.png", "r/a.png.jpg"]
    assert len(set(named(odd, dataroot_lq="r"))) == 3


def test_a_dataset_without_pairs_lists_plain_paths() -> None:
    name = image_names(SimpleNamespace(opt={"dataroot_lq": "r"}, paths=["r/s/a.jpg", "r/s/a.png"]))
    assert [name("r/s/a.jpg"), name("r/s/a.png")] == ["s/a.jpg", "s/a.png"]


def test_training_which_wraps_its_sets_names_images_as_a_test_does() -> None:
    dataset = SimpleNamespace(opt={"dataroot_lq": "r"}, paths=["r/a.jpg", "r/a.png", "r/b.png"])
    for one in (dataset, NamedSamples(dataset)):
        assert [image_names(one)(path) for path in dataset.paths] == ["a.jpg", "a.png", "b"]
    unlisted = NamedSamples(SimpleNamespace(opt={"dataroot_lq": "r"}))
    assert image_names(unlisted)("r/a.jpg") == "a"


@pytest.mark.parametrize("listed", [True, False])
def test_of_roots_inside_each_other_the_inner_one_counts(listed: bool) -> None:
    roots = {"dataroot_gt": "data", "dataroot_lq": "data/LQ"}
    assert named(["data/LQ/1.png", "data/LQ/s/2.png"], listed, **roots) == ["1", "s/2"]


def test_pictures_of_two_sets_and_two_folders_lie_apart() -> None:
    test = {"path": {"visualization": "v"}, "is_train": False, "val": {"suffix": None}, "name": "run"}
    assert picture_path(test, "GoPro", "scene/1", "run") == Path("v/GoPro/scene/1_run.png")
    assert picture_path({**test, "val": {"suffix": "x"}}, "GoPro", "1", "run") == Path("v/GoPro/1_x.png")
    train = {"path": {"visualization": "v"}, "is_train": True, "val": {}}
    assert picture_path(train, "Rain100H", "1", 500) == Path("v/Rain100H/1/1_500.png")
    assert picture_path(train, "GoPro", "scene/1", 500) == Path("v/GoPro/scene/1/1_500.png")
