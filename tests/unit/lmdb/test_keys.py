"""LMDB keys: safe for BasicSR's reader, the same everywhere, never shared by two photos."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dckd_basicsr.data.photos.keys import MAX_KEY_BYTES, check_key, image_key, keyed_photos, list_photos
from dckd_basicsr.errors import DatasetError
from dckd_basicsr.prepare.writer import LmdbWriter

names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40).filter(
    lambda name: not name.startswith(".")
)


def touch(folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("0001.png", "0001"),
        ("city/img 01.v2.png", "city/img_01_v2"),
        ("a-b_C.JPEG", "a-b_C"),
        ("é.jpg", "_e9_"),
        ("猫.png", "_732b_"),
        ("a\\b.png", "a_b"),
    ],
)
def test_known_keys(path: str, key: str) -> None:
    assert image_key(path) == key


@given(names)
def test_key_survives_basicsr(name: str) -> None:
    key = image_key(f"{name}.png")
    assert re.fullmatch(r"[A-Za-z0-9_/-]+", key)
    key.encode("ascii")
    assert f"{key}.png (1,1,3) 1".split(".")[0] == key  # how BasicSR finds it in meta_info.txt


@given(names)
def test_key_depends_on_neither_extension_nor_unicode_form(name: str) -> None:
    key = image_key(f"{name}.png")
    assert key == image_key(f"{name}.JPG")
    assert key == image_key(unicodedata.normalize("NFD", f"{name}.png"))


@given(st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True))
def test_plain_names_stay_as_they_are(name: str) -> None:
    assert image_key(f"{name}.png") == name


@given(
    st.text(st.characters(min_codepoint=0xE000), min_size=1), st.text(st.characters(min_codepoint=0xE000), min_size=1)
)
def test_names_in_other_scripts_stay_apart(first: str, second: str) -> None:
    first, second = (unicodedata.normalize("NFC", text) for text in (first, second))
    assert (image_key(f"{first}.png") == image_key(f"{second}.png")) == (first == second)


@pytest.mark.parametrize(
    ("first", "second"), [("a/x.png", "a/x.jpg"), ("img 1.png", "img_1.png"), ("v1.0.png", "v1_0.png")]
)
def test_two_photos_with_one_key_are_refused_and_both_named(tmp_path: Path, first: str, second: str) -> None:
    touch(tmp_path, first, second, "other.png")
    with pytest.raises(DatasetError) as caught:
        keyed_photos(tmp_path)
    assert str(tmp_path / first) in str(caught.value)
    assert str(tmp_path / second) in str(caught.value)


def test_same_name_in_two_folders_gives_two_keys(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.png", "b/x.png")
    assert list(keyed_photos(tmp_path)) == ["a/x", "b/x"]


def test_natural_order_any_extension_no_hidden_files(tmp_path: Path) -> None:
    touch(tmp_path, "10.png", "9.JPG", "1.bmp", "b/2.webp", "b/10.tif", ".hidden.png", ".git/3.png", "notes.txt")
    assert [str(path.relative_to(tmp_path)) for path in list_photos(tmp_path)] == [
        "1.bmp",
        "9.JPG",
        "10.png",
        "b/2.webp",
        "b/10.tif",
    ]


def test_linked_folders_are_searched_and_loops_end(tmp_path: Path) -> None:
    touch(tmp_path, "real/1.png", "photos/2.png")
    (tmp_path / "photos" / "more").symlink_to(tmp_path / "real")
    (tmp_path / "photos" / "loop").symlink_to(tmp_path / "photos")
    assert list(keyed_photos(tmp_path / "photos")) == ["2", "more/1"]


def test_folder_without_photos_names_folder_and_extensions(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt")
    with pytest.raises(DatasetError, match=rf"{re.escape(str(tmp_path))}.*\.jpg.*\.webp"):
        list_photos(tmp_path)
    with pytest.raises(DatasetError, match="nowhere"):
        list_photos(tmp_path / "nowhere")


def test_key_too_long_for_lmdb(tmp_path: Path) -> None:
    deep = "/".join(["d" * 200] * 3)
    touch(tmp_path, f"{deep}/x.png")
    with pytest.raises(DatasetError, match=rf"604 bytes.*{MAX_KEY_BYTES}"):
        keyed_photos(tmp_path)
    check_key("k" * MAX_KEY_BYTES)
    with pytest.raises(DatasetError, match=r"a\.b"):
        check_key("a.b")


def test_a_folder_that_cannot_be_read_is_not_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "1.png", "closed/2.png")
    scandir = os.scandir

    def closed(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(DatasetError, match=r"closed' cannot be read \(Permission denied\)"):
        list_photos(tmp_path)
    with pytest.raises(DatasetError, match="does not exist"):
        list_photos(tmp_path / ("x" * 300))
    with pytest.raises(DatasetError, match="File name too long"):
        LmdbWriter(tmp_path / ("x" * 300) / "x.lmdb")
