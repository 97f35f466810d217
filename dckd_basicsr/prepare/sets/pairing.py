"""Which LQ photo belongs to which GT photo, by relative path and file name; and what to do where none does."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...data.photos.keys import keyed_photos
from ...errors import DatasetError
from ..packing import PhotoJob
from .templates import Template, padding_differs, suggest_templates

__all__ = ["first_names", "pair_photos", "relative_names"]

_SHOWN = 3


def pair_photos(
    gt: Path, lq: Path, *, template: str = "{}", gt_template: str = "{}", prefix: str = ""
) -> list[PhotoJob]:
    """Pair every photo of two folders, whatever their extensions; keys are made from the GT names.

    Args:
        gt, lq: folders, searched with their sub-folders, which must be named alike.
        template: LQ file name without extension; ``{}`` stands for what it shares with the GT name.
        gt_template: GT file name without extension, as in ``norain-{}`` beside ``rain-{}``.
        prefix: begins every key.

    Raises:
        DatasetError: a photo on either side is left alone: counts, the first names, and templates that would help;
            or see :func:`dckd_basicsr.data.photos.keys.keyed_photos`.
    """
    gt_form, lq_form = Template.parse(gt_template), Template.parse(template)
    photos = keyed_photos(gt)
    names = relative_names(gt, photos)
    found = relative_names(lq, keyed_photos(lq))
    wanted = {name: None if (core := gt_form.core_of(name)) is None else lq_form.fill(core) for name in names}
    if set(wanted.values()) != set(found):
        raise DatasetError(_report(gt, lq, wanted, found, (gt_form, lq_form)))
    return [
        PhotoJob(prefix + key, path, (found[str(wanted[name])],)) for (key, path), name in zip(photos.items(), names)
    ]


def relative_names(folder: Path, photos: Mapping[str, Path]) -> dict[str, Path]:
    """Return photos by relative path without extension, in the one Unicode form that the keys use too."""
    return {
        unicodedata.normalize("NFC", path.relative_to(folder).with_suffix("").as_posix()): path
        for path in photos.values()
    }


def _report(
    gt: Path, lq: Path, wanted: Mapping[str, str | None], found: Mapping[str, Path], forms: tuple[Template, Template]
) -> str:
    alone = [name for name, match in wanted.items() if match not in found]
    expected = set(wanted.values())
    over = [name for name in found if name not in expected]
    paired = len(wanted) - len(alone)
    parts = [
        f"'{gt}' and '{lq}' do not pair up with --gt-template '{forms[0]}' --template '{forms[1]}': "
        f"{paired} of {len(wanted)} GT and {len(found)} LQ photos do"
    ]
    if alone:
        parts.append(f"{len(alone)} GT photos have no LQ photo: {first_names(alone)}{_wish(alone[0], wanted)}")
    if over:
        parts.append(f"{len(over)} LQ photos have no GT photo: {first_names(over)}")
    return "; ".join([*parts, _advice(list(wanted), list(found), forms, paired)])


def _advice(gt: Sequence[str], lq: Sequence[str], forms: tuple[Template, Template], paired: int) -> str:
    best = suggest_templates(gt, lq)
    whole = best is not None and best[2] == len(gt) == len(lq)
    if not whole and padding_differs(gt, lq):
        return "the numbers agree but are padded differently, which no template covers; rename the photos of one side"
    if best is not None and best[2] > paired:
        options = [f"--gt-template '{best[0]}'"] if str(best[0]) != "{}" else []
        options += [f"--template '{best[1]}'"] if str(best[1]) != "{}" else []
        total = "all" if whole else f"{best[2]} of {len(gt)} GT and {len(lq)} LQ photos"
        return f"{' '.join(options) or 'leaving both templates out'} would pair {total}"
    if paired:
        return "add the missing photos, or move the others away"
    return "no template pairs them; check that the folders belong together and have the same sub-folders"


def first_names(names: Sequence[str]) -> str:
    """Return the first few names, quoted, for a message."""
    return ", ".join(f"'{name}'" for name in names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _wish(name: str, wanted: Mapping[str, str | None]) -> str:
    match = wanted[name]
    return " (the first does not fit --gt-template)" if match is None else f" (the first needs '{match}')"
