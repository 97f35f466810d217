"""Databases of raw pixels: the images of PNG ones, verified as strictly, refused where BasicSR would read them."""

from __future__ import annotations

import argparse
import hashlib
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from dckd_basicsr.data.lmdb.environments import shared_environment
from dckd_basicsr.data.lmdb.payload import decode, encode
from dckd_basicsr.data.lmdb.reader import LmdbImages, read_meta
from dckd_basicsr.data.paired_patch_dataset import PairedPatchDataset
from dckd_basicsr.data.photos.images import decode_image, encode_png
from dckd_basicsr.errors import DatasetError
from dckd_basicsr.prepare.commands import add_prepare_parser
from dckd_basicsr.prepare.sets.sr import prepare_sr
from dckd_basicsr.prepare.verify import verify_lmdb, verify_pair
from dckd_basicsr.prepare.writer import LmdbWriter
from tests.tiny import write_photos


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("payload")
    write_photos(folder / "photos")
    prepare_sr(folder / "photos", folder / "png", [2], crop=32, step=24, workers=0)
    prepare_sr(folder / "photos", folder / "raw", [2], crop=32, step=24, workers=0, payload="raw", verify=True)
    return folder


def test_raw_holds_the_pixels_that_png_decodes_to(packed: Path) -> None:
    for name in ("GT.lmdb", "LQ_x2.lmdb"):
        with LmdbImages(packed / "png" / name) as png, LmdbImages(packed / "raw" / name) as raw:
            assert (png.payload, raw.payload) == ("png", "raw")
            assert raw.shapes == png.shapes
            for key in png.keys:
                assert raw.get(key) == png.image(key).tobytes()
                np.testing.assert_array_equal(raw.image(key), png.image(key))


def test_the_list_of_images_tells_what_is_stored(packed: Path) -> None:
    assert (packed / "png/GT.lmdb/meta_info.txt").read_text().startswith("photo0_s001.png (32,32,3) 1\n")
    assert (packed / "raw/GT.lmdb/meta_info.txt").read_text().startswith("photo0_s001.raw (32,32,3) 0\n")
    assert read_meta(packed / "raw/LQ_x2.lmdb").shapes["photo0_s001"] == (16, 16, 3)


def test_a_list_of_both_kinds_is_refused(tmp_path: Path) -> None:
    (tmp_path / "meta_info.txt").write_text("a.raw (1,1,3) 0\nb.png (1,1,3) 1\n")
    with pytest.raises(DatasetError, match="raw pixels beside image files"):
        read_meta(tmp_path)


def test_verification_of_raw_pixels(packed: Path, tmp_path: Path) -> None:
    report = verify_pair(packed / "raw/GT.lmdb", packed / "raw/LQ_x2.lmdb", 2)
    assert report.gt.bytes == report.gt.images * 32 * 32 * 3
    assert report.gt.checksums
    path = tmp_path / "short.lmdb"
    with LmdbWriter(path, payload="raw") as writer:
        writer.put("a", b"x" * 11, (2, 2, 3))
    with pytest.raises(DatasetError, match="'a' holds 11 bytes of raw pixels, 2x2x3 = 12 were expected"):
        verify_lmdb(path)


def test_a_changed_pixel_is_found(tmp_path: Path) -> None:
    path, image = tmp_path / "x.lmdb", np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    with LmdbWriter(path, payload="raw") as writer:
        writer.put("a", image.tobytes(), (3, 3, 3))
    assert hashlib.sha256(image.tobytes()).hexdigest() in (path / "checksums.txt").read_text()
    data = bytearray((path / "data.mdb").read_bytes())
    data[data.find(image.tobytes()) + 5] ^= 1
    (path / "data.mdb").write_bytes(data)
    with pytest.raises(DatasetError, match="'a' differs from its checksum"):
        verify_lmdb(path)


@pytest.mark.parametrize("name", ["PairedImageDataset", "PairedPatchDataset"])
def test_datasets_that_read_image_files_refuse_it(packed: Path, name: str) -> None:
    from basicsr.data.paired_image_dataset import PairedImageDataset

    kind = {"PairedImageDataset": PairedImageDataset, "PairedPatchDataset": PairedPatchDataset}[name]
    roots = {"dataroot_gt": str(packed / "raw/GT.lmdb"), "dataroot_lq": str(packed / "raw/LQ_x2.lmdb")}
    dataset = kind({**roots, "io_backend": {"type": "lmdb"}, "scale": 2, "phase": "val"})
    with pytest.raises(DatasetError, match=r"LQ_x2\.lmdb' holds raw pixels, which only PairedLMDBDataset reads"):
        dataset[0]


def test_the_command_packs_raw_pixels(packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_prepare_parser(parser.add_subparsers())
    photos = str(packed / "photos")
    for kind, more in (("sr", ["--scale", "2"]), ("paired", [])):
        out = tmp_path / kind
        arguments = [photos, *([photos] if kind == "paired" else []), str(out), *more]
        options = parser.parse_args(["prepare", kind, *arguments, "--crop", "32", "--payload", "raw", "--workers", "0"])
        assert options.func(options) == 0
        assert "type: PairedLMDBDataset" in capsys.readouterr().out
        assert read_meta(out / "GT.lmdb").payload == "raw"


def test_an_unknown_payload_is_refused(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="payload must be 'png' or 'raw', got 'jpeg'"):
        prepare_sr(packed / "photos", tmp_path, [2], payload="jpeg", workers=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("level", [0, 1, 3])
def test_encoding_keeps_every_pixel(level: int) -> None:
    rng = np.random.default_rng(level)
    images = [
        rng.integers(0, 256, (17, 23, 3)),
        np.full((40, 9, 3), 7),
        np.arange(48 * 48 * 3).reshape(48, 48, 3) // 27,
    ]
    for image in (np.asarray(pixels % 256, np.uint8) for pixels in images):
        part = image[3:, 2:]  # a view, as the packer cuts them
        for payload in ("png", "raw"):
            data = encode(part, payload, level)
            np.testing.assert_array_equal(decode(data, payload, part.shape, "a"), part)


def test_photos_pack_smaller_than_by_the_plain_level_of_zlib() -> None:
    photo = np.ascontiguousarray(pytest.importorskip("skimage.data").astronaut()[..., ::-1])
    plain = cv2.imencode(".png", photo, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
    assert len(encode_png(photo, 1)) < len(plain)
    np.testing.assert_array_equal(decode_image(encode_png(photo, 1), "photo"), photo)


def png_options(packed: Path) -> dict[str, Any]:
    roots = {"dataroot_gt": str(packed / "png/GT.lmdb"), "dataroot_lq": str(packed / "png/LQ_x2.lmdb")}
    return {**roots, "io_backend": {"type": "lmdb"}, "scale": 2, "phase": "val"}


def test_environments_are_shared_in_a_process(packed: Path) -> None:
    path = packed / "png/GT.lmdb"
    first = shared_environment(str(path), readonly=True, lock=False)
    assert shared_environment(f"{path}/", readonly=True, lock=False) is first
    assert PairedPatchDataset(png_options(packed))[0]["gt"].shape == (3, 32, 32)  # reads what is open already


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_forked_workers_read_what_their_parent_has_open(packed: Path) -> None:
    here = PairedPatchDataset(png_options(packed))
    wanted = here[0]["gt"]
    loader = DataLoader(PairedPatchDataset(png_options(packed)), num_workers=1, multiprocessing_context="fork")
    assert torch.equal(next(iter(loader))["gt"][0], wanted)
    assert torch.equal(here[0]["gt"], wanted)  # the parent's is as it was
