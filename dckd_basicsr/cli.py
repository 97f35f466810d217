"""The command ``basicsr``: parses, calls one function, prints.

Nothing imported here needs PyTorch or BasicSR: a command imports what it does when it runs, and asks for BasicSR with
its registries (``install.everything``) before that.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from . import basicsr_wheel, install
from .commands.compare import add_compare_parser
from .commands.config import add_config_parser
from .commands.convert import add_convert_parser
from .commands.distill import add_distill_parser
from .commands.export import add_export_parser
from .commands.inspect import add_inspect_parser
from .commands.profile import add_profile_parser
from .commands.report import add_report_parser
from .commands.restore import add_restore_parser
from .errors import DCKDError, Interrupted, message_of
from .methods import list_if_asked
from .prepare.commands import add_prepare_parser
from .version import __version__

__all__ = ["main"]

_PIPELINES = {
    "train": "train or distil a network: basicsr train -opt FILE [--with METHOD ...] [--auto_resume] "
    "[--force_yml key:sub=value ...]; --with alone lists the methods",
    "test": "measure a network on test sets: basicsr test -opt FILE [--force_yml key:sub=value ...]",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="basicsr",
        description="Distil image-restoration networks (DCKD) through BasicSR's pipelines.",
        epilog="Experiments, results and logs go under the current directory. Start with: basicsr demo",
    )
    parser.add_argument("--version", action="version", version=f"dckd_basicsr {__version__}")
    parser.set_defaults(func=lambda _: _usage(parser))
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, text in _PIPELINES.items():
        # Options are BasicSR's own and parsed in config/parse.py, which also serves BasicSR's pipelines directly.
        commands.add_parser(name, help=text, add_help=False)
    add_distill_parser(commands)
    add_restore_parser(commands)
    add_prepare_parser(commands)
    add_convert_parser(commands)
    add_config_parser(commands)
    add_inspect_parser(commands)
    add_profile_parser(commands)
    add_compare_parser(commands)
    add_report_parser(commands)
    add_export_parser(commands)
    demo = commands.add_parser("demo", help="distil a small student on photos that scikit-image ships; a few minutes")
    demo.add_argument("--out", type=Path, default=Path("demo"), help="folder for everything it writes (default: demo)")
    demo.set_defaults(func=_demo)
    doctor = commands.add_parser("doctor", help="versions, devices, and what to install or fix")
    doctor.set_defaults(func=_doctor)
    setup = commands.add_parser(
        "setup", help=f"install BasicSR {basicsr_wheel.VERSION} into this Python, or write its wheel"
    )
    basicsr_wheel.add_arguments(setup)
    setup.set_defaults(func=_setup)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        Exit status: 0; 1 for an error that was reported; 2 for a command line that asks for nothing; 128 + signal for
        a run that a signal stopped (Ctrl-C: 130), also where nobody reads what it prints any more (141).
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        try:
            status = _run(arguments)
        except SystemExit:  # argparse has said what it had to say
            _flush()
            raise
        _flush()
        return status
    except OSError as error:
        if not _output_failed():
            raise
        return _without_output(error)


def _run(arguments: list[str]) -> int:
    """Do what the command line asks, and report what stopped it."""
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


def _usage(parser: argparse.ArgumentParser) -> int:
    """Show the commands to somebody who named none; the status of a command line that cannot be followed."""
    parser.print_help(sys.stderr)
    return 2


def _flush() -> None:
    """Write what is printed but still buffered: at the interpreter's end a failure could no longer be answered."""
    if sys.stdout is not None:  # closed, as by `>&-`
        sys.stdout.flush()


def _output_failed() -> bool:
    """Tell whether it is standard output that cannot be written, not a file or a worker's pipe: by one more line."""
    try:
        print(flush=True)
    except OSError:
        return True
    return False


def _without_output(error: OSError) -> int:
    """End without a reader (``basicsr config --schema | head``), or say why what was printed has no place."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 (no path of the user's)
        os.dup2(nowhere.fileno(), sys.stdout.fileno())  # or the interpreter's own flush fails again
        if isinstance(error, BrokenPipeError):  # `2>&1 |`: the same for the messages
            os.dup2(nowhere.fileno(), sys.stderr.fileno())
    if isinstance(error, BrokenPipeError):
        return 128 + getattr(signal, "SIGPIPE", 13)
    print(f"\nbasicsr: error: standard output cannot be written ({error.strerror})", file=sys.stderr)
    return 1


def _pipeline(name: str, arguments: list[str]) -> int:
    """Run a pipeline; it reads ``sys.argv`` through this package's ``parse_options``."""
    list_if_asked(arguments)
    install.everything()
    from .training import processes

    sys.argv = [f"basicsr {name}", *arguments]
    root = str(Path.cwd())
    try:
        if name == "train":
            from .commands.train import train_pipeline

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
    install.everything()
    from .commands.demo import run_demo

    return run_demo(options.out)


def _doctor(options: argparse.Namespace) -> int:
    from .commands.doctor import run_doctor

    return run_doctor()


def _setup(options: argparse.Namespace) -> int:
    try:
        return basicsr_wheel.run(options)
    except basicsr_wheel.WheelError as error:
        raise DCKDError(str(error)) from error
