"""Methods: files of a few lines that turn an option file into what they name, and the flag ``--with`` for them.

Imports nothing large: to list the methods takes neither PyTorch nor a YAML reader.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["METHODS", "add_with_flag", "description_of", "list_if_asked", "option_folders", "packaged_methods"]

METHODS = "methods"
"""Their folder beside the option files."""
_PACKAGE = Path(__file__).resolve().parent
_FLAG = "--with"


def option_folders(package: Path = _PACKAGE) -> list[Path]:
    """Return the folders of option files that come with the package; not all of them need to exist.

    A wheel holds them inside the package, a checkout (and with it an editable install) beside it.
    """
    folders = [package / "options"]
    if (package.parent / "setup.py").is_file():  # else the parent is site-packages, where options/ is not ours
        folders.append(package.parent / "options")
    return folders


def packaged_methods() -> dict[str, Path]:
    """Return the methods that come with the package, by name."""
    return {file.stem: file for folder in option_folders() for file in sorted((folder / METHODS).glob("*.yml"))}


def description_of(file: Path) -> str:
    """Return what the first line of a method, ``# NAME: what it is (source)``, says; empty if it is no such line."""
    with file.open(encoding="utf-8") as text:
        first = text.readline().strip()
    return first.removeprefix(f"# {file.stem}:").strip() if first.startswith("#") else ""


def add_with_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--with NAME [NAME ...]``, whose names come as ``methods``; without a name it lists them and ends."""
    parser.add_argument(
        _FLAG,
        dest="methods",
        nargs="*",
        action=_With,
        metavar="NAME",
        help="methods that change the option file, before --force_yml: names of packaged ones, or YAML files of your "
        "own; their order says nothing, and the run is called NAME_METHOD unless --force_yml sets `name`. Without a "
        "name: list the packaged ones",
    )


def list_if_asked(arguments: Sequence[str]) -> None:
    """Print the methods and end the process if the command line has ``--with`` without a name."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_with_flag(parser)
    parser.parse_known_args(arguments)


class _With(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option_string: Any = None) -> None:
        if not values:
            print(_listed())
            parser.exit()
        setattr(namespace, self.dest, [*(getattr(namespace, self.dest) or ()), *values])


def _listed() -> str:
    methods = packaged_methods()
    width = max(map(len, methods), default=0)
    indent = " " * (width + 4)
    lines = [
        textwrap.fill(f"  {name:<{width}}  {description_of(file)}", 100, subsequent_indent=indent)
        for name, file in methods.items()
    ]
    head = "Methods that change an option file: basicsr train -opt FILE --with NAME [NAME ...]"
    return "\n".join([head, *lines])
