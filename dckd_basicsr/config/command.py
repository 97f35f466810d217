"""``basicsr config``: an option file as a run would see it, checked; and the schema for editors."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..errors import ConfigError
from .check import check_options
from .defaults import fill_defaults
from .dump import dump_yaml
from .json_schema import json_schema
from .problems import block_of
from .resolve import resolve_options
from .resources import find_options

__all__ = ["add_config_parser", "resolved_yaml"]


def add_config_parser(commands: Any) -> None:
    """Add ``config`` to the command line's subparsers."""
    parser = commands.add_parser(
        "config",
        help="print an option file with all it inherits and its defaults, if it passes the check",
        description="Print an option file as YAML as a run would see it: after _base_, overrides and defaults. If "
        "anything is wrong with it, print the report of problems instead, with exit status 1.",
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="option file: a path, or the name of a packaged one")
    parser.add_argument("--test", action="store_true", help="check for `basicsr test` (else for `basicsr train`)")
    parser.add_argument(
        "--force_yml", nargs="+", action="extend", metavar="KEY:SUBKEY=VALUE", help="override options, as in a run"
    )
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of option files and exit")
    parser.set_defaults(func=_run)


def _run(options: argparse.Namespace) -> int:
    if options.schema:
        print(json.dumps(json_schema(), indent=1))
        return 0
    if options.file is None:
        raise ConfigError("`basicsr config` needs an option file; --schema alone goes without")
    print(resolved_yaml(options.file, options.force_yml or [], is_train=not options.test), end="")
    return 0


def resolved_yaml(file: str, overrides: list[str], is_train: bool = True) -> str:
    """Return an option file with what it inherits, overrides and defaults, as YAML.

    What a run draws or finds out on its machine (seed, number of GPUs, its folders) stays as the file has it, and so
    do paths.

    Raises:
        ConfigError: whatever is wrong with file, overrides or the files it names; the run's own report.
    """
    opt, source = resolve_options(find_options(file), overrides)
    try:
        check_options(opt, is_train, source)
    except ConfigError as error:
        sets = block_of(opt, "datasets")
        if is_train and "train" not in opt and sets and all(str(name).startswith("test") for name in sets):
            raise ConfigError(f"{error}\nThis file looks like one for `basicsr test`; add --test") from error
        raise
    fill_defaults(opt, is_train)
    return dump_yaml(opt)
