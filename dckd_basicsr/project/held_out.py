"""The photos that a project tests on: their inputs, their ground truth if there is one, and the teacher's outputs."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import torch
from basicsr.utils import tensor2img
from torch import nn

from ..archs import ArchFacts, build
from ..bicubic import imresize_uint8
from ..data.photos.headers import image_sizes
from ..data.photos.images import Image, read_image
from ..errors import DatasetError
from ..inference.restore import restorer
from ..portable import Opened
from ..prepare.packing import PhotoJob
from ..prepare.parallel import progress
from ..report import write_png
from ..restoring.memory import TileChoice, available_bytes, bytes_per_pixel, host_bytes
from .photos import DATA
from .plan import Plan

__all__ = ["HELD_OUT", "choose_tiles", "held_out_names", "write_teacher_outputs", "write_test_images"]

HELD_OUT = f"{DATA}/held_out"
"""Folders ``LQ``, ``GT`` and ``teacher`` with PNG files of equal names."""
_LARGEST = 768
"""Longest side of what is tested, in pixels of the output: of larger photos the middle."""
_MEMORY_SHARE = 0.5
"""Of the memory that is free so much may be taken for a whole image: a training that validates needs some, too."""


def write_test_images(jobs: Sequence[PhotoJob], plan: Plan, folder: Path) -> None:
    """Write the middle of each held-out photo as a test image; what is there already is not made again.

    Raises:
        DatasetError: a photo cannot be read or is smaller than the scale.
    """
    root = folder / HELD_OUT
    for job in jobs:
        name = f"{job.key.replace('/', '+')}.png"  # which no key holds
        if (root / "LQ" / name).is_file():
            continue
        lq, gt = _test_image(job, plan)
        if gt is not None:
            write_png(gt, root / "GT" / name)
        write_png(lq, root / "LQ" / name)


def choose_tiles(plan: Plan, teacher: Opened, folder: Path) -> dict[str, int | None]:
    """Return the sides of the tiles in which student and teacher restore the test images: None, unless memory is short.

    Networks with means over the image (NAFNet, RCAN) give other pictures in tiles than whole.
    """
    student = build(plan.network, scale=plan.scale, frozen=True)
    return {
        "student": _tile(student.net, student.facts, folder),
        "teacher": _tile(teacher.net, teacher.facts, folder),
    }


def _tile(net: nn.Module, facts: ArchFacts, folder: Path) -> int | None:
    device = _device()
    free = available_bytes(device)
    if free is None:
        return None
    sizes = image_sizes(folder / HELD_OUT / "LQ").values()
    try:
        per_pixel = bytes_per_pixel(net.to(device), facts, device, torch.float32)
    finally:
        net.to("cpu")
    beside = 0 if device.type == "cuda" else max(host_bytes(*size, facts.scale, 1) for size in sizes)
    budget = _MEMORY_SHARE * max(0, free - beside)
    sides = (TileChoice().side(*size, budget, per_pixel, facts) for size in sizes)
    return next((side for side in sides if side is not None), None)


def write_teacher_outputs(plan: Plan, teacher: Opened, folder: Path) -> None:
    """Write the teacher's output for each test image beside it; what is there already is not made again."""
    root, device = folder / HELD_OUT, _device()
    missing = [path for path in sorted((root / "LQ").glob("*.png")) if not (root / "teacher" / path.name).is_file()]
    if not missing:
        return
    restore = restorer(teacher.net.to(device), teacher.facts, plan.tile_of("teacher"))
    try:
        for path in progress(missing, total=len(missing), what="teacher on held-out photos", unit="photo"):
            x = torch.from_numpy(read_image(path)[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
            with torch.inference_mode():
                answer = restore(x.to(device)).float().cpu()
            write_png(tensor2img([answer]), root / "teacher" / path.name)
    finally:
        teacher.net.to("cpu")
        torch.cuda.empty_cache()  # the training needs it; without a GPU there is none


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def held_out_names(folder: Path) -> list[str]:
    """Return the names of a project's test images."""
    return sorted(path.stem for path in (folder / HELD_OUT / "teacher").glob("*.png"))


def _test_image(job: PhotoJob, plan: Plan) -> tuple[Image, Image | None]:
    """Return LQ and GT of the middle of a photo; without ground truth, the photo is the LQ."""
    scale = plan.scale
    photo = read_image(job.path)
    most = _LARGEST // scale * scale
    if plan.wish.kind == "lq":
        return _middle(photo, _LARGEST // scale, 1), None
    if min(photo.shape[:2]) < scale:
        raise DatasetError(f"'{job.path}' has {photo.shape[0]}x{photo.shape[1]} px, less than scale {scale}; remove it")
    if plan.wish.kind == "pairs":
        assert job.lq is not None
        lq = _middle(read_image(job.lq[0]), most // scale, 1)
        top, left = (_start(photo.shape[i] // scale, most // scale) * scale for i in (0, 1))
        return lq, photo[top : top + lq.shape[0] * scale, left : left + lq.shape[1] * scale]
    gt = _middle(photo, most, scale)
    return (imresize_uint8(gt, Fraction(1, scale)) if scale > 1 else gt), gt


def _middle(image: Image, most: int, multiple: int) -> Image:
    """Return the middle of an image, at most so large, its sides multiples of ``multiple``."""
    height, width = (min(side, most) // multiple * multiple for side in image.shape[:2])
    top, left = ((side - kept) // 2 for side, kept in zip(image.shape, (height, width)))
    return image[top : top + height, left : left + width]


def _start(side: int, most: int) -> int:
    return (side - min(side, most)) // 2
