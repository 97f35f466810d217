"""``basicsr restore`` on real files: the colours of ``basicsr test``, what is kept, and what goes wrong."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from PIL import Image, ImageCms
from safetensors.torch import save_file

from dckd_basicsr.archs import build
from dckd_basicsr.cli import main
from dckd_basicsr.data.photos.pictures import read_picture
from dckd_basicsr.disk import Owner
from tests.photos import photo, save
from tests.tiny import STUDENT, run

COMPACT = {
    "type": "spandrel:Compact", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_conv": 2, "upscale": 2,
    "act_type": "prelu",
}  # fmt: skip


def write_weights(path: Path, options: dict[str, Any], seed: int = 0) -> Path:
    torch.manual_seed(seed)
    state = build(options).net.state_dict()
    save_file({k: v.contiguous() for k, v in state.items()}, path, {"format": "pt", "config": json.dumps(options)})
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "edsr.safetensors", STUDENT)


def restore(*arguments: object) -> int:
    return main(["restore", *map(str, arguments)])


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def seen(path: Path) -> Any:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def network(weights: Path, image: Any) -> Any:
    """What the network makes of float values, H x W x 3, RGB."""
    from dckd_basicsr.portable import open_network

    with torch.inference_mode():
        out = open_network(weights).net(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None])
    return out[0].clamp(0, 1).numpy().transpose(1, 2, 0)


def test_colours_are_those_of_basicsr_test(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i, size in enumerate([(33, 47), (1, 1), (20, 9)]):
        save(tmp_path / f"in/png{i}.png", photo(i, *size))
    save(tmp_path / "in/jpeg.jpg", photo(7, 41, 30))
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.fromarray(photo(8, 26, 35)).save(tmp_path / "in/turned.jpg", exif=tags)
    options = {
        "name": "x", "model_type": "RestorationModel", "scale": 2, "num_gpu": 0, "manual_seed": 0,
        "datasets": {"test_1": {"name": "photos", "type": "SingleImageDataset", "dataroot_lq": "in",
                                "io_backend": {"type": "disk"}}},
        "network_g": STUDENT, "val": {"save_img": True},
        "path": {"pretrain_network_g": str(weights), "param_key_g": None},
    }  # fmt: skip
    (tmp_path / "test.yml").write_text(yaml.safe_dump(options))
    done = run(tmp_path, "test", "-opt", "test.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert restore(tmp_path / "in", "-o", tmp_path / "out", "--weights", weights) == 0
    assert capsys.readouterr().out == f"EDSR, x2, on cpu: 5 of 5 images\n5 restored: {tmp_path / 'out'}\n"
    for name in ("png0", "png1", "png2", "jpeg", "turned"):
        expected = seen(tmp_path / f"results/x/visualization/photos/{name}_x.png")
        assert expected is not None
        assert np.array_equal(seen(tmp_path / f"out/{name}.png"), expected), name
    assert seen(tmp_path / "out/turned.png").shape == (70, 52, 3)


def test_what_belongs_to_a_picture_comes_out(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    colours, alpha = photo(0, 19, 26), photo(1, 19, 26)[..., 0]
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    deep = colours.astype(np.uint16) * 201
    source = tmp_path / "in"
    save(source / "grey.png", alpha)
    save(source / "deep.png", deep)
    save(source / "sub/alpha.png", np.dstack([colours, alpha]))
    save(source / "opaque.png", np.dstack([colours, np.full_like(alpha, 255)]))
    Image.fromarray(colours).convert("CMYK").save(source / "cmyk.jpg")
    tags = Image.Exif()
    tags[0x010F], tags[0x0112] = "Maker", 8
    Image.fromarray(colours).save(source / "photo.jpeg", exif=tags, icc_profile=profile)
    out = tmp_path / "out"
    assert restore(source, "-o", out, "--weights", weights, "--device", "cpu") == 0
    assert names(out) == ["cmyk.png", "deep.png", "grey.png", "opaque.png", "photo.png", "sub/alpha.png"]
    assert f"note: '{source / 'cmyk.jpg'}' is CMYK; converted to RGB without a profile" in capsys.readouterr().err

    rgb = np.float32(colours[..., ::-1]) / 255
    three = network(weights, np.repeat(np.float32(alpha)[..., None] / 255, 3, axis=2))
    grey = np.rint(three.mean(axis=2) * 255)
    assert seen(out / "grey.png").ndim == 2
    assert np.abs(seen(out / "grey.png") - grey).max() <= 1
    assert (seen(out / "grey.png") != grey).mean() < 0.01
    found = seen(out / "sub/alpha.png")
    assert np.array_equal(found[..., :3], np.rint(network(weights, rgb) * 255)[..., ::-1])
    assert np.array_equal(found[..., 3], seen(out / "grey.png"))
    assert (seen(out / "opaque.png")[..., 3] == 255).all()
    found = seen(out / "deep.png")
    assert found.dtype == np.uint16
    expected = np.rint(network(weights, np.float32(deep[..., ::-1]) / 65535) * 65535)[..., ::-1]
    assert np.abs(found - expected).max() <= 1
    assert len(np.unique(found)) > 600  # not 8 bits, spread
    with Image.open(out / "photo.png") as kept:
        assert (kept.size, kept.info["icc_profile"]) == ((38, 52), profile)
        assert (kept.getexif()[0x010F], kept.getexif()[0x0112]) == ("Maker", 1)


def test_tiles_leave_no_seams(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "in/a.png"
    save(source, photo(3, 150, 131))
    compact = write_weights(tmp_path / "compact.safetensors", COMPACT)
    for name, file in (("edsr", weights), ("compact", compact)):  # which reach 6 and 4 pixels
        assert restore(source, "-o", tmp_path / name, "--weights", file, "--tile", "none") == 0
        assert restore(source, "-o", tmp_path / f"{name}_t", "--weights", file, "--tile", 40, "--overlap", 12) == 0
        whole, tiled = (seen(tmp_path / folder / "a.png").astype(int) for folder in (name, f"{name}_t"))
        assert whole.shape == (300, 262, 3)
        assert np.abs(whole - tiled).max() <= 1
        assert (whole != tiled).mean() < 1e-4  # sums in another order, at the edge of rounding
        assert "1 restored (1 in tiles)" in capsys.readouterr().out
    assert restore(source, "-o", tmp_path / "far", "--weights", weights, "--tile", 40, "--overlap", 0) == 0
    assert np.abs(seen(tmp_path / "far/a.png").astype(int) - seen(tmp_path / "edsr/a.png")).max() > 1


def test_three_broken_among_many(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for i in range(60):
        save(source / f"{i % 3}/p{i}.png", photo(i, 6, 8))
    broken = {"0/p3.png": b"no picture", "1/p4.png": b"", "2/p59.png": (source / "2/p59.png").read_bytes()[:-40]}
    for name, data in broken.items():
        (source / name).write_bytes(data)
    assert restore(source, "-o", out, "--weights", weights) == 1
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if line]
    assert len(lines) == 4
    for name in broken:
        assert any(f"error: '{source / name}' is damaged, cut short or not an image" in line for line in lines)
    assert lines[-1] == "basicsr: error: 3 images could not be restored, see above"
    assert f"57 restored: {out}" in said.out
    assert names(out) == [name for name in names(source) if name not in broken]  # and nothing else
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    for name in broken:
        save(source / name, photo(0, 6, 8))
    assert restore(source, "-o", out, "--weights", weights) == 0
    assert "3 restored; 57 skipped, which were there already (--overwrite" in capsys.readouterr().out
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert restore(source, "-o", out, "--weights", weights, "--overwrite", "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    assert all(path.stat().st_mtime_ns > stamp for path, stamp in stamps.items())


def test_formats_strips_and_self_ensemble(tmp_path: Path, weights: Path) -> None:
    source = tmp_path / "in"
    for name in ("a.png", "b.jpg", "c.webp", "d.bmp"):
        save(source / name, photo(2, 22, 30))
    out = tmp_path / "out"
    assert restore(source, "-o", out, "--weights", weights, "--format", "same", "--compare", "--self-ensemble") == 0
    strips = [f"compare/{name}" for name in ("a.png", "b.jpg.png", "c.webp.png", "d.png")]
    assert names(out) == ["a.png", "b.jpg", "c.webp", *strips, "d.png"]
    for name, kind in (("a.png", "PNG"), ("b.jpg", "JPEG"), ("c.webp", "WEBP"), ("d.png", "PNG")):
        with Image.open(out / name) as image:
            assert (image.format, image.size) == (kind, (60, 44))
    assert seen(out / strips[0]).shape[1] == 2 * 480 + 6
    assert restore(source / "a.png", "-o", tmp_path / "plain", "--weights", weights) == 0
    difference = np.abs(seen(out / "a.png").astype(int) - seen(tmp_path / "plain/a.png"))
    assert 0 < difference.max() < 80


def test_names_that_clash(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.png", "a.jpg", "b.png", "other/b.png"):
        save(source / name, photo(1, 8, 8))
    assert restore(source, "-o", out, "--weights", weights) == 0
    assert names(out) == ["a.jpg.png", "a.png.png", "b.png", "other/b.png"]
    assert restore(source / "b.png", source / "other", "-o", tmp_path / "two", "--weights", weights) == 1
    message = (
        f"'{source / 'b.png'}' and '{source / 'other/b.png'}' would both be written to '{tmp_path / 'two/b.png.png'}'"
    )
    assert message in capsys.readouterr().err
    assert not (tmp_path / "two").exists()


def test_folders_that_cannot_be(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in"
    save(source / "a.png", photo(1, 8, 8))
    save(source / "deeper/b.png", photo(1, 8, 8))
    before = names(tmp_path)

    def refused(message: str, *arguments: object) -> None:
        assert restore(*arguments, "--weights", weights) == 1
        said = capsys.readouterr().err.strip()
        assert message in said
        assert said.count("\n") == 0
        assert names(tmp_path) == before

    refused(f"'{source}' lies in '{source}', where the restorations go", source, "-o", source)
    refused(f"'{source / 'a.png'}' lies in '{source}'", source / "a.png", "-o", source)
    refused(f"'{source / 'deeper'}' lies in '{source}'", source / "deeper", "-o", source)
    refused("did you mean 'a.png'?", source / "b.png", "-o", tmp_path / "out")
    refused(f"nothing can be written to '{source / 'a.png'}'", source / "deeper", "-o", source / "a.png")
    refused("--half is for GPUs", source, "-o", tmp_path / "out", "--half", "--device", "cpu")
    refused("--tile 20 must be larger than the overlap of 32", source, "-o", tmp_path / "out", "--tile", 20)
    monkeypatch.setattr("tempfile.TemporaryFile", _denied)
    refused(f"nothing can be written to '{tmp_path / 'out'}' (Permission denied)", source, "-o", tmp_path / "out")
    monkeypatch.undo()
    # results inside the folder that was given are no inputs of the next time
    assert restore(source, "-o", source / "out", "--weights", weights) == 0
    assert restore(source, "-o", source / "out", "--weights", weights) == 0
    assert names(source / "out") == ["a.png", "deeper/b.png"]


def _denied(**_: object) -> None:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@pytest.mark.parametrize("name", ["a" * 240, "网" * 80], ids=["latin", "chinese"])
def test_a_name_as_long_as_names_may_be_is_restored(tmp_path: Path, weights: Path, name: str) -> None:
    save(tmp_path / "in/first.png", photo(0, 9, 11))
    (tmp_path / "in/first.png").rename(tmp_path / f"in/{name}.png")
    for _ in range(2):
        assert restore(tmp_path / "in", "-o", tmp_path / "out", "--weights", weights, "--compare") == 0
        assert names(tmp_path / "out") == sorted([f"{name}.png", f"compare/{name}.png"])
    assert read_picture(tmp_path / f"out/{name}.png").pixels.shape == (18, 22, 3)


def test_a_name_that_becomes_too_long_fails_and_the_others_go_on(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = "a" * 251
    for number, name in enumerate(["0", long, "z"]):
        save(tmp_path / f"{number}.bmp", photo(number, 8, 8))
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / f"{number}.bmp").rename(tmp_path / f"in/{name}.bmp")
    for _ in range(2):
        command = [tmp_path / "in", "-o", tmp_path / "out", "--weights", weights, "--format", "webp", "--quiet"]
        assert restore(*command) == 1
        said = capsys.readouterr().err
        assert (
            f"error: '{tmp_path}/in/{long}.bmp': '{tmp_path}/out/{long}.webp' cannot be written: the name has 256"
            in said
        )
        assert "1 image could not be restored" in said
        assert "Traceback" not in said
        assert names(tmp_path / "out") == ["0.webp", "z.webp"]


def test_what_a_killed_command_left_half_written_goes(tmp_path: Path, weights: Path) -> None:
    save(tmp_path / "in/sub/a.png", photo(0, 8, 8))
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    (tmp_path / "out/sub").mkdir(parents=True)
    (tmp_path / f"out/sub/.dckd.tmp-{Owner(host='x', pid=process.pid)}").write_bytes(b"half")
    theirs = f"sub/.dckd.tmp-{Owner('x', '0' * 8, process.pid)}"
    (tmp_path / "out" / theirs).write_bytes(b"half")
    assert restore(tmp_path / "in", "-o", tmp_path / "out", "--weights", weights) == 0
    assert names(tmp_path / "out") == sorted(["sub/a.png", theirs])


def test_a_full_disk_is_one_error(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(9):
        save(tmp_path / f"in/{i}.png", photo(i, 8, 8))
    fsync, files, one_at_a_time = os.fsync, [], threading.Lock()  # several images are written at a time

    def full(descriptor: int) -> None:
        with one_at_a_time:
            if os.fstat(descriptor).st_size > 100 and not os.path.isdir(f"/proc/self/fd/{descriptor}"):  # noqa: PTH112
                files.append(descriptor)
            if len(files) > 4:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    assert restore(tmp_path / "in", "-o", tmp_path / "out", "--weights", weights) == 1
    said = capsys.readouterr().err
    assert said.count("cannot be written (") == 1
    assert "No space left on device" in said
    monkeypatch.undo()
    left = names(tmp_path / "out")
    assert 0 < len(left) <= 4
    assert all(read_picture(tmp_path / "out" / name).pixels.shape == (16, 16, 3) for name in left)
    assert restore(tmp_path / "in", "-o", tmp_path / "out", "--weights", weights) == 0
    assert len(names(tmp_path / "out")) == 9


def test_ctrl_c_keeps_what_is_done(tmp_path: Path, weights: Path) -> None:
    save_many(tmp_path / "in")
    command = [sys.executable, "-m", "dckd_basicsr", "restore", "in", "-o", "out", "--weights", str(weights)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--self-ensemble"],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a job in the background ignores
    )
    wait_for_one(tmp_path / "out")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert_stopped(tmp_path / "out", said)


def test_sigterm_keeps_what_is_done(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_many(tmp_path / "in")

    def stop() -> None:
        wait_for_one(tmp_path / "out")
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # of this process, should the command be done already
    try:
        stopper = threading.Thread(target=stop)
        stopper.start()
        assert restore(tmp_path / "in", "-o", tmp_path / "out", "--weights", weights, "--self-ensemble") == 143
        stopper.join()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert_stopped(tmp_path / "out", capsys.readouterr().err)


MANY = 2000
"""Minutes of work on any machine, so that a command is not done when it is stopped."""


def save_many(folder: Path) -> None:
    save(folder / "0.png", photo(0, 300, 400))
    for i in range(1, MANY):
        os.link(folder / "0.png", folder / f"{i}.png")


def wait_for_one(out: Path) -> None:
    until = time.monotonic() + 180
    while not list(out.glob("*.png")) and time.monotonic() < until:
        time.sleep(0.01)


def assert_stopped(out: Path, said: str) -> None:
    done = names(out)
    assert f"basicsr: stopped: {len(done)} of {MANY} images are restored; the same command goes on" in said
    assert 0 < len(done) < MANY
    assert not [name for name in done if name.startswith(".")]
    assert all(seen(out / name).shape == (600, 800, 3) for name in done)
