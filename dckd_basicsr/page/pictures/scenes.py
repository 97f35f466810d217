"""A scene: one image as everybody restores it, cut and compared, ready for the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...data.photos.images import read_image
from ...errors import DatasetError
from .crops import Errors, Image, around, as_data, cropped, error_map, errors_of, telling_box
from .sources import GT, LQ, Source

__all__ = ["Restored", "Scene", "make_scene"]

CROP = 96
"""Side of the crop that shows the difference, in pixels of the ground truth."""
WINDOW = (240, 320)
"""Height and width of what the slider shows."""
_BRIGHT = 99.5
"""Percentile of all errors in the crop that has the brightest colour: a few outliers leave the rest visible."""


@dataclass(frozen=True)
class Restored:
    """One crop of the strip.

    Attributes:
        title: who restored it.
        detail: below, such as its PSNR.
        crop: address of the picture.
        errors: address of its error map; None for inputs, and without ground truth.
    """

    title: str
    detail: str
    crop: str
    errors: str | None = None


@dataclass(frozen=True)
class Scene:
    """One image in the page.

    Attributes:
        image: its name, with its set.
        why: a sentence: why this one is shown.
        how: a sentence: how the crop was chosen.
        strip: crops, in their order.
        before: title -> address of what the slider can have on the left.
        after: address of what it has on the right; None for no slider.
        after_title: of that.
        width: of the slider's pictures, in pixels.
        scale: a sentence on the colours of the error maps; empty without them.
    """

    image: str
    why: str
    how: str
    strip: tuple[Restored, ...]
    before: Mapping[str, str] = field(default_factory=dict)
    after: str | None = None
    after_title: str = ""
    width: int = 0
    scale: str = ""

    @property
    def size(self) -> int:
        """Characters that its pictures take in the page."""
        found = [*self.before.values(), self.after or "", *(each.crop for each in self.strip)]
        return sum(map(len, found)) + sum(len(each.errors or "") for each in self.strip)


def make_scene(
    image: str,
    why: str,
    sources: Mapping[str, Source],
    titles: Mapping[str, str],
    details: Mapping[str, str],
    pair: tuple[str, str] | None = None,
) -> Scene | None:
    """Cut and compare the pictures of one image.

    Args:
        image: its name, with its set.
        why: a sentence for the page.
        sources: who -> picture.
        titles: who -> what the page calls it, in the order of the strip; LQ and GT name themselves.
        details: who -> what stands below.
        pair: who is on the left of the slider, beside LQ, and who on its right.

    Returns:
        None where nobody's restoration is there. Pictures of another size than GT are left out, as are damaged files,
        such as a killed run leaves; those the scene names.
    """
    pictures, damaged = _read(sources)
    methods = {who: pictures[who] for who in titles if who in pictures}
    if not methods:
        return None
    shape = pictures[GT].shape if GT in pictures else next(iter(methods.values())).shape
    methods = {who: picture for who, picture in methods.items() if picture.shape == shape}
    if not methods:
        return None
    with_truth = GT in pictures
    truth = pictures[GT] if with_truth else np.mean(list(methods.values()), axis=0)
    errors = {who: errors_of(picture, truth) for who, picture in methods.items()}
    # two pictures are equally far from their mean, so there the distances themselves count
    told = errors if with_truth else {"all": np.mean(list(errors.values()), axis=0)}
    box = telling_box(told, CROP)
    rows, columns = slice(box.top, box.top + box.size), slice(box.left, box.left + box.size)
    most = _brightest(errors, rows, columns)
    strip = [Restored("LQ", "input", as_data(cropped(pictures[LQ], rows, columns, shape[0])))] if LQ in pictures else []
    for who, picture in methods.items():
        drawn = as_data(error_map(errors[who][rows, columns], most)) if with_truth else None
        strip.append(Restored(titles[who], details.get(who, ""), as_data(picture[rows, columns]), drawn))
    if with_truth:
        strip.append(Restored("GT", "ground truth", as_data(truth[rows, columns])))
    window = around(box, shape[:2], *WINDOW)
    before, after, after_title = _slider(pictures, methods, titles, pair, window, shape[0])
    return Scene(
        image=image,
        why=why,
        how=_how(box.size, len(methods), with_truth) + damaged,
        strip=tuple(strip),
        before=before,
        after=after,
        after_title=after_title,
        width=window[1].stop - window[1].start,
        scale=f"Error maps: black is no error, pale yellow {most:.0f} of 255 or more." if with_truth else "",
    )


def _read(sources: Mapping[str, Source]) -> tuple[dict[str, Image], str]:
    """Return the pictures, and a sentence on the files that are none."""
    found, damaged = dict[str, Image](), list[str]()
    for who, source in sources.items():
        try:
            found[who] = read_image(source) if isinstance(source, Path) else source
        except DatasetError:
            damaged.append(source.name if isinstance(source, Path) else who)
    return found, f" Left out, since they are damaged: {', '.join(damaged)}." if damaged else ""


def _brightest(errors: Mapping[str, Errors], rows: slice, columns: slice) -> float:
    return max(1.0, float(np.percentile(np.stack([e[rows, columns] for e in errors.values()]), _BRIGHT)))


def _how(size: int, methods: int, with_truth: bool) -> str:
    crop = f"The crop is the square of {size} × {size} pixels"
    if with_truth and methods > 1:
        most = "with the largest variance, between them, of the absolute error"
        return f"{crop} in which the restorations below differ most: {most}."
    if with_truth:
        return f"{crop} with the largest mean error."
    if methods > 1:
        return f"{crop} in which the pictures differ most: with the largest mean distance from their mean."
    return f"{crop} in the upper left corner: there is nothing to compare it with."


def _slider(
    pictures: Mapping[str, Image],
    methods: Mapping[str, Image],
    titles: Mapping[str, str],
    pair: tuple[str, str] | None,
    window: tuple[slice, slice],
    height: int,
) -> tuple[dict[str, str], str | None, str]:
    """Return what the slider has on its left, and on its right; LQ is enlarged by the browser."""
    if pair is None or pair[1] not in methods:
        return {}, None, ""
    left, right = pair
    before = {titles[left]: as_data(methods[left][window])} if left in methods and left != right else {}
    if LQ in pictures:
        before["LQ, enlarged"] = as_data(cropped(pictures[LQ], *window, height))
    return (before, as_data(methods[right][window]), titles[right]) if before else ({}, None, "")
