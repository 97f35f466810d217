"""Which databases were packed together: ``pack_id.txt`` in each of them, equal in all databases of a set.

Keys and shapes alone do not tell: another set of scales cuts GT to another multiple, and the crops at its borders are
shifted under the same keys. The id is a digest of all images of the set, so equal ids mean equal sets, whoever packed
them. A database without one is older than the ids or of another make.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ...errors import DatasetError
from .payload import Shape
from .reader import REPAIR, read_meta_info

__all__ = ["PACK_ID", "make_pack_id", "pack_problems", "read_pack_id", "refuse_to_split", "refuse_two_packs"]

#: The file beside ``meta_info.txt``; BasicSR leaves it alone.
PACK_ID = "pack_id.txt"

_ROLE = re.compile(r"(?<![A-Z0-9])(?:GT|HR|LQ|LR)(?![A-Z0-9])", re.IGNORECASE)
_ID = re.compile(rb"([0-9a-f]{64})\n?")


def make_pack_id(digests: Iterable[str]) -> str:
    """Return the id, 64 hex digits, of a set whose databases have these digests, in any order."""
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def read_pack_id(folder: Path) -> str | None:
    """Return the pack id of a database, or None if it has none.

    Raises:
        DatasetError: there is one, but it is damaged or cannot be read.
    """
    file = folder / PACK_ID
    try:
        match = _ID.fullmatch(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DatasetError(f"'{file}' cannot be read ({error}); {REPAIR}") from error
    if match is None:
        raise DatasetError(f"'{file}' is damaged, 64 hex digits were expected; {REPAIR}")
    return match[1].decode()


def pack_problems(gt: Path, lq: Path) -> list[str]:
    """Return what is wrong with the pack ids of a pair, one sentence at most; nothing if neither database has one."""
    try:
        ids = [read_pack_id(path) for path in (gt, lq)]
    except DatasetError as error:
        return [str(error)]
    if ids[0] == ids[1]:
        return []
    how = f"their {PACK_ID} differ"
    if None in ids:
        how = f"'{(gt, lq)[ids.index(None)]}' has no {PACK_ID} and the other has one"
    return [
        f"'{gt}' and '{lq}' were not packed together ({how}), so their images may be cut at other places under the "
        "same keys; pack both together again with `basicsr prepare`, or, if you know that they belong together, "
        f"remove {PACK_ID} from both"
    ]


def refuse_two_packs(gt: Path, lq: Path) -> None:
    """Raise DatasetError if two databases that are read as a pair were not packed together."""
    if problems := pack_problems(gt, lq):
        raise DatasetError("; ".join(problems))


def refuse_to_split(targets: Sequence[Path]) -> None:
    """Raise DatasetError if replacing these databases would leave some of their set behind, beside other images.

    A set are databases of one folder with one pack id; or, where they have none, with the same keys, sizes that one
    scale explains, and names that begin alike (the images of Rain100H and Rain100L are all called 1, 2, 3).
    """
    replaced = {path.resolve() for path in targets}
    for path in targets:
        if not path.is_dir():
            continue
        others = [other for other in sorted(path.parent.glob("*.lmdb")) if other.resolve() not in replaced]
        if left := [f"'{other.name}'" for other in others if _of_one_set(path, other)]:
            raise DatasetError(
                f"'{path}' belongs to one set with {', '.join(left)}, which would stay beside images of another "
                "packing; pack the whole set again (all its scales at once), remove or move away what would stay, or "
                "choose another folder"
            )


def _of_one_set(one: Path, other: Path) -> bool:
    try:
        ids = read_pack_id(one), read_pack_id(other)
        if ids == (None, None):
            return _named_alike(one, other) and _one_scale(read_meta_info(one), read_meta_info(other))
    except DatasetError:
        return False  # not to be read, so no pair with anything either
    return ids[0] == ids[1]


def _named_alike(one: Path, other: Path) -> bool:
    """Tell whether the names agree up to GT or LQ, as ``Test100_GT`` and ``Test100_LQ``; yes if one has neither."""
    roles = _ROLE.search(one.stem), _ROLE.search(other.stem)
    return None in roles or len({role.string[: role.start()] for role in roles if role}) == 1


def _one_scale(one: Mapping[str, Shape], other: Mapping[str, Shape]) -> bool:
    """Tell whether the keys agree, and all sizes of one are those of the other over one whole number, rounded down."""
    if one.keys() != other.keys():
        return False
    pairs = [(one[key][:2], other[key][:2]) for key in one]
    return _shrinks(pairs) or _shrinks([(small, large) for large, small in pairs])


def _shrinks(pairs: Sequence[tuple[tuple[int, int], tuple[int, int]]]) -> bool:
    most = min((large[0] // small[0] for large, small in pairs), default=1)
    return any(
        all((large[0] // scale, large[1] // scale) == small for large, small in pairs) for scale in range(1, most + 1)
    )
