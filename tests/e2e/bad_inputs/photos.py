"""Photos that cannot be packed, and other mistakes of ``basicsr prepare``."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from .row import BadInput
from .spoilers import alter, gray_photo, lq_photos

__all__ = ["PHOTOS"]

_SR = "prepare sr photos out --scale 2 --crop 0 --workers 0"
_PAIRED = "prepare paired photos lq out --workers 0"

PHOTOS = (
    BadInput(
        "pack: no such folder",
        "prepare sr nowhere out --scale 2",
        ("photo folder 'nowhere' does not exist or is not a folder; check the path",),
    ),
    BadInput(
        "pack: no photos in the folder",
        "prepare sr data out --scale 2",
        ("'data' holds no photos; files ending in .bmp .jpeg .jpg .png",),
    ),
    BadInput(
        "pack: a photo that is none",
        _SR,
        ("'photos/broken.png' is damaged, cut short or not an image (12 bytes); replace or remove it",),
        lambda: Path("photos/broken.png").write_bytes(b"not an image"),
    ),
    BadInput(
        "pack: a photo cut short",
        _SR,
        (
            "'photos/photo1.png' is damaged, cut short or not an image",
            "replace or remove it",
        ),
        alter("photos/photo1.png", lambda old: old[:-200]),
    ),
    BadInput(
        "pack: a 16-bit photo",
        _SR,
        ("'photos/deep.png' holds 16-bit values, 8-bit images are expected; convert it to 8 bits first",),
        gray_photo("photos/deep.png", 40, 40, np.uint16),
    ),
    BadInput(
        "pack: several photos that cannot be used",
        _SR,
        (
            "2 of 5 photos cannot be used:",
            "'photos/broken.png' is damaged, cut short or not an image (12 bytes)",
            "'photos/deep.png' holds 16-bit values",
            "`basicsr prepare sr` and `paired` leave such photos out with --skip-unusable",
        ),
        lambda: (
            gray_photo("photos/deep.png", 40, 40, np.uint16)(),
            Path("photos/broken.png").write_bytes(b"not an image"),
        ),
    ),
    BadInput(
        "pack: two photos of one name",
        _SR,
        (
            "'photos/a b.png' and 'photos/a_b.png' would both get the LMDB key 'a_b'",
            "rename one",
        ),
        lambda: (
            shutil.copy("photos/photo0.png", "photos/a b.png"),
            shutil.copy("photos/photo0.png", "photos/a_b.png"),
        ),
    ),
    BadInput(
        "pack: file names too long",
        _SR,
        ("has 604 bytes, the limit is 511; shorten the folder or file name",),
        lambda: (
            Path("photos", "d" * 200, "e" * 200, "f" * 200).mkdir(parents=True),
            shutil.copy("photos/photo0.png", Path("photos", "d" * 200, "e" * 200, "f" * 200, "x.png")),
        ),
    ),
    BadInput(
        "pack: a photo smaller than the scale",
        "prepare sr photos out --scale 8 --crop 0 --workers 0 --small keep",
        ("photo 'photos/dot.png' is 5x40, at least 8x8 is needed; remove it",),
        gray_photo("photos/dot.png", 5, 40),
    ),
    BadInput(
        "pack: every photo smaller than the crop",
        "prepare sr photos out --scale 2 --workers 0",
        (
            "all 3 photos, 'photos/photo0.png' first, are smaller than the crop of 480 pixels",
            "--small keep",
        ),
    ),
    BadInput(
        "pack: scale 0",
        "prepare sr photos out --scale 0 --crop 0",
        ("scales must be different whole numbers from 1 on, got [0]",),
    ),
    BadInput("pack: no scale", "prepare sr photos out", ("the following arguments are required: --scale",), status=2),
    BadInput(
        "pack: crop no multiple of the scale",
        "prepare sr photos out --scale 4 --crop 30",
        (
            "crop 30 is not a positive multiple of scale 4",
            "choose a multiple of 4",
        ),
    ),
    BadInput(
        "pack: negative crop",
        "prepare sr photos out --scale 2 --crop -4",
        ("crop -4 is not a positive multiple of scale 2",),
    ),
    BadInput("pack: PNG level 12", f"{_SR} --level 12", ("PNG level must be 0 to 9, got 12",)),
    BadInput(
        "pack: the output is there already",
        "prepare sr photos data --scale 2 --crop 32 --workers 0",
        ("'data/GT.lmdb' exists; choose another folder, or replace it with --overwrite",),
    ),
    BadInput(
        "pack: a set replaced in part",
        "prepare sr photos data --scale 4 --crop 32 --workers 0 --overwrite",
        (
            "'data/GT.lmdb' belongs to one set with 'LQ_x2.lmdb', which would stay beside images of another packing",
            "pack the whole set again (all its scales at once), remove or move away what would stay, or choose another",
        ),
    ),
    BadInput(
        "pack: the output folder is a file",
        "prepare sr photos job.yml --scale 2 --crop 32 --workers 0",
        ("'job.yml' is a file, and the databases need a folder; choose another output folder",),
    ),
    BadInput(
        "pack: the database to overwrite is no database",
        f"{_SR} --overwrite",
        ("'out/GT.lmdb' is not an LMDB folder, so it is not overwritten; move it away first",),
        lambda: (Path("out/GT.lmdb").mkdir(parents=True), Path("out/GT.lmdb/thesis.txt").touch()),
    ),
    BadInput(
        "pack: an LQ photo missing",
        f"{_SR} --lq lq",
        (
            "'lq' has no LQ photo for 2 of 3 HR photos, such as 'photos/photo1.png'",
            "'photo1x2' or 'photo1'",
        ),
        lq_photos("photo0x2.png"),
    ),
    BadInput(
        "pack: an LQ photo too many",
        f"{_SR} --lq lq",
        (
            "'lq' has 1 LQ photos without an HR photo: 'other'",
            "give one LQ photo for each HR photo and no others, all of them named with 'x2' or all without",
        ),
        lambda: (
            lq_photos("photo0.png", "photo1.png", "photo2.png")(),
            shutil.copy("photos/photo0.png", "lq/other.png"),
        ),
    ),
    BadInput(
        "pack: an LQ photo of the wrong size",
        f"{_SR} --lq lq",
        (
            "LQ photo 'lq/photo0.png' is 70x90",
            "at scale 2 35x45 was expected",
        ),
        lq_photos("photo0.png", "photo1.png", "photo2.png"),
    ),
    BadInput(
        "pair: names differ",
        _PAIRED,
        (
            "0 of 3 GT and 3 LQ photos do",
            "--gt-template 'photo{}' --template 'rain-{}' would pair all",
        ),
        lq_photos("rain-0.png", "rain-1.png", "rain-2.png"),
    ),
    BadInput(
        "pair: one photo missing",
        _PAIRED,
        (
            "2 of 3 GT and 2 LQ photos do",
            "'photo2' (the first needs 'photo2')",
            "add the missing photos",
        ),
        lq_photos("photo0.png", "photo1.png"),
    ),
    BadInput(
        "pair: template without a gap",
        f"{_PAIRED} --template rain",
        (
            "file-name template 'rain' must hold {} exactly once",
            "'rain-{}'",
        ),
        lq_photos("photo0.png"),
    ),
    BadInput(
        "pair: sizes differ",
        _PAIRED,
        (
            "LQ photo 'lq/photo1.png' is 20x20, but 'photos/photo1.png' is 70x90",
            "check that they belong together",
        ),
        lambda: (lq_photos("photo0.png", "photo1.png", "photo2.png")(), gray_photo("lq/photo1.png", 20, 20)()),
    ),
    BadInput(
        "DIV2K incomplete",
        "prepare div2k . out --scale 2",
        (
            "799 photos missing from 'DIV2K_train_HR'",
            "https://data.vision.ee.ethz.ch/cvl/DIV2K/",
        ),
        gray_photo("DIV2K_train_HR/0001.png", 20, 20),
    ),
    BadInput(
        "GoPro not there",
        "prepare gopro . out",
        (
            "GoPro train: no folder 'train'",
            "https://seungjunnah.github.io/Datasets/gopro",
        ),
    ),
    BadInput(
        "Rain13K not there",
        "prepare rain13k . out",
        (
            "Rain13K: no folder 'train/Rain13K'",
            "https://github.com/swz30/MPRNet",
        ),
    ),
)
