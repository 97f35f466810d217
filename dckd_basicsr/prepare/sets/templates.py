"""File-name templates that pair GT with LQ photos (``norain-{}`` with ``rain-{}``), and finding them from the names.

A *name* is a photo's path below its folder without extension, with ``/`` between folders. A template speaks of the
last part only: its one ``{}`` stands for what the two names have in common.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from ...errors import DatasetError

__all__ = ["Template", "padding_differs", "suggest_templates"]

_DIGITS = "0123456789"


@dataclass(frozen=True)
class Template:
    """What stands before and after the common part of a file name."""

    prefix: str
    suffix: str

    @classmethod
    def parse(cls, text: str) -> Template:
        """Read ``rain-{}``. Raises DatasetError unless it holds exactly one ``{}`` and names no folder."""
        if text.count("{}") != 1 or "/" in text:
            raise DatasetError(
                f"file-name template {text!r} must hold {{}} exactly once and no '/', such as 'rain-{{}}' or '{{}}x4'"
            )
        return cls(*text.split("{}"))

    def __str__(self) -> str:
        return f"{self.prefix}{{}}{self.suffix}"

    def core_of(self, name: str) -> str | None:
        """Return ``name`` (``a/norain-1``) without prefix and suffix (``a/1``), or None if it has not both."""
        folder, slash, stem = name.rpartition("/")
        end = len(stem) - len(self.suffix)
        if end <= len(self.prefix) or not (stem.startswith(self.prefix) and stem.endswith(self.suffix)):
            return None
        return folder + slash + stem[len(self.prefix) : end]

    def fill(self, core: str) -> str:
        """Return the name for a common part: the inverse of :meth:`core_of`."""
        folder, slash, stem = core.rpartition("/")
        return f"{folder}{slash}{self.prefix}{stem}{self.suffix}"


def suggest_templates(gt: Sequence[str], lq: Sequence[str]) -> tuple[Template, Template, int] | None:
    """Find the GT and the LQ template that pair most names, with the number of pairs; None if they pair no more
    than half of a side.

    Candidates come from what all names of a side begin and end with, digits excepted (they number the photos), and
    from the first name of each side. Every candidate is counted on all names, so a suggestion is never a guess.

    >>> gt, lq, count = suggest_templates(["norain-1", "norain-2"], ["rain-1", "rain-2"])
    >>> str(gt), str(lq), count
    ('norain-{}', 'rain-{}', 2)
    """
    counted = [(len(_cores(gt, first) & _cores(lq, second)), first, second) for first, second in _candidates(gt, lq)]
    count, first, second = max(counted, key=lambda entry: entry[0])  # the first of equals: the plainest
    return (first, second, count) if 2 * count > min(len(gt), len(lq)) else None


def padding_differs(gt: Sequence[str], lq: Sequence[str]) -> bool:
    """Tell names that pair as numbers but not as text (``rain-1`` and ``rain-001``): no template helps there."""
    first, second = (Template(*_affixes(names)) for names in (gt, lq))
    left, right = _cores(gt, first), _cores(lq, second)
    if not all(_file(core).isdecimal() for core in left | right):
        return False
    return bool(left) and {_unpadded(core) for core in left} == {_unpadded(core) for core in right}


def _cores(names: Collection[str], template: Template) -> set[str]:
    return {core for core in map(template.core_of, names) if core is not None}


def _file(name: str) -> str:
    return name.rpartition("/")[2]


def _unpadded(core: str) -> tuple[str, int]:
    folder, _, number = core.rpartition("/")
    return folder, int(number)


def _candidates(gt: Sequence[str], lq: Sequence[str]) -> list[tuple[Template, Template]]:
    (gt_prefix, gt_suffix), (lq_prefix, lq_suffix) = _affixes(gt), _affixes(lq)
    prefixes = _peel(gt_prefix, lq_prefix)
    suffixes = [end[::-1] for end in _peel(gt_suffix[::-1], lq_suffix[::-1])]
    first, second = _file(gt[0]), _file(lq[0])
    i, j, size = SequenceMatcher(None, first, second, autojunk=False).find_longest_match()
    return [
        (Template("", ""), Template("", "")),
        (Template(prefixes[0], suffixes[0]), Template(prefixes[1], suffixes[1])),
        (Template(gt_prefix, gt_suffix), Template(lq_prefix, lq_suffix)),
        (Template(first[:i], first[i + size :]), Template(second[:j], second[j + size :])),
    ]


def _affixes(names: Sequence[str]) -> tuple[str, str]:
    """Return what all file names begin and end with, up to the digits next to the part that differs."""
    stems = [_file(name) for name in names]
    prefix = _common_start(stems)
    suffix = _common_start([stem[len(prefix) :][::-1] for stem in stems])[::-1]
    return prefix.rstrip(_DIGITS), suffix.lstrip(_DIGITS)


def _common_start(texts: Sequence[str]) -> str:
    least, most = min(texts), max(texts)  # what these two share, all in between share
    same = next((i for i, (a, b) in enumerate(zip(least, most)) if a != b), min(len(least), len(most)))
    return least[:same]


def _peel(first: str, second: str) -> tuple[str, str]:
    """Give letters that two prefixes end with back to the names (``xc``, ``yc``: all cities begin with a c)."""
    while first and second and first[-1] == second[-1] and (first == second or first[-1].isalnum()):
        first, second = first[:-1], second[:-1]
    return first, second
