"""Walking an LMDB file's page tree before LMDB maps it.

LMDB trusts its file: a page number that leads past the end kills the process with a bus error, under training as well
as under verification. So every number on the way to an image is compared with the file's size first. Only the tree is
read, none of the images that have pages of their own.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

__all__ = ["page_problem"]

# From lmdb.h and mdb.c of LMDB 0.9 on 64-bit machines, in the machine's byte order.
_PAGE = struct.Struct("=QHHHH")  # number, pad, flags, lower, upper
_META = struct.Struct("=IIQQ")  # magic, version, address, size of the map
_TREE = struct.Struct("=IHHQQQQQ")  # page size, flags, depth, branch, leaf and overflow pages, entries, root
_NODE = struct.Struct("=HHHH")  # low and high half of a length or page number, flags, length of the key
_LAST = struct.Struct("=QQ")  # last page, transaction
_MAGIC, _EMPTY = 0xBEEFC0DE, 2**64 - 1
_BRANCH, _LEAF, _DIRTY = 1, 2, 16
_BIG = 1  # the value has pages of its own, and the node their number


def page_problem(data: Path) -> str | None:
    """Return what is wrong with the page tree of a ``data.mdb``, or None.

    A file that is no LMDB database at all is left to LMDB, which says so. Raises OSError if it cannot be read.
    """
    with data.open("rb") as file:
        size = file.seek(0, 2)
        metas = [meta for meta in (_meta(file, 0), *(_meta(file, 1 << bits) for bits in range(8, 17))) if meta]
        if not metas or struct.calcsize("P") != 8:
            return None
        _, page_size, root = max(metas)
        if page_size not in {1 << bits for bits in range(8, 17)}:
            return f"page size {page_size}"
        return None if root == _EMPTY else _Walk(file, size, page_size).problem(root)


def _meta(file: BinaryIO, offset: int) -> tuple[int, int, int] | None:
    """Return (transaction, page size, root of the images' tree) of a meta page, if there is one."""
    file.seek(offset)
    page = file.read(_PAGE.size + _META.size + 2 * _TREE.size + _LAST.size)
    if len(page) < _PAGE.size + _META.size + 2 * _TREE.size + _LAST.size:
        return None
    if _META.unpack_from(page, _PAGE.size)[:2] != (_MAGIC, 1):
        return None
    trees = _PAGE.size + _META.size
    page_size, root = _TREE.unpack_from(page, trees)[0], _TREE.unpack_from(page, trees + _TREE.size)[-1]
    return _LAST.unpack_from(page, trees + 2 * _TREE.size)[1], page_size, root


class _Walk:
    def __init__(self, file: BinaryIO, size: int, page_size: int) -> None:
        self.file, self.size, self.page_size = file, size, page_size

    def problem(self, root: int) -> str | None:
        todo, seen = [root], set[int]()
        while todo:
            number = todo.pop()
            if number in seen or (number + 1) * self.page_size > self.size:
                return f"page {number} is {'used twice' if number in seen else 'past the end of the file'}"
            seen.add(number)
            self.file.seek(number * self.page_size)
            page = self.file.read(self.page_size)
            children = self._children(page)
            if children is None:
                return f"page {number} does not hold what it should"
            todo += children
        return None

    def _children(self, page: bytes) -> list[int] | None:
        """Return the pages below a page; None if anything in it leads outside."""
        _, _, flags, lower, upper = _PAGE.unpack_from(page)
        kind = flags & (_BRANCH | _LEAF)
        if kind not in (_BRANCH, _LEAF) or flags & ~(kind | _DIRTY) or lower % 2:
            return None
        if not _PAGE.size + 2 <= lower <= upper <= self.page_size:
            return None
        children = []
        for offset in struct.unpack_from(f"={(lower - _PAGE.size) // 2}H", page, _PAGE.size):
            if not upper <= offset <= self.page_size - _NODE.size:
                return None
            low, high, node, key = _NODE.unpack_from(page, offset)
            value = offset + _NODE.size + key
            if kind == _BRANCH:
                inside = value <= self.page_size
                children.append(low | high << 16 | node << 32)
            elif node == _BIG:
                inside = value + 8 <= self.page_size and self._has_room(page, value, low | high << 16)
            else:
                inside = node == 0 and value + (low | high << 16) <= self.page_size
            if not inside:
                return None
        return children

    def _has_room(self, page: bytes, place: int, length: int) -> bool:
        """Tell whether ``length`` bytes fit between the page that is named at ``place`` and the end of the file."""
        start: int = struct.unpack_from("=Q", page, place)[0] * self.page_size
        return start + _PAGE.size + length <= self.size
