"""Whatever is packed comes back, and whatever happens to a database afterwards is noticed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from basicsr.data.paired_image_dataset import PairedImageDataset
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dckd_basicsr.bicubic import imresize_uint8
from dckd_basicsr.data.lmdb.environments import close_shared
from dckd_basicsr.data.lmdb.reader import LmdbImages
from dckd_basicsr.data.photos.images import Image, decode_image, encode_png
from dckd_basicsr.data.photos.keys import image_key
from dckd_basicsr.data.preflight import paired_lmdb_problems
from dckd_basicsr.errors import DatasetError
from dckd_basicsr.prepare.sets.sr import prepare_sr
from dckd_basicsr.prepare.verify import verify_lmdb, verify_pair

quickly = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda name: not name.startswith(".")
)
PATHS = st.builds(lambda folder, name: f"{folder}{name}.png", st.sampled_from(["", "a/", "a/b c/"]), NAMES)
SIZES = st.tuples(st.integers(6, 30), st.integers(6, 30))
PHOTOS = st.dictionaries(PATHS, SIZES, min_size=1, max_size=4).filter(
    lambda photos: len({image_key(path) for path in photos}) == len(photos)
)


def noise(seed: int, height: int, width: int) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    return lambda: tmp_path_factory.mktemp("pack")  # a path is never used twice: BasicSR keeps databases open


def write(folder: Path, photos: dict[str, tuple[int, int]]) -> dict[str, Image]:
    images = {}
    for seed, (path, size) in enumerate(photos.items()):
        image = images[image_key(path)] = noise(seed, *size)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(encode_png(image))
    return images


@quickly
@given(PHOTOS, st.sampled_from([1, 2, 3]))
@example({"a.png": (7, 6), "a_s001.png": (6, 9)}, 2)
def test_photos_come_back(scratch: Callable[[], Path], photos: dict[str, tuple[int, int]], scale: int) -> None:
    folder = scratch()
    images = write(folder / "in", photos)
    summary = prepare_sr(folder / "in", folder / "out", [scale], crop=None, workers=0)
    assert verify_pair(summary.gt, summary.lq[scale], scale).gt.images == len(photos)
    with LmdbImages(summary.gt) as gt:
        assert sorted(gt.keys) == sorted(images)
    options = {"dataroot_gt": str(summary.gt), "dataroot_lq": str(summary.lq[scale]), "scale": scale, "phase": "val"}
    dataset = PairedImageDataset({**options, "io_backend": {"type": "lmdb"}})
    read = {sample["gt_path"]: sample for sample in (dataset[i] for i in range(len(dataset)))}
    close_shared(folder)  # else BasicSR's reader keeps every example's files open
    assert read.keys() == images.keys()
    for key, image in images.items():
        height, width = (side // scale * scale for side in image.shape[:2])
        expected = image[:height, :width]
        for side, pixels in (("gt", expected), ("lq", imresize_uint8(expected, Fraction(1, scale)))):
            rgb = np.rint(read[key][side].numpy().transpose(1, 2, 0) * 255)
            np.testing.assert_array_equal(rgb, pixels[:, :, ::-1])


@quickly
@given(PHOTOS, st.integers(1, 4), st.integers(1, 6), st.sampled_from([1, 2, 3]), st.sampled_from(["keep", "skip"]))
def test_sub_images_have_keys_of_their_own_and_come_from_their_photo(
    scratch: Callable[[], Path], photos: dict[str, tuple[int, int]], crop: int, step: int, scale: int, small: Any
) -> None:
    folder = scratch()
    images = write(folder / "in", photos)
    step = min(step, crop)
    options = {"crop": 6 * crop, "step": 6 * step, "small": small, "workers": 0, "verify": True}
    if small == "skip" and all(min(image.shape[:2]) // scale * scale < 6 * crop for image in images.values()):
        with pytest.raises(DatasetError, match="are smaller than the crop"):
            prepare_sr(folder / "in", folder / "out", [scale], **options)
        assert not (folder / "out").exists()
        return
    summary = prepare_sr(folder / "in", folder / "out", [scale], **options)
    with LmdbImages(summary.gt) as gt:
        assert len(gt.keys) == len(set(gt.keys)) == summary.images
        for key in gt.keys:
            part, whole = gt.image(key), images[key.rpartition("_s")[0]]
            windows = np.lib.stride_tricks.sliding_window_view(whole, part.shape)
            assert (windows == part).all(axis=(-3, -2, -1)).any()
    assert {key.rpartition("_s")[0] for key in gt.keys} | set(summary.skipped) == set(images)


@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PHOTOS, st.integers(1, 3))
def test_workers_do_not_matter(scratch: Callable[[], Path], photos: dict[str, tuple[int, int]], workers: int) -> None:
    folder = scratch()
    write(folder / "in", photos)
    for count in (0, workers):
        prepare_sr(folder / "in", folder / str(count), [2], crop=6, step=6, small="keep", workers=count)
    for file in (folder / "0").rglob("*.*"):
        if file.is_file() and file.name != "lock.mdb":
            assert file.read_bytes() == (folder / str(workers) / file.relative_to(folder / "0")).read_bytes()


# --- damage


@pytest.fixture(scope="module")
def packed(scratch: Callable[[], Path]) -> Path:
    """A database with images inside the tree's pages and images that have pages of their own."""
    folder = scratch()
    write(folder / "in", {f"{name}.png": (6 + 4 * i, 30) for i, name in enumerate("abcdefg")})
    return prepare_sr(folder / "in", folder / "out", [2], crop=None, workers=0).gt


