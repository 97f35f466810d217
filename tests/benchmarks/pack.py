"""Packing DIV2K-sized photos into x4 sub-image LMDBs: this package against BasicSR's own steps, and memory.

    python -m tests.benchmarks.pack [--photos 6] [--rounds 3] [--workers 2] [--json FILE]

BasicSR's steps are those its scripts take for DIV2K: cut HR and LR photos into PNG files (crop 480, step 240; level 3,
in processes), then read these again into LMDBs (``make_lmdb_from_imgs``, level 1, in one process). Photos are
synthetic, see ``common.photo``; LR photos are ready made for all variants but the one that says so.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import cv2

from dckd_basicsr.bicubic import imresize_uint8
from dckd_basicsr.prepare.sets.sr import prepare_sr
from dckd_basicsr.prepare.subimages import crop_grid, subimage_key

from .common import machine, medians, paired_rounds, photo, ratios, write_json

__all__ = ["basicsr_steps", "measure", "peak_memory", "write_photos"]

STOCK = "BasicSR's steps"


def write_photos(folder: Path, count: int, size: tuple[int, int] = (1356, 2040), scale: int = 4) -> None:
    """Write ``HR/0001.png`` and ``LR/0001x4.png`` and so on, as DIV2K is published."""
    for name in ("HR", "LR"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(1, count + 1):
        image = photo(number, *size)
        cv2.imwrite(str(folder / "HR" / f"{number:04d}.png"), image)
        cv2.imwrite(str(folder / "LR" / f"{number:04d}x{scale}.png"), imresize_uint8(image, Fraction(1, scale)))


def _cut_file(out: Path, crop: int, step: int, path: Path) -> None:
    """One photo into PNG files, as BasicSR's extract_subimages stores them."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    key = path.stem.split("x")[0]
    for number, (top, left) in enumerate(crop_grid(*image.shape[:2], crop, step), start=1):
        part = image[top : top + crop, left : left + crop]
        name = f"{subimage_key(key, number)}.png"
        cv2.imwrite(str(out / name), part, [cv2.IMWRITE_PNG_COMPRESSION, 3])


def basicsr_steps(photos: Path, out: Path, workers: int, crop: int = 480, step: int = 240, scale: int = 4) -> None:
    """Sub-image files, then LMDBs out of them, for HR and LR."""
    from basicsr.utils.lmdb_util import make_lmdb_from_imgs

    for name, divisor in (("HR", 1), ("LR", scale)):
        cut = out / f"{name}_sub"
        cut.mkdir(parents=True)
        with multiprocessing.get_context("fork").Pool(workers) as pool:
            work = partial(_cut_file, cut, crop // divisor, step // divisor)
            pool.map(work, sorted((photos / name).glob("*.png")), chunksize=1)
        files = sorted(path.name for path in cut.glob("*.png"))
        make_lmdb_from_imgs(str(cut), str(out / f"{name}.lmdb"), files, [Path(name).stem for name in files])


def measure(photos: Path, rounds: int, workers: int, crop: int = 480, scale: int = 4) -> dict[str, list[float]]:
    """Seconds for the whole of ``photos``, per variant and round."""

    def timed(pack: Callable[[Path], object]) -> float:
        out = Path(tempfile.mkdtemp(dir=photos))
        start = time.perf_counter()
        try:
            with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
                pack(out / "packed")
            return time.perf_counter() - start
        finally:
            shutil.rmtree(out)

    def ours(out: Path, **more: Any) -> object:
        settings = {"crop": crop, "step": crop // 2, "workers": workers}
        return prepare_sr(photos / "HR", out, [scale], **{"lq": photos / "LR", **settings, **more})

    variants = {
        STOCK: lambda: timed(lambda out: basicsr_steps(photos, out, workers, crop, crop // 2, scale)),
        "prepare sr": lambda: timed(ours),
        "prepare sr, LR made": lambda: timed(partial(ours, lq=None)),
        "prepare sr --verify": lambda: timed(partial(ours, verify=True)),
        "prepare sr --payload raw": lambda: timed(partial(ours, payload="raw")),
    }
    timed(ours)  # our workers' imports, once per command whatever the number of photos; BasicSR's are forked
    return paired_rounds(variants, rounds)


def peak_memory(photos: Path, limit: int, workers: int, payload: str = "png", crop: int = 480) -> float:
    """Peak memory, MB, of ``basicsr prepare sr`` and its processes for the first ``limit`` photos (Linux).

    Pages that processes share count once, pages of files (the database itself) not at all.
    """
    out = Path(tempfile.mkdtemp(dir=photos))
    command = [sys.executable, "-m", "dckd_basicsr", "prepare", "sr", str(photos / "HR"), str(out), "--scale", "4"]
    command += ["--workers", str(workers), "--limit", str(limit), "--payload", payload, "--crop", str(crop)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    peak = 0
    while child.poll() is None:
        peak = max(peak, sum(_resident(process, child.pid) for process in Path("/proc").glob("[0-9]*")))
        time.sleep(0.02)
    shutil.rmtree(out)
    assert child.returncode == 0
    return peak / 1e6


def _resident(process: Path, session: int) -> int:
    """This process's part of the memory, in bytes, if it is of this session."""
    try:
        if int((process / "stat").read_text().rsplit(")", 1)[1].split()[3]) != session:
            return 0
        lines = (process / "smaps_rollup").read_text().splitlines()
    except (OSError, IndexError):
        return 0  # ended meanwhile
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:"))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=int, default=6, help="photos of 2040x1356 to pack (6)")
    parser.add_argument("--rounds", type=int, default=3, help="paired rounds (3)")
    parser.add_argument("--workers", type=int, default=2, help="processes of every variant (2)")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder)
        write_photos(photos, 3 * args.photos)
        memory = {n: peak_memory(photos, n, args.workers) for n in (args.photos, 3 * args.photos)}
        for number in range(args.photos + 1, 3 * args.photos + 1):
            (photos / "HR" / f"{number:04d}.png").unlink()
            (photos / "LR" / f"{number:04d}x4.png").unlink()
        seconds = measure(photos, args.rounds, args.workers)
    rate = {name: args.photos / value for name, value in medians(seconds).items()}
    faster = {name: 1 / value for name, value in ratios(seconds, STOCK).items()}
    print(
        f"| {args.photos} photos of 2040x1356, {args.workers} processes | photos/s | against {STOCK} |\n|---|---:|---:|"
    )
    for name in seconds:
        print(f"| {name} | {rate[name]:.2f} | {faster[name]:.2f}x |")
    print("\npeak memory, all processes: " + ", ".join(f"{n} photos {mb:.0f} MB" for n, mb in memory.items()))
    print(machine())
    write_json(args.json, {"seconds": seconds, "photos_per_second": rate, "faster": faster, "peak_mb": memory})


if __name__ == "__main__":
    main()
