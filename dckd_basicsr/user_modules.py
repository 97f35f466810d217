"""Modules of a user's own, whose import registers networks, losses, terms, data sets or metrics.

They are named on the command line (``--import my_package.losses``) or by an installed distribution in its entry-point
group ``dckd_basicsr``. An option file names none: whoever runs a file of somebody else's runs no code of theirs.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from importlib import metadata, util
from itertools import dropwhile
from pathlib import Path

from .errors import ConfigError, DCKDError, near_miss

__all__ = ["GROUP", "Plugin", "add_import_flag", "import_modules", "import_plugins", "plugins"]

#: The entry-point group: ``any_name = my_package.module``.
GROUP = "dckd_basicsr"

Plugin = metadata.EntryPoint

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def add_import_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--import MODULE``, whose names come as ``imports``, a list."""
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="import a module of your own, by name, which registers networks, losses, ...; may be repeated",
    )


def import_modules(names: Iterable[str]) -> None:
    """Import modules by name, each once in a process; the current directory comes first, as with ``python -m``.

    Raises:
        ConfigError: a name is a path or no name, there is no such module, or its own code fails.
    """
    names = list(names)
    if names and not getattr(sys.flags, "safe_path", False) and not {"", os.getcwd()} & set(sys.path):  # noqa: PTH109
        sys.path.insert(0, os.getcwd())  # noqa: PTH109 (as the interpreter writes it)
    for name in names:
        if not _NAME.fullmatch(name) or name.endswith(".py"):
            raise ConfigError(f"--import {name}: a module's name was expected, as in Python's import{_as_name(name)}")
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:
            where = f" in '{Path.cwd()}', and none is installed"
            raise ConfigError(f"--import {name}: {_reason(error, name, where)}") from error


def plugins() -> list[Plugin]:
    """Return the entry points of all installed distributions, by distribution and name."""
    return sorted(metadata.entry_points(group=GROUP), key=lambda plugin: (_distribution(plugin), plugin.name))


def import_plugins() -> None:
    """Import what :func:`plugins` names.

    Raises:
        ConfigError: names the distribution whose module cannot be imported.
    """
    for plugin in plugins():
        try:
            plugin.load()
        except (Exception, SystemExit) as error:
            distribution = _distribution(plugin)
            raise ConfigError(
                f"the installed package '{distribution}' adds '{plugin.value}' to this command (entry point "
                f"'{plugin.name}' of group {GROUP}), which cannot be used: {_reason(error, plugin.module)}; "
                f"repair it, or remove it with `pip uninstall {distribution}`"
            ) from error


def _distribution(plugin: Plugin) -> str:
    return plugin.dist.name if plugin.dist is not None else "?"


def _as_name(path: str) -> str:
    """Return a hint for somebody who gave a file: the name under which it is imported from here, if it has one."""
    name = os.path.normpath(path).removesuffix(".py").replace(os.sep, ".")
    if _NAME.fullmatch(name):
        return f"; write --import {name}"
    return "; run the command in the folder that holds the module or its package"


def _reason(error: BaseException, name: str, where: str = "") -> str:
    """Say why the import failed: there is no such module, or which line of it did."""
    if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
        parent, _, _ = error.name.rpartition(".")
        place = f" in package '{parent}'" if parent else where
        return f"there is no module '{error.name}'{place}{near_miss(error.name, _beside(error.name))}"
    said = str(error) if isinstance(error, DCKDError) else f"{type(error).__name__}: {error}"
    return f"its import failed with {said}{_line(error)}"


def _line(error: BaseException) -> str:
    """Name the last line of the imported module, or of those beside it, that an error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = dropwhile(lambda frame: not frame.filename.startswith("<frozen"), frames)  # past whoever asked for it
    own = [frame for frame in inside if not frame.filename.startswith("<frozen")]
    if not own or isinstance(error, SyntaxError):  # which says where itself
        return ""
    home = Path(own[0].filename).parent
    last = [frame for frame in own if Path(frame.filename).is_relative_to(home)][-1]
    return f" ('{last.filename}', line {last.lineno})"


def _beside(name: str) -> Iterator[str]:
    """Yield the modules that lie where this one was looked for."""
    parent, _, _ = name.rpartition(".")
    spec = util.find_spec(parent) if parent else None
    folders = [os.getcwd()] if spec is None else spec.submodule_search_locations or []  # noqa: PTH109 (pkgutil's way)
    yield from (f"{parent}.{module.name}".lstrip(".") for module in pkgutil.iter_modules(folders))
