"""Modules of a user's own, whose import registers networks, losses, terms, data sets or metrics.

They are named on the command line (``--import my_package.losses``) or by an installed distribution in its entry-point
group ``dckd_basicsr``. An option file names none: whoever runs a file of somebody else's runs no code of theirs.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from importlib import metadata, util
from pathlib import Path

from .errors import ConfigError, DCKDError, near_miss

__all__ = ["GROUP", "Plugin", "import_modules", "import_plugins", "plugins"]

#: The entry-point group: ``any_name = my_package.module``.
GROUP = "dckd_basicsr"

Plugin = metadata.EntryPoint

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def import_modules(names: Iterable[str]) -> None:
    """Import modules by name, each once in a process; the current directory comes first, as with ``python -m``.

    Raises:
        ConfigError: a name is a path or no name, there is no such module, or its own code fails.
    """
    names = list(names)
    if names and not getattr(sys.flags, "safe_path", False) and not {"", os.getcwd()} & set(sys.path):  # noqa: PTH109
        sys.path.insert(0, os.getcwd())  # noqa: PTH109 (as the interpreter writes it)
    for name in names:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"--import {name}: a module's name was expected, as in Python's import{_as_name(name)}")
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:
            raise ConfigError(f"--import {name}: {_reason(error, name)}") from error


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
    parts = Path(os.path.normpath(path)).with_suffix("").parts
    if Path(path).is_absolute() or not all(map(str.isidentifier, parts)):
        return "; run the command in the folder that holds the module or its package"
    return f"; write --import {'.'.join(parts)}"


def _reason(error: BaseException, name: str) -> str:
    """Say why the import failed: there is no such module, or a line of its own."""
    if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
        parent, _, _ = error.name.rpartition(".")
        where = f"in package '{parent}'" if parent else f"in '{Path.cwd()}', and none is installed"
        return f"there is no module '{error.name}' {where}{near_miss(error.name, _beside(error.name))}"
    said = str(error) if isinstance(error, DCKDError) else f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError):  # says where itself
        return f"its import failed with {said}"
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"its import failed with {said} ('{last.filename}', line {last.lineno})"


def _beside(name: str) -> Iterator[str]:
    """Yield the modules that lie where this one was looked for."""
    parent, _, _ = name.rpartition(".")
    spec = util.find_spec(parent) if parent else None
    folders = spec.submodule_search_locations if spec else [os.getcwd()]  # noqa: PTH109 (as pkgutil wants it)
    yield from (f"{parent}.{module.name}".lstrip(".") for module in pkgutil.iter_modules(folders))
