"""Whether a written file gives the network's outputs, on photos at two sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..archs.facts import ArchFacts
from ..bicubic import imresize_uint8
from ..data.photos.images import read_image
from ..errors import CheckpointError, DatasetError

__all__ = ["LEAST_SIDE", "Check", "Picture", "agreement", "pictures_for", "require"]

_SIZES = ((96, 128), (77, 101))
"""Height and width of the inputs: of the second neither is a multiple of anything that networks want."""
_PHOTOS = 4
LEAST_SIDE = 16
"""Smaller pictures are all border, or have none of their pixels left once it is cropped."""
_LEAST_PSNR = {False: 60.0, True: 40.0}
_LARGEST = {False: 1e-3, True: None}
"""By half: what two programs may differ by in values of [0, 1]; a rounding of float16 may be larger in one pixel."""


@dataclass(frozen=True)
class Picture:
    """An input (1, C, H, W) in [0, 1], and its ground truth where there is one."""

    name: str
    lq: Tensor
    gt: Tensor | None = None


@dataclass(frozen=True)
class Check:
    """How two programs agree on a picture; a row of the card.

    Attributes:
        file: that was read back.
        program: that read it.
        picture: name and size of the input.
        largest: the largest difference, of values in [0, 1].
        psnr: between the two outputs, dB; infinite where they are equal.
        network_psnr: of the network to the ground truth: RGB, 8 bits, ``scale`` pixels cropped; None without it.
        file_psnr: of the file to the ground truth.
        agrees: whether that is within what rounding explains.
        inside: how many of the network's values lie between 0 and 1, before all are clamped; of 1.
    """

    file: str
    program: str
    picture: str
    largest: float
    psnr: float
    network_psnr: float | None
    file_psnr: float | None
    agrees: bool
    inside: float


def agreement(
    file: str,
    program: str,
    network: Callable[[Tensor], Tensor],
    other: Callable[[Tensor], Tensor],
    pictures: Sequence[Picture],
    facts: ArchFacts,
    *,
    half: bool = False,
) -> list[Check]:
    """Compare two programs' outputs on pictures, clamped to [0, 1] as all of them are when they become images.

    Without ``half`` they must agree to 1e-3 everywhere and to 60 dB, with it to 40 dB.
    """
    found = []
    for picture in pictures:
        raw, theirs = (
            _answer(run, who, picture) for run, who in ((network, "the network"), (other, f"{program} with {file}"))
        )
        inside = float(((raw > 0) & (raw < 1)).float().mean())
        ours, theirs = raw.clamp(0, 1), theirs.clamp(0, 1)
        size = f"{picture.name}, {picture.lq.shape[-1]}x{picture.lq.shape[-2]}"
        if ours.shape != theirs.shape:
            found.append(Check(file, program, size, math.inf, 0.0, None, None, agrees=False, inside=inside))
            continue
        largest, psnr = float((ours - theirs).abs().max()), _psnr(ours, theirs)
        gts = [_to_gt(each, picture.gt, facts.scale) for each in (ours, theirs)]
        limit = _LARGEST[half]
        agrees = psnr >= _LEAST_PSNR[half] and (limit is None or largest <= limit)
        found.append(Check(file, program, size, largest, psnr, gts[0], gts[1], agrees, inside))
    return found


def _answer(run: Callable[[Tensor], Tensor], who: str, picture: Picture) -> Tensor:
    try:
        with torch.inference_mode():
            return run(picture.lq.clone()).float()
    except RuntimeError as error:
        shape = "x".join(str(side) for side in picture.lq.shape)
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise CheckpointError(
            f"{who} fails on '{picture.name}', {shape} ({reason}): a network must take images of any size with the "
            "channels that its options tell; nothing was written"
        ) from error


def require(checks: Sequence[Check]) -> None:
    """Raise CheckpointError with the worst of ``checks`` if one does not agree."""
    worst = min(checks, key=lambda check: (check.agrees, check.psnr))
    if not worst.agrees:
        raise CheckpointError(
            f"{worst.program} with {worst.file} answers otherwise than the network: on {worst.picture} the two are "
            f"{worst.psnr:.1f} dB alike and differ by up to {worst.largest:.3g}; nothing was written. Leave this "
            "format out of --to (or --fp16, if it was given)"
        )


def pictures_for(
    facts: ArchFacts, channels: int, photos: Sequence[Path] = (), gt: Sequence[Path] = ()
) -> tuple[list[Picture], str]:
    """Return inputs of two sizes, and in words what they are.

    Args:
        facts: of the network.
        channels: of its input.
        photos: inputs; their middle is taken, the first few of them. None: scikit-image's photos, else random ones.
        gt: their ground truth, with the same name, or the name less a suffix such as ``x4``.

    Raises:
        DatasetError: a photo cannot be read, is too small, or has no ground truth among those given.
    """
    if gt and not photos:
        raise DatasetError("ground truth was given without photos; give the inputs too (--photos)")
    whole: list[tuple[str, NDArray[np.uint8], NDArray[np.uint8] | None]]
    if photos:
        used = list(photos)[:_PHOTOS]
        whole = [(path.stem, read_image(path), _truth_of(path, gt, facts.scale) if gt else None) for path in used]
        words = f"{len(used)} of {len(photos)} photos given" if len(used) < len(photos) else f"{len(used)} photos given"
    else:
        whole, words = _own(facts.scale)
    for name, lq, _ in whole:
        if min(lq.shape[:2]) < LEAST_SIDE:
            raise DatasetError(
                f"'{name}' has {lq.shape[1]}x{lq.shape[0]} px, too few to compare answers on: give photos of at least "
                f"{LEAST_SIDE}x{LEAST_SIDE} px (--photos)"
            )
    if len(whole) == 1:
        whole = 2 * whole
    return [
        Picture(name, *_crops(lq, truth, _SIZES[i % 2], channels, facts.scale))
        for i, (name, lq, truth) in enumerate(whole)
    ], words


def _own(scale: int) -> tuple[list[tuple[str, NDArray[np.uint8], NDArray[np.uint8] | None]], str]:
    try:
        from skimage import data

        found = [(name, np.ascontiguousarray(getattr(data, name)()[..., ::-1])) for name in ("chelsea", "coffee")]
        words = "scikit-image's photos chelsea and coffee"
    except (ImportError, OSError):
        rng = np.random.default_rng(0)
        small = [rng.integers(0, 256, (20, 28, 3)).astype(np.uint8) for _ in range(2)]
        sides = 168 * scale, 120 * scale
        found = [(f"random{i}", cv2.resize(s, sides, interpolation=cv2.INTER_CUBIC)) for i, s in enumerate(small)]
        words = "two smooth random pictures (scikit-image's photos are not installed)"
    if scale == 1:
        return [(name, image, None) for name, image in found], words
    pairs = []
    for name, image in found:
        image = _middle(image, *(min(side // scale, 140) * scale for side in image.shape[:2]))
        pairs.append((name, imresize_uint8(image, 1 / scale), image))
    return pairs, f"{words}, made smaller with bicubic interpolation"  # type: ignore[return-value]


def _middle(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def _crops(
    lq: NDArray[np.uint8], truth: NDArray[np.uint8] | None, size: tuple[int, int], channels: int, scale: int
) -> tuple[Tensor, Tensor | None]:
    height, width = min(size[0], lq.shape[0]), min(size[1], lq.shape[1])
    top, left = (lq.shape[0] - height) // 2, (lq.shape[1] - width) // 2
    inner = lq[top : top + height, left : left + width]
    if truth is None:
        return _tensor(inner, channels), None
    there = slice(top * scale, (top + height) * scale), slice(left * scale, (left + width) * scale)
    return _tensor(inner, channels), _tensor(truth[there], channels)


def _tensor(image: NDArray[np.uint8], channels: int) -> Tensor:
    x = torch.from_numpy(np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1))).float()[None] / 255
    return x if channels == 3 else x.mean(1, keepdim=True).expand(-1, channels, -1, -1).contiguous()


def _truth_of(photo: Path, gt: Sequence[Path], scale: int) -> NDArray[np.uint8]:
    short = photo.stem.removesuffix(f"x{scale}").removesuffix("_")
    path = next((path for stem in (photo.stem, short) for path in gt if path.stem == stem), None)
    if path is None:
        raise DatasetError(f"'{photo}' has no ground truth: a file named {photo.stem}.* or {short}.* was looked for")
    image, lq = read_image(path), read_image(photo)
    if any(g // scale != side for g, side in zip(image.shape[:2], lq.shape[:2])):
        raise DatasetError(
            f"'{path}' has {image.shape[1]}x{image.shape[0]} px, which is not {scale} times the "
            f"{lq.shape[1]}x{lq.shape[0]} px of '{photo}'"
        )
    return image


def _psnr(a: Tensor, b: Tensor) -> float:
    error = float((a.double() - b.double()).square().mean())
    return math.inf if error == 0 else -10 * math.log10(error)


def _to_gt(answer: Tensor, gt: Tensor | None, scale: int) -> float | None:
    if gt is None or answer.shape != gt.shape:
        return None
    border = slice(scale, -scale)
    return _psnr((answer * 255).round()[..., border, border] / 255, gt[..., border, border])