@pytest.fixture
def database(packed: Path, scratch: Callable[[], Path]) -> Path:
    return Path(shutil.copytree(packed, scratch() / "x.lmdb"))


@quickly
@given(st.data())
def test_any_changed_byte_of_an_image_is_found(packed: Path, database: Path, data: st.DataObject) -> None:
    with LmdbImages(packed) as images:
        key = data.draw(st.sampled_from(images.keys))
        stored = images.get(key)
    content = bytearray((packed / "data.mdb").read_bytes())
    place, change = data.draw(st.integers(0, len(stored) - 1)), data.draw(st.integers(1, 255))
    starts = [match.start() for match in re.finditer(re.escape(stored), bytes(content))]
    assert starts  # LMDB may have left a copy behind that nothing leads to any more
    for start in starts:
        content[start + place] ^= change
    (database / "data.mdb").write_bytes(content)
    with pytest.raises(DatasetError, match=f"'{key}' differs from its checksum"):
        verify_lmdb(database)


@quickly
@given(st.data())
def test_any_missing_line_is_found(packed: Path, database: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["meta_info.txt", "checksums.txt"]))
    shutil.copytree(packed, database, dirs_exist_ok=True)
    lines = (packed / name).read_text().splitlines(keepends=True)
    gone = data.draw(st.integers(0, len(lines) - 1))
    (database / name).write_text("".join(lines[:gone] + lines[gone + 1 :]))
    with pytest.raises(DatasetError, match=r"meta_info.txt lists 6" if name[0] == "m" else "no line in checksums.txt"):
        verify_lmdb(database)


@settings(quickly, max_examples=150)
@given(st.floats(0, 1, exclude_max=True))
@example(0.0)
@example(0.9999999)
def test_any_truncation_is_refused(packed: Path, database: Path, part: float) -> None:
    content = (packed / "data.mdb").read_bytes()
    (database / "data.mdb").write_bytes(content[: int(part * len(content))])
    with pytest.raises(DatasetError, match=r"data\.mdb' (is empty|is cut short|cannot be opened)"):
        verify_lmdb(database)
    assert len(paired_lmdb_problems(database, database, 1)) == 2


_FLIPS = """
import random, sys
from pathlib import Path
from dckd_basicsr.prepare.verify import verify_lmdb
from dckd_basicsr.errors import DatasetError
folder, draw = Path(sys.argv[1]), random.Random(0)
whole = (folder / "data.mdb").read_bytes()
pages = [n for n in range(len(whole) // 4096) if whole[4096 * n] == n and whole[4096 * n + 10] in (1, 2, 8)]
found = 0
for _ in range(600):
    content = bytearray(whole)
    content[4096 * draw.choice(pages) + draw.randrange(4096)] ^= 1 << draw.randrange(8)
    (folder / "data.mdb").write_bytes(content)
    try:
        verify_lmdb(folder)
    except DatasetError:
        found += 1
print(len(pages), found)
"""


def test_damage_to_the_tree_never_kills_the_process(database: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _FLIPS, str(database)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    pages, found = map(int, done.stdout.split())
    assert pages >= 3
    assert found >= 20


@settings(quickly, max_examples=300)
@given(st.sampled_from([".png", ".jpg", ".bmp", ".webp", ".tiff"]), st.data())
def test_damaged_photos_decode_or_are_refused(suffix: str, data: st.DataObject) -> None:
    content = bytearray(cv2.imencode(suffix, noise(0, 8, 9))[1].tobytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    try:
        image = decode_image(bytes(content[: data.draw(st.integers(0, len(content)))]), "photo")
    except DatasetError:
        return
    assert image.dtype == np.uint8
    assert image.shape[2] == 3
