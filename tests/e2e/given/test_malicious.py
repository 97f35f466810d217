"""Option files and databases made to harm: nothing in them is run, no memory or time is lost on them, and the message
is the usual one."""

from __future__ import annotations

import pickle
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import lmdb
import pytest

from dckd_basicsr.cli import main
from tests.refusal import refused

# --- option files and overrides

TAGS = [
    "!!python/object/apply:os.system ['touch ran']",
    "!!python/object/apply:builtins.exec [\"open('ran', 'w')\"]",
    "!!python/object/new:pathlib.Path [ran]",
    "!!python/name:os.system",
    "!!python/module:this",
]


@pytest.mark.parametrize("tag", TAGS)
def test_python_tags_are_refused(job: Path, capsys: Any, tag: str) -> None:
    message = refused(capsys, "train", "-opt", "job.yml", "--force_yml", f"train:ema_decay={tag}")
    assert "could not determine a constructor for the tag" in message
    Path("evil.yml").write_text(f"{Path('job.yml').read_text()}extra: {tag}\n")
    message = refused(capsys, "train", "-opt", "evil.yml")
    assert "option file 'evil.yml', line" in message
    assert "could not determine a constructor for the tag" in message


@pytest.mark.parametrize(
    "entry",
    [
        "network_g:num_feat=[__import__('pathlib').Path('ran').touch()]",
        "x'];__import__('pathlib').Path('ran').touch();opt['y=1",
        "train:ema_decay=__import__('os').system('touch ran')",
        "__class__:__init__:__globals__=1",
        "__import__('os').system('touch ran')=1",
    ],
)
def test_code_in_overrides_is_text(job: Path, capsys: Any, entry: str) -> None:
    refused(capsys, "train", "-opt", "job.yml", "--force_yml", entry)
    assert not Path("ran").exists()


def laughs(block: str, last: str = "") -> str:
    """Nine aliases of nine aliases of ...: a kilobyte that stands for billions of values."""
    levels = [f"a{i}: &a{i} {block.format(','.join([f'*a{i - 1}'] * 9))}" for i in range(1, 12)]
    return "\n".join([f"a0: &a0 {block.format('{x: 1}' if '<<' in block else 'x')}", *levels, last])


BOMBS = {
    "unknown keys": (laughs("[{}]"), "aliases spell out to more than 100000 values"),
    "loops": (
        "name: &a [*a]\ntrain: &t {pixel_opt: *t, x: *t}\nmodel_type: DCKDModel\n",
        "an anchor contains itself; write its value out",
    ),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_alias_bombs_do_not_hang(job: Path, kind: str) -> None:
    text, message = BOMBS[kind]
    Path("bomb.yml").write_text(f"model_type: DCKDModel\n{text}" if "model_type" not in text else text)
    command = [sys.executable, "-m", "dckd_basicsr", "train", "-opt", "bomb.yml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", ["a known key", "merges", "an override"])
def test_alias_bombs_that_are_printed_or_merged(job: Path, kind: str) -> None:
    text = laughs("{{<<: [{}]}}") if kind == "merges" else laughs("[{}]", "name: *a11" if kind == "a known key" else "")
    Path("bomb.yml").write_text(f"model_type: DCKDModel\n{text}\n")
    command = [sys.executable, "-m", "dckd_basicsr", "train", "-opt", "bomb.yml"]
    command += ["--force_yml", "a11:x=1"] if kind == "an override" else []
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "aliases spell out to more than 100000 values" in done.stderr


# --- databases


def png(width: int, height: int, rows: bytes) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def header(image: bytes, width: int, height: int) -> bytes:
    return image[:16] + struct.pack(">II", width, height) + image[24:]


class Touch:
    """Leaves a file where it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("ran"),)


PAYLOADS = {
    "text": b"hello",
    "nothing": b"",
    "a pickle": pickle.dumps(Touch()),
    "too large for OpenCV": png(2**31 - 1, 2**31 - 1, b""),
    "gigabytes claimed": png(30_000, 30_000, b""),
    "gigabytes claimed, checksums of the header wrong": header(png(32, 32, bytes(97 * 32)), 30_000, 30_000),
    "a bitmap of gigabytes": struct.pack(
        "<2sIHHIIiiHHIIiiII", b"BM", 70, 0, 0, 54, 40, 30_000, 30_000, 1, 24, 0, 0, 0, 0, 0, 0
    ),
}


@pytest.mark.parametrize("kind", PAYLOADS)
def test_payloads_that_are_no_image(job: Path, capsys: Any, kind: str) -> None:
    with lmdb.open("data/GT.lmdb", lock=False) as env, env.begin(write=True) as transaction:
        transaction.put(b"photo0_s001", PAYLOADS[kind])
    Path("data/GT.lmdb/checksums.txt").unlink()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = refused(capsys, "prepare", "verify", "data/GT.lmdb")
    assert "'data/GT.lmdb' is damaged: 'photo0_s001' is damaged, cut short or not an image" in message
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB


@pytest.mark.parametrize(
    "line",
    [
        "../../x.png (32,32,3) 1",
        ".hidden.png (32,32,3) 1",
        "photo0_s001.png (99999999999999999999,32,3) 1",
        f"photo0_s001.png ({'9' * 5000},32,3) 1",
        "photo0_s001.png (-1,32,3) 1",
        "__import__('os').system('touch ran')",
    ],
)
def test_lines_of_meta_info_that_are_none(job: Path, capsys: Any, line: str) -> None:
    meta = Path("data/GT.lmdb/meta_info.txt")
    meta.write_text("\n".join([line, *meta.read_text().splitlines()[1:]]) + "\n")
    for command in (["train", "-opt", "job.yml"], ["prepare", "verify", "data/GT.lmdb"]):
        message = refused(capsys, *command)
        assert "'data/GT.lmdb/meta_info.txt' line 1 is" in message
        assert len(message) < 600


def test_keys_that_look_like_paths_only_name_images(job: Path, capsys: Any) -> None:
    """A key is looked up in the database and nowhere else."""
    Path("secret.png").write_bytes(png(32, 32, bytes(97 * 32)))
    meta = Path("data/GT.lmdb/meta_info.txt")
    meta.write_text(meta.read_text().replace("photo0_s001.png", f"{job}/secret.png"))
    message = refused(capsys, "prepare", "verify", "data/GT.lmdb")
    assert f"has no image under key '{job}/secret'" in message


def test_photos_that_claim_gigabytes_are_not_packed(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Path("photos/bomb.png").write_bytes(png(30_000, 30_000, b""))
    command = ["prepare", "sr", "photos", "out", "--scale", "2", "--crop", "0", "--workers", "0"]
    assert "'photos/bomb.png' is damaged, cut short or not an image" in refused(capsys, *command)
    assert not Path("out").exists()
    Path("photos/bomb.png").write_bytes(png(32, 32, bytes(97 * 32)))  # the same maker's honest one
    assert main(command) == 0
    assert len(list(Path("out").iterdir())) == 2
