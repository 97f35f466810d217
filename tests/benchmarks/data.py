"""Reading training patches: BasicSR's dataset against this package's, per core and through a loader with two workers.

    python -m tests.benchmarks.data [--photos 6] [--rounds 5] [--seconds 2] [--json FILE]

x4, GT patches of 192 px out of sub-images of 480 px, batches of 16, synthetic photos (``common.photo``). The stock
dataset reads an LMDB as BasicSR writes it, ours read ours; databases lie in the page cache. "+ images" adds what
``PairedLMDBDataset`` leaves to the device (flips, RGB, float), here done by the same core.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, default_collate

from dckd_basicsr.data.augment import images_on
from dckd_basicsr.data.lmdb.reader import LmdbImages
from dckd_basicsr.data.paired_lmdb_dataset import PairedLMDBDataset, collate
from dckd_basicsr.data.paired_patch_dataset import PairedPatchDataset
from dckd_basicsr.data.patches import PatchRequest, PatchSampler, Stage
from dckd_basicsr.data.samples import NamedSamples
from dckd_basicsr.prepare.sets.sr import prepare_sr

from .common import machine, medians, paired_rounds, photo, ratios, write_json

__all__ = ["datasets", "per_core", "through_loader", "write_databases"]

STOCK = "PairedImageDataset, BasicSR's LMDB"
SCALE, BATCH = 4, 16


def write_databases(folder: Path, photos: int, size: tuple[int, int] = (1356, 2040), crop: int = 480) -> None:
    """Write the same sub-images three times: ``png``, ``raw`` and, as BasicSR writes them, ``stock``."""
    from basicsr.utils.lmdb_util import LmdbMaker

    (folder / "photos").mkdir()
    for number in range(photos):
        cv2.imwrite(str(folder / "photos" / f"{number:04d}.png"), photo(number, *size))
    with contextlib.redirect_stderr(io.StringIO()):
        for payload in ("png", "raw"):
            settings: dict[str, Any] = {"crop": crop, "step": crop // 2, "payload": payload}
            prepare_sr(folder / "photos", folder / payload, [SCALE], **settings)
    (folder / "stock").mkdir()
    for name in ("GT.lmdb", f"LQ_x{SCALE}.lmdb"):
        maker = LmdbMaker(str(folder / "stock" / name), map_size=1 << 34)
        with LmdbImages(folder / "raw" / name) as images:
            for key in images.keys:
                data = cv2.imencode(".png", images.image(key), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
                maker.put(data, key, images.shapes[key])
        maker.close()


def datasets(folder: Path, gt_size: int = 192) -> dict[str, Any]:
    """The compared datasets by name."""
    from basicsr.data.paired_image_dataset import PairedImageDataset

    def options(kind: str) -> dict[str, Any]:
        roots = {"dataroot_gt": str(folder / kind / "GT.lmdb"), "dataroot_lq": str(folder / kind / f"LQ_x{SCALE}.lmdb")}
        flips = {"use_hflip": True, "use_rot": True, "gt_size": gt_size}
        return {"name": kind, **roots, **flips, "io_backend": {"type": "lmdb"}, "scale": SCALE, "phase": "train"}

    return {
        STOCK: PairedImageDataset(options("stock")),
        "PairedPatchDataset, PNG": PairedPatchDataset(options("png")),
        "PairedLMDBDataset, PNG": PairedLMDBDataset(options("png")),
        "PairedLMDBDataset, raw": PairedLMDBDataset(options("raw")),
    }


def per_core(dataset: Any, seconds: float, gt_size: int = 192, images: bool = False) -> float:
    """Samples per second of one process that reads batches; ``images``: and makes images of them."""
    wrapped = NamedSamples(dataset)
    sampler = PatchSampler(len(dataset), [Stage(1, gt_size, BATCH)], ratio=BATCH)

    def batches() -> Iterator[Any]:
        epoch = 0
        while True:
            sampler.set_epoch(epoch)
            for asked in sampler:
                batch = _read(wrapped, asked)
                yield images_on(batch, "cpu") if images else batch
            epoch += 1

    return _rate(batches(), seconds)


def _read(wrapped: NamedSamples, asked: list[PatchRequest]) -> Any:
    if getattr(wrapped.dataset, "takes_requests", False):
        return collate(wrapped.__getitems__(asked))
    return default_collate([wrapped.dataset[request.image] for request in asked])  # as a stock loader does


def through_loader(dataset: Any, seconds: float, gt_size: int = 192, workers: int = 2) -> float:
    """Samples per second out of a loader with workers, nothing done with them."""
    sampler = PatchSampler(len(dataset), [Stage(1, gt_size, BATCH)], ratio=10_000)
    loader: DataLoader = DataLoader(
        NamedSamples(dataset), batch_sampler=sampler, num_workers=workers, collate_fn=collate
    )
    return _rate(iter(loader), seconds)


def _rate(batches: Iterator[Any], seconds: float) -> float:
    for _ in range(5):  # workers have to start, and the page cache to fill
        next(batches)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        count += len(next(batches)["gt"])
    return count / (time.perf_counter() - start)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=int, default=6, help="photos of 2040x1356, 40 sub-images each (6)")
    parser.add_argument("--rounds", type=int, default=5, help="paired rounds (5)")
    parser.add_argument("--seconds", type=float, default=2, help="for each measurement (2)")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        write_databases(Path(name), args.photos)
        sizes = {kind: Path(name, kind, "GT.lmdb", "data.mdb").stat().st_size / 1e6 for kind in ("stock", "png", "raw")}
        compared = datasets(Path(name))
        core: dict[str, Callable[[], float]] = {}
        loader: dict[str, Callable[[], float]] = {}
        for kind, dataset in compared.items():
            core[kind] = lambda d=dataset: per_core(d, args.seconds)
            loader[kind] = lambda d=dataset: through_loader(d, args.seconds)
            if isinstance(dataset, PairedLMDBDataset):
                core[f"{kind} + images"] = lambda d=dataset: per_core(d, args.seconds, images=True)
        found = {
            "one core": paired_rounds(core, args.rounds),
            "loader with 2 workers": paired_rounds(loader, args.rounds),
        }
    summary = {}
    for where, measured in found.items():
        rate, ratio = medians(measured), ratios(measured, STOCK)
        summary[where] = {name: {"samples_per_second": rate[name], "ratio": ratio[name]} for name in measured}
        print(f"| {where} | samples/s | against stock |\n|---|---:|---:|")
        for kind in measured:
            print(f"| {kind} | {rate[kind]:.0f} | {ratio[kind]:.1f}x |")
        print()
    print("GT.lmdb, MB: " + ", ".join(f"{kind} {size:.0f}" for kind, size in sizes.items()))
    print(machine())
    write_json(args.json, {"summary": summary, "rounds": found, "gt_mb": sizes})


if __name__ == "__main__":
    main()
