"""The command ``basicsr``: parses, calls one function, prints."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .errors import DCKDError, Interrupted, message_of
from .version import __version__

__all__ = ["main"]

_PIPELINES = {
    "train": "train or distil a network: basicsr train -opt FILE [--auto_resume] [--force_yml key:sub=value ...]",
    "test": "measure a network on test sets: basicsr test -opt FILE [--force_yml key:sub=value ...]",
}


def _parser() -> argparse.ArgumentParser:
    from .config.command import add_config_parser
    from .convert import add_convert_parser
    from .data.commands import add_prepare_parser

    parser = argparse.ArgumentParser(
        prog="basicsr",
        description="Distil image-restoration networks (DCKD) through BasicSR's pipelines.",
        epilog="Experiments, results and logs go under the current directory. Start with: basicsr demo",
    )
    parser.add_argument("--version", action="version", version=f"dckd_basicsr {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text in _PIPELINES.items():
        # Options are BasicSR's own and parsed in config/parse.py, which also serves BasicSR's pipelines directly.
        commands.add_parser(name, help=text, add_help=False)
    add_prepare_parser(commands)
    add_convert_parser(commands)
    add_config_parser(commands)
    demo = commands.add_parser("demo", help="distil a small student on photos that scikit-image ships; a few minutes")
    demo.add_argument("--out", type=Path, default=Path("demo"), help="folder for everything it writes (default: demo)")
    demo.set_defaults(func=_demo)
    doctor = commands.add_parser("doctor", help="versions, devices, and what to install or fix")
    doctor.set_defaults(func=_doctor)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        Exit status: 0; 1 for an error that was reported; 128 + signal for a run that a signal stopped (Ctrl-C: 130).
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments and arguments[0] in _PIPELINES:
            return _pipeline(arguments[0], arguments[1:])
        options = _parser().parse_args(arguments)
        return int(options.func(options))
    except Interrupted as stop:
        print(f"\nbasicsr: {stop}", file=sys.stderr)
        return 128 + stop.signum
    except DCKDError as error:
        print(f"\nbasicsr: error: {message_of(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nbasicsr: interrupted", file=sys.stderr)
        return 130


def _pipeline(name: str, arguments: list[str]) -> int:
    """Run a pipeline; it reads ``sys.argv`` through this package's ``parse_options``."""
    from .runtime import processes

    sys.argv = [f"basicsr {name}", *arguments]
    root = str(Path.cwd())
    try:
        if name == "train":
            from .training import train_pipeline

            train_pipeline(root)
        else:
            from basicsr.test import test_pipeline

            test_pipeline(root)
    except RuntimeError as error:
        lost = processes.lost_process(error)
        if lost is None:
            raise
        raise lost from error
    processes.leave()
    return 0


def _demo(options: argparse.Namespace) -> int:
    from .demo import run_demo

    return run_demo(options.out)


def _doctor(options: argparse.Namespace) -> int:
    from .doctor import run_doctor

    return run_doctor()
