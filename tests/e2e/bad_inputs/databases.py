"""Damaged databases, before a training and under ``basicsr prepare verify``."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import lmdb

from dckd_basicsr.prepare.sets.sr import prepare_sr
from tests.tiny import write_photos

from .row import TRAIN, BadInput
from .spoilers import alter, drop, rewrite

__all__ = ["DATABASES"]

_VERIFY = "prepare verify data/GT.lmdb"


def _fewer() -> None:
    prepare_sr(write_photos(Path("fewer"), 2), Path("new"), [2], crop=32, step=16, workers=0)
    shutil.rmtree("data/LQ_x2.lmdb")
    shutil.move("new/LQ_x2.lmdb", "data/LQ_x2.lmdb")


def _rescaled() -> None:
    prepare_sr(Path("photos"), Path("new"), [4], crop=32, step=16, workers=0)
    shutil.rmtree("data/LQ_x2.lmdb")
    shutil.move("new/LQ_x4.lmdb", "data/LQ_x2.lmdb")


def _repacked() -> None:
    prepare_sr(Path("photos"), Path("new"), [2], crop=32, step=16, workers=0, level=9)
    shutil.rmtree("data/LQ_x2.lmdb")
    shutil.move("new/LQ_x2.lmdb", "data/LQ_x2.lmdb")


def _exchange(key: str, new: bytes | None) -> Callable[[], object]:
    """Store other bytes under a key, or delete it."""

    def spoil() -> None:
        with lmdb.open("data/GT.lmdb", lock=False) as env, env.begin(write=True) as transaction:
            assert transaction.delete(key.encode())
            if new is not None:
                transaction.put(key.encode(), new)

    return spoil


def _flip() -> None:
    """Change one bit in the middle of the stored bytes of an image."""
    with lmdb.open("data/GT.lmdb", readonly=True, lock=False) as env, env.begin() as transaction:
        stored = bytes(transaction.get(b"photo1_s003"))
    data = bytearray(Path("data/GT.lmdb/data.mdb").read_bytes())
    data[data.find(stored) + len(stored) // 2] ^= 1
    Path("data/GT.lmdb/data.mdb").write_bytes(data)


_BEFORE_TRAINING = (
    BadInput(
        "database without meta_info.txt",
        TRAIN,
        ("dataroot_gt: 'data/GT.lmdb/meta_info.txt' does not exist; pack it again with `basicsr prepare`",),
        drop("data/GT.lmdb/meta_info.txt"),
    ),
    BadInput(
        "database without data.mdb",
        TRAIN,
        ("dataroot_lq: 'data/LQ_x2.lmdb/data.mdb' is missing; pack it again with `basicsr prepare`",),
        drop("data/LQ_x2.lmdb/data.mdb"),
    ),
    BadInput(
        "GT and LQ of different photos",
        TRAIN,
        (
            "20 only in 'GT.lmdb' (photo2_s001, photo2_s002",
            "0 only in 'LQ_x2.lmdb'",
            "pack both together again",
        ),
        _fewer,
    ),
    BadInput(
        "GT and LQ of another scale",
        TRAIN,
        ("'photo0_s001' is 32x32 in 'data/GT.lmdb' and 8x8 in 'data/LQ_x2.lmdb', not 2 times smaller",),
        _rescaled,
    ),
    BadInput(
        "GT and LQ of two packings",
        TRAIN,
        (
            "'data/GT.lmdb' and 'data/LQ_x2.lmdb' were not packed together (their pack_id.txt differ)",
            "pack both together again with `basicsr prepare`",
        ),
        _repacked,
    ),
    BadInput(
        "GT packed before there were ids, LQ after",
        TRAIN,
        ("were not packed together ('data/GT.lmdb' has no pack_id.txt and the other has one)", "remove pack_id.txt"),
        drop("data/GT.lmdb/pack_id.txt"),
    ),
    BadInput(
        "pack_id.txt damaged",
        TRAIN,
        ("'data/GT.lmdb/pack_id.txt' is damaged, 64 hex digits were expected; pack it again",),
        alter("data/GT.lmdb/pack_id.txt", lambda old: old[:9]),
    ),
    BadInput(
        "GT and LQ with other keys",
        TRAIN,
        ("1 only in 'GT.lmdb' (photo0_s001); 1 only in 'LQ_x2.lmdb' (photo9_s001)",),
        rewrite(
            "data/LQ_x2.lmdb/meta_info.txt", lambda lines: [lines[0].replace("photo0_s001", "photo9_s001"), *lines[1:]]
        ),
    ),
    BadInput(
        "meta_info.txt cut short",
        TRAIN,
        ("'data/LQ_x2.lmdb/data.mdb' holds 60 images but meta_info.txt lists 58; pack it again",),
        rewrite("data/LQ_x2.lmdb/meta_info.txt", lambda lines: lines[:-2]),
    ),
    BadInput(
        "meta_info.txt with a foreign line",
        TRAIN,
        ("'data/GT.lmdb/meta_info.txt' line 5 is 'hello', `key.png (h,w,c) level` was expected",),
        rewrite("data/GT.lmdb/meta_info.txt", lambda lines: [*lines[:4], "hello", *lines[5:]]),
    ),
    BadInput(
        "meta_info.txt with a key twice",
        TRAIN,
        ("'data/GT.lmdb/meta_info.txt' line 2: key 'photo0_s001' is listed twice",),
        rewrite("data/GT.lmdb/meta_info.txt", lambda lines: [lines[0], *lines[:-1]]),
    ),
    BadInput(
        "meta_info.txt empty",
        TRAIN,
        ("'data/GT.lmdb/meta_info.txt' lists no images; pack it again",),
        alter("data/GT.lmdb/meta_info.txt", lambda old: b""),
    ),
    BadInput(
        "meta_info.txt not text",
        TRAIN,
        (
            "'data/GT.lmdb/meta_info.txt' cannot be read",
            "pack it again",
        ),
        alter("data/GT.lmdb/meta_info.txt", lambda old: b"\xff\xfe\x00"),
    ),
    BadInput(
        "data.mdb cut short",
        TRAIN,
        (
            "'data/GT.lmdb/data.mdb' is cut short: ",
            "copy it again or pack it again",
        ),
        alter("data/GT.lmdb/data.mdb", lambda old: old[:-5000]),
    ),
    BadInput(
        "data.mdb empty",
        TRAIN,
        ("'data/GT.lmdb/data.mdb' is empty; copy it again or pack it again",),
        alter("data/GT.lmdb/data.mdb", lambda old: b""),
    ),
    BadInput(
        "data.mdb of something else",
        TRAIN,
        (
            "'data/GT.lmdb/data.mdb' cannot be opened",
            "not an LMDB file",
            "pack it again",
        ),
        alter("data/GT.lmdb/data.mdb", lambda old: b"hello" * 9000),
    ),
    BadInput(
        "data.mdb damaged inside",
        TRAIN,
        (
            "'data/GT.lmdb/data.mdb' is damaged (page ",
            "copy it again or pack it again",
        ),
        alter("data/GT.lmdb/data.mdb", lambda old: old[:8192] + bytes(4096) + old[12288:]),
    ),
    BadInput(
        "validation database cut short",
        TRAIN,
        ("datasets.val: dataroot_lq: 'val/LQ_x2.lmdb/data.mdb' is cut short: 9000 of",),
        alter("val/LQ_x2.lmdb/data.mdb", lambda old: old[:9000]),
    ),
)

_VERIFIED = (
    BadInput(
        "verify: an image's bytes changed",
        _VERIFY,
        (
            "'data/GT.lmdb' is damaged: 'photo1_s003' differs from its checksum",
            "pack it again",
        ),
        _flip,
    ),
    BadInput(
        "verify: an image missing",
        _VERIFY,
        ("'data/GT.lmdb/data.mdb' holds 59 images but meta_info.txt lists 60",),
        _exchange("photo1_s003", None),
    ),
    BadInput(
        "verify: an image exchanged for text",
        _VERIFY,
        ("'photo1_s003' differs from its checksum",),
        _exchange("photo1_s003", b"hello"),
    ),
    BadInput(
        "verify: every image of another size",
        _VERIFY,
        (
            "'photo0_s001' is 32x32, meta_info.txt says 16x16",
            "stopped here",
        ),
        rewrite("data/GT.lmdb/meta_info.txt", lambda lines: [line.replace("(32,32,3)", "(16,16,3)") for line in lines]),
    ),
    BadInput(
        "verify: checksums.txt damaged",
        _VERIFY,
        ("'data/GT.lmdb/checksums.txt' line 1 is damaged; pack it again",),
        alter("data/GT.lmdb/checksums.txt", lambda old: b"x" + old),
    ),
    BadInput(
        "verify: a line of checksums.txt gone",
        _VERIFY,
        ("'photo0_s001' has no line in checksums.txt",),
        rewrite("data/GT.lmdb/checksums.txt", lambda lines: lines[1:]),
    ),
    BadInput(
        "verify: wrong scale",
        "prepare verify data/GT.lmdb data/LQ_x2.lmdb --scale 4",
        ("'photo0_s001' is 32x32 in 'data/GT.lmdb' and 16x16 in 'data/LQ_x2.lmdb', not 4 times smaller",),
    ),
    BadInput(
        "verify: GT and LQ of two packings",
        "prepare verify data/GT.lmdb data/LQ_x2.lmdb --scale 2",
        ("'data/GT.lmdb' and 'data/LQ_x2.lmdb' were not packed together",),
        _repacked,
    ),
    BadInput(
        "verify: scale 0", "prepare verify data/GT.lmdb data/LQ_x2.lmdb --scale 0", ("scale must be 1 or more, got 0",)
    ),
    BadInput(
        "verify: no scale",
        "prepare verify data/GT.lmdb data/LQ_x2.lmdb",
        ("LQ_LMDB and --scale go together",),
        status=2,
    ),
    BadInput(
        "verify: no such database",
        "prepare verify data/HR.lmdb",
        ("database 'data/HR.lmdb' does not exist or is not a folder; check the path",),
    ),
    BadInput("verify: a folder of photos", "prepare verify photos", ("'photos/meta_info.txt' does not exist",)),
)

DATABASES = (*_BEFORE_TRAINING, *_VERIFIED)
