"""``basicsr config``: an option file as a run would see it, then what is wrong with it; and the schema for editors."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from .. import install
from ..errors import ConfigError
from ..methods import add_with_flag
from ..user_modules import add_import_flag, import_modules, import_plugins

__all__ = ["add_config_parser", "resolved_yaml"]


def add_config_parser(commands: Any) -> None:
    """Add ``config`` to the command line's subparsers."""
    parser = commands.add_parser(
        "config",
        help="print an option file with all it inherits and its defaults, and what is wrong with it",
        description="Print an option file as YAML as a run would see it: after bases, methods, overrides and defaults. "
        "If anything is wrong with it, the report of problems follows on standard error, with exit status 1.",
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="option file: a path, or the name of a packaged one")
    add_with_flag(parser)
    parser.add_argument("--test", action="store_true", help="check for `basicsr test` (else for `basicsr train`)")
    parser.add_argument(
        "--force_yml", nargs="+", action="extend", metavar="KEY:SUBKEY=VALUE", help="override options, as in a run"
    )
    parser.add_argument(
        "--no-files", action="store_true", help="check the options alone, not the files and data sets that they name"
    )
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of option files and exit")
    add_import_flag(parser)
    parser.set_defaults(func=_run)


def _run(options: argparse.Namespace) -> int:
    install.everything()
    from ..config.check import check_options, option_problems
    from ..config.editor import json_schema
    from ..config.problems import block_of
    from ..config.resolve import made_of, resolve_options
    from ..config.resources import find_options

    import_plugins()
    import_modules(options.imports)
    if options.schema:
        print(json.dumps(json_schema(), indent=1))
        return 0
    if options.file is None:
        also = ", before --with, which takes all names that follow it" if options.methods else ""
        raise ConfigError(f"`basicsr config` needs an option file{also}; --schema alone goes without")
    is_train = not options.test
    file = find_options(options.file)
    opt, source = resolve_options(file, options.force_yml or (), options.methods or (), is_train)
    # before the problems, where both go to a terminal
    print(made_of(file, source.methods) + resolved_yaml(opt, is_train), end="", flush=True)
    try:
        check_options(opt, is_train, source, files=not options.no_files)
    except ConfigError as error:
        if not option_problems(opt, is_train):  # files alone are missing: notes on the options hold all the same
            _print_notes(opt, is_train)
        sets = block_of(opt, "datasets")
        if is_train and "train" not in opt and sets and all(str(name).startswith("test") for name in sets):
            raise ConfigError(f"{error}\nThis file looks like one for `basicsr test`; add --test") from error
        raise
    _print_notes(opt, is_train)
    return 0


def _print_notes(opt: Mapping[str, Any], is_train: bool) -> None:
    """Print what is no problem but comes to nothing, such as milestones beyond the end of the run."""
    from ..config.rules import option_notes

    for note in option_notes(opt) if is_train else ():
        print(f"basicsr: note: {note}", file=sys.stderr)


def resolved_yaml(opt: Mapping[str, Any], is_train: bool = True) -> str:
    """Return options as loaded, with their defaults, as YAML.

    What a run draws or finds out on its machine (seed, number of GPUs, its folders) stays as the file has it, and so
    do paths.
    """
    from ..config.resolve import dump_yaml, fill_defaults

    complete = deepcopy(dict(opt))
    fill_defaults(complete, is_train)
    return dump_yaml(complete)
