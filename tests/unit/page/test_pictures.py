"""Pictures of a page: which crop is chosen, what is cut out of LQ, where restorations are found."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np
import pytest

from dckd_basicsr.page.pictures import Pictures, gather_pictures, make_scene
from dckd_basicsr.page.pictures.crops import around, as_data, cropped, error_map, errors_of, telling_box
from dckd_basicsr.report import Box

GREY = np.full((40, 60, 3), 100, np.uint8)


def pixels(address: str) -> np.ndarray:
    data = base64.b64decode(address.removeprefix("data:image/webp;base64,"))
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def changed(top: int, left: int, by: int) -> np.ndarray:
    picture = GREY.copy()
    picture[top : top + 4, left : left + 4] += np.uint8(by)
    return picture


def test_the_crop_is_where_methods_differ_not_where_they_all_fail() -> None:
    wrong = changed(0, 0, 80)  # everybody
    one, two = wrong.copy(), wrong.copy()
    two[30:34, 50:54] += 10  # one of them
    errors = {"one": errors_of(one, GREY), "two": errors_of(two, GREY)}
    box = telling_box(errors, 8)
    assert box.size == 8
    assert box.top <= 30
    assert box.top + 8 >= 34
    assert box.left <= 50
    assert box.left + 8 >= 54
    assert telling_box({"one": errors["one"]}, 4) == Box(0, 0, 4)
    assert telling_box(errors, 100).size == 40


def test_errors_are_means_over_colours() -> None:
    picture = GREY.copy()
    picture[0, 0] = (103, 100, 94)
    assert errors_of(picture, GREY)[0, 0] == pytest.approx(3)
    drawn = error_map(np.array([[0.0, 10.0, 99.0]], np.float32), 10)
    assert drawn[0, 0].max() < 10
    assert (drawn[0, 1] == drawn[0, 2]).all()


def test_windows_stay_inside_and_match_in_lq() -> None:
    rows, columns = around(Box(30, 50, 8), (40, 60), 20, 20)
    assert (rows, columns) == (slice(20, 40), slice(40, 60))
    lq = np.arange(10 * 15 * 3, dtype=np.uint8).reshape(10, 15, 3)
    assert (cropped(lq, rows, columns, 40) == lq[5:10, 10:15]).all()


def test_pictures_stand_in_the_page_without_loss() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (17, 23, 3), dtype=np.uint8)
    assert (pixels(as_data(picture)) == picture).all()


def test_a_scene() -> None:
    sources = {"GT": GREY, "LQ": GREY[::4, ::4], "a": changed(30, 50, 40), "b": changed(30, 50, 4), "c": GREY[:20]}
    scene = make_scene("Set5/x", "why", sources, {n: n.upper() for n in "abc"}, {"a": "20 dB"}, ("a", "b"))
    assert scene is not None
    assert [each.title for each in scene.strip] == ["LQ", "A", "B", "GT"]  # c is of another size
    assert [each.errors is not None for each in scene.strip] == [False, True, True, False]
    assert scene.strip[1].detail == "20 dB"
    assert "40 × 40 pixels in which the restorations below differ most" in scene.how
    assert list(scene.before) == ["A", "LQ, enlarged"]
    assert scene.after_title == "B"
    assert scene.size > 0
    assert pixels(scene.before["LQ, enlarged"]).shape == (10, 15, 3)


def test_a_scene_without_ground_truth_shows_where_pictures_differ() -> None:
    large = np.full((200, 300, 3), 100, np.uint8)
    other = large.copy()
    other[150:160, 250:260] = 200
    scene = make_scene("x", "", {"a": large, "b": other}, {"a": "A", "b": "B"}, {}, ("a", "b"))
    assert scene is not None
    assert (pixels(scene.strip[1].crop) == 200).any()
    assert "distance from their mean" in scene.how
    assert make_scene("x", "", {"GT": large}, {"a": "A"}, {}) is None


def test_a_damaged_picture_costs_no_page(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG, cut off")
    scene = make_scene("x", "", {"a": tmp_path / "a.png", "b": GREY}, {"a": "A", "b": "B"}, {}, ("a", "b"))
    assert scene is not None
    assert [each.title for each in scene.strip] == ["B"]
    assert "damaged: a.png." in scene.how
    assert make_scene("x", "", {"a": tmp_path / "a.png"}, {"a": "A"}, {}) is None


def test_gathering_reads_what_is_wanted(tmp_path: Path) -> None:
    from basicsr.utils.img_util import imwrite

    draw = np.random.default_rng(0)
    for name in ("one", "two"):
        for folder, side in (("GT", 32), ("LQ", 16)):
            imwrite(draw.integers(0, 256, (side, side, 3), dtype=np.uint8), str(tmp_path / folder / f"{name}.png"))
    restored = draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    imwrite(restored, str(tmp_path / "results/run_a/visualization/Tiny/two_run_a.png"))
    block = {"name": "Tiny", "type": "PairedImageDataset", "dataroot_gt": str(tmp_path / "GT"),
             "dataroot_lq": str(tmp_path / "LQ"), "io_backend": {"type": "disk"}}  # fmt: skip
    options = {"scale": 2, "datasets": {"test_1": block}, "val": {"save_img": True, "suffix": None}}
    found = gather_pictures(tmp_path / "results", {"a": "run_a", "b": "run_b"}, options, {"Tiny": ["two"]})
    assert isinstance(found, Pictures)
    assert list(found.images["Tiny"]) == ["two"]
    assert sorted(found.images["Tiny"]["two"]) == ["GT", "LQ", "a"]  # b wrote none
    truth = found.images["Tiny"]["two"]["GT"]
    assert (truth == cv2.imread(str(tmp_path / "GT/two.png"))).all()
    assert sorted(gather_pictures(tmp_path / "results", {}, options).images["Tiny"]) == ["one", "two"]
    assert gather_pictures(tmp_path / "results", {}, options, {"Other": ["two"]}).images == {}
