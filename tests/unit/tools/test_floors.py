"""The house rules that a program can check: which room may import which, and how large files and folders are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests import ROOT

PACKAGE = ROOT / "dckd_basicsr"
FILES = sorted(PACKAGE.rglob("*.py"))
OPENING = ("__init__", "install")
"""They open the house, and know all of it."""
ENTRIES = ("__init__", "__main__")
"""Of a folder's files Python itself asks for these."""


def rooms() -> list[str]:
    """The rooms in the order in which docs/reference/architecture.md has them: each may import those before it."""
    table = re.findall(
        r"^\| \d \| (.+?) \|", (ROOT / "docs/reference/architecture.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    return [Path(name).stem for cell in table for name in re.findall(r"`([\w./]+)`", cell)]


def module_of(path: Path) -> list[str]:
    return list(path.relative_to(ROOT).with_suffix("").parts)


def imports(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the modules of this package that a file imports when it runs, with the names taken from them."""
    tree, package = ast.parse(path.read_text(encoding="utf-8")), module_of(path)[:-1]
    typed = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level and id(node) not in typed:
            base = package[: len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
            yield ".".join(base), [alias.name for alias in node.names]


def test_every_room_is_in_the_table() -> None:
    there = {path.stem if path.parent == PACKAGE else module_of(path)[1] for path in FILES}
    assert there - {"__init__", "version"} == set(rooms())


def test_a_room_imports_only_rooms_before_it() -> None:
    order, wrong = ["version", *rooms()], []
    for path in FILES:
        own = path.stem if path.parent == PACKAGE else module_of(path)[1]
        for module, names in imports(path) if own not in OPENING else ():
            parts = module.split(".")
            for room in [parts[1]] if len(parts) > 1 else names:
                if room != own and order.index(room) >= order.index(own):
                    wrong.append(f"{path.relative_to(PACKAGE)} imports {module}")
    assert wrong == []


def test_nothing_private_is_taken_from_another_file() -> None:
    taken = {path: [name for _, names in imports(path) for name in names if re.match("_[^_]", name)] for path in FILES}
    assert {str(path.relative_to(PACKAGE)): names for path, names in taken.items() if names} == {}


def test_no_file_is_longer_than_400_lines_and_no_folder_fuller_than_a_dozen() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert [path for path, count in lines.items() if count > 400] == []
    folders = {path.parent for path in FILES}
    full = {f.name: len([path for path in FILES if path.parent == f and path.stem not in ENTRIES]) for f in folders}
    assert {name: count for name, count in full.items() if count > 14} == {}


def test_no_folder_of_tests_is_fuller_than_a_dozen() -> None:
    folders = [folder for kind in ("unit", "e2e") for folder in (ROOT / "tests" / kind).iterdir() if folder.is_dir()]
    full = {folder.name: len(list(folder.glob("test_*.py"))) for folder in folders}
    assert full["archs"] > 1
    assert {name: count for name, count in full.items() if count > 12} == {}
