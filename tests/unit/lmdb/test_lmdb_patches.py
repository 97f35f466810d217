"""Patches cut out of a database: any window, of any image, without a copy of the rest."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from dckd_basicsr.data.lmdb import patches as lmdb_patches
from dckd_basicsr.data.lmdb.environments import shared_environment
from dckd_basicsr.data.lmdb.patches import LmdbPatches
from dckd_basicsr.data.reflect import at_least
from dckd_basicsr.prepare.sets.sr import prepare_sr
from tests.tiny import write_photos


@pytest.fixture(scope="module", params=["png", "raw"])
def patches(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LmdbPatches:
    folder = tmp_path_factory.mktemp(request.param)
    write_photos(folder / "photos", 2, (40, 56))
    (write_photos(folder / "others", 1, (56, 40)) / "photo0.png").rename(folder / "photos" / "tall.png")
    prepare_sr(folder / "photos", folder / "out", [2], crop=None, workers=0, payload=request.param)
    return LmdbPatches(folder / "out" / "LQ_x2.lmdb")  # 20x28


@pytest.mark.parametrize(("key", "rows", "columns"), [("photo1", 20, 28), ("tall", 28, 20)])
@pytest.mark.parametrize(
    ("height", "width"),
    [
        (16, 8),
        (8, 16),
        (20, 28),
        (20, 20),
        (21, 28),
        (20, 29),
        (24, 8),
        (24, 24),
        (8, 32),
        (32, 24),
        (32, 40),
    ],
)
def test_any_window_of_an_image_or_of_its_reflection(
    patches: LmdbPatches, height: int, width: int, key: str, rows: int, columns: int
) -> None:
    found = np.zeros((height, width, 3), np.uint8)
    with patches.reading() as transaction:
        whole = np.array(patches.view(transaction, key))
        if height > rows or width > columns:
            whole = at_least(whole, max(height, width))
        for top, left in ((0, 0), (whole.shape[0] - height, whole.shape[1] - width)):
            patches.cut(transaction, key, top, left, found)
            np.testing.assert_array_equal(found, whole[top : top + height, left : left + width])


def test_of_raw_pixels_nothing_is_copied(patches: LmdbPatches) -> None:
    with patches.reading() as transaction:
        base = patches.view(transaction, "photo0")
        assert (base.dtype, base.shape) == (np.uint8, (20, 28, 3))
        while isinstance(base, np.ndarray) and base.base is not None:
            base = base.base
        assert isinstance(base, memoryview) == (patches.payload == "raw")


def test_an_open_database_may_be_handed_to_another_process(patches: LmdbPatches) -> None:
    with patches.reading() as transaction:
        wanted = np.array(patches.view(transaction, "photo0"))
    again: LmdbPatches = pickle.loads(pickle.dumps(patches))
    assert again.path == Path(patches.path)
    with again.reading() as transaction:
        np.testing.assert_array_equal(again.view(transaction, "photo0"), wanted)


def test_it_is_opened_once_a_process_and_to_be_read_alone(
    patches: LmdbPatches, monkeypatch: pytest.MonkeyPatch
) -> None:
    again, opened = pickle.loads(pickle.dumps(patches)), []

    def watch(path: str, **options: object) -> object:
        opened.append((path, options))
        return shared_environment(str(patches.path), readonly=True, lock=False)

    monkeypatch.setattr(lmdb_patches, "shared_environment", watch)
    for _ in range(2):
        with again.reading():
            pass
    asked = str(patches.path), {"readonly": True, "lock": False, "readahead": False}
    assert opened == [asked]
    again._env = (-1, again._env[1])  # as a fork finds it
    with again.reading():
        pass
    assert opened == [asked] * 2
