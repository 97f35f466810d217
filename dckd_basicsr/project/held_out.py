"""The photos that a project tests on: their inputs, their ground truth if there is one, and the teacher's outputs."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import torch
from basicsr.utils import tensor2img

from ..bicubic import imresize_uint8
from ..data.photos.images import Image, read_image
from ..errors import DatasetError
from ..inference.restore import restorer
from ..portable import Opened
from ..prepare.packing import PhotoJob
from ..prepare.parallel import progress
from ..report import write_png
from .photos import DATA
from .plan import Plan

__all__ = ["HELD_OUT", "held_out_names", "write_teacher_outputs"]

HELD_OUT = f"{DATA}/held_out"
"""Folders ``LQ``, ``GT`` and ``teacher`` with PNG files of equal names."""
_LARGEST = 768
"""Longest side of what is tested, in pixels of the output: of larger photos the middle."""
_TILE = {"size": 256, "overlap": 32}


def write_teacher_outputs(jobs: Sequence[PhotoJob], plan: Plan, teacher: Opened, folder: Path) -> list[str]:
    """Write the middle of each held-out photo as a test image, and the teacher's output beside it.

    What is there already is not made again.

    Returns:
        Names of the test images.

    Raises:
        DatasetError: a photo cannot be read or is smaller than the scale.
    """
    root = folder / HELD_OUT
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = teacher.net.to(device)
    restore = restorer(net, teacher.facts, {"tile": _TILE})
    names = []
    try:
        for job in progress(jobs, total=len(jobs), what="teacher on held-out photos", unit="photo"):
            name = f"{job.key.replace('/', '+')}.png"  # which no key holds
            names.append(name.removesuffix(".png"))
            if (root / "teacher" / name).is_file():
                continue
            lq, gt = _test_image(job, plan)
            if gt is not None:
                write_png(gt, root / "GT" / name)
            write_png(lq, root / "LQ" / name)
            x = torch.from_numpy(lq[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
            with torch.inference_mode():
                answer = restore(x.to(device)).float().cpu()
            write_png(tensor2img([answer]), root / "teacher" / name)
    finally:
        teacher.net.to("cpu")
    return names


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
