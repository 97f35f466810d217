"""The look at a database's page tree: no sound database is refused, whatever its size and history."""

from __future__ import annotations

import random
from pathlib import Path

import lmdb
import pytest
from basicsr.utils.lmdb_util import make_lmdb_from_imgs
from hypothesis import given, settings
from hypothesis import strategies as st

from dckd_basicsr.data.lmdb.pages import page_problem
from dckd_basicsr.data.lmdb.reader import LmdbImages
from dckd_basicsr.prepare.verify import verify_lmdb
from tests.tiny import write_photos


@pytest.mark.parametrize(("count", "length"), [(0, 0), (1, 10), (1, 100_000), (30, 4000), (4000, 30), (600, 2100)])
def test_sound_databases_pass(tmp_path: Path, count: int, length: int) -> None:
    with lmdb.open(str(tmp_path), map_size=1 << 28) as env:
        with env.begin(write=True) as transaction:
            for i in range(count):
                transaction.put(f"{i:05d}{'k' * (i % 400)}".encode(), bytes(length))
        depth = env.stat()["depth"]
    assert page_problem(tmp_path / "data.mdb") is None
    assert depth >= (3 if count == 4000 else min(count, 1))  # branch pages over branch pages are among them


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_any_history_passes(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    folder, draw = tmp_path_factory.mktemp("db"), random.Random(seed)
    with lmdb.open(str(folder), map_size=1 << 26) as env:
        for _ in range(draw.randrange(1, 6)):
            with env.begin(write=True) as transaction:
                for _ in range(draw.randrange(60)):
                    key = b"%d" % draw.randrange(80)
                    if draw.random() < 0.3:
                        transaction.delete(key)
                    else:
                        transaction.put(key, draw.randbytes(draw.choice([5, 500, 5000, 20000])))
            assert page_problem(folder / "data.mdb") is None


def test_databases_of_basicsrs_own_packer_pass(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    names = sorted(path.name for path in photos.iterdir())
    make_lmdb_from_imgs(str(photos), str(tmp_path / "x.lmdb"), names, [name[:-4] for name in names])
    with LmdbImages(tmp_path / "x.lmdb") as images:
        assert len(images) == 3
    assert verify_lmdb(tmp_path / "x.lmdb").checksums is False


def test_what_is_no_database_is_left_to_lmdb(tmp_path: Path) -> None:
    for content in (b"", b"hello" * 5000):
        (tmp_path / "data.mdb").write_bytes(content)
        assert page_problem(tmp_path / "data.mdb") is None
    with pytest.raises(OSError, match="No such file"):
        page_problem(tmp_path / "none.mdb")
