"""``basicsr restore``: images and folders through a network, with all that belongs to a picture kept."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from .. import install
from ..errors import ConfigError
from ..user_modules import add_import_flag

if TYPE_CHECKING:
    import torch

    from ..restoring import Outcome

__all__ = ["add_restore_parser", "run_restore"]


def add_restore_parser(commands: Any) -> None:
    """Add ``restore`` to the command line's subparsers."""
    parser = commands.add_parser(
        "restore",
        help="restore images and folders with a network: any weight file, in tiles where memory asks for it",
        description="Restore images with a network. Names and sub-folders are kept; so are 16 bits, grey, transparency "
        "(which passes the network as a grey picture), colour profile and Exif, whose orientation is applied. A grey "
        "picture passes the network as three equal channels, of which the mean is kept. What is there already is "
        "skipped, so the same command goes on after an interruption.",
        epilog="basicsr restore holiday_photos -o restored --weights experiments/span --which best",
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="images, and folders of images")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR", help="folder for the restored images")
    parser.add_argument(
        "--weights", required=True, metavar="FILE", help="folder of a run, .pth, .safetensors, .onnx, or builtin:NAME"
    )
    parser.add_argument(
        "--which", default="last", metavar="last|best|N", help="weights of a run; N: of an iteration (default: last)"
    )
    parser.add_argument(
        "--format",
        choices=("png", "jpg", "webp", "same"),
        default="png",
        help="of the restored images (default: png, lossless; 16 bits need it); same: as the input, PNG for others",
    )
    parser.add_argument("--quality", type=_quality, default=95, metavar="N", help="of JPEG and WebP (default: 95)")
    parser.add_argument("--overwrite", action="store_true", help="restore again what is there already")
    parser.add_argument("--compare", action="store_true", help="write strips of input and result to DIR/compare")
    parser.add_argument(
        "--self-ensemble", action="store_true", help="mean over the eight flips and transpositions: 8 times the work"
    )
    parser.add_argument(
        "--tile",
        type=_tile,
        default="auto",
        metavar="auto|none|N",
        help="pass the network in tiles of N px (of the input) a side; auto: if memory asks for it (default)",
    )
    parser.add_argument(
        "--overlap", type=_count, default=32, metavar="N", help="pixels that neighbouring tiles share (default: 32)"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: a GPU, if any)")
    parser.add_argument("--half", action="store_true", help="in float16, on GPUs")
    parser.add_argument("--quiet", action="store_true", help="print errors and nothing else")
    add_import_flag(parser)
    parser.set_defaults(func=run_restore)


def run_restore(options: argparse.Namespace) -> int:
    """Restore what the command line names; returns the exit status."""
    install.everything()
    from ..portable import open_network
    from ..restoring import PictureRestorer, TileChoice, find_jobs, prepare_folder, restore_jobs
    from ..user_modules import import_modules, import_plugins

    import_plugins()
    import_modules(options.imports)
    tile = TileChoice(options.tile, options.overlap)
    found = find_jobs(options.inputs, options.out, options.format, compare=options.compare)
    # Path.exists raises on a name longer than names can be: that image fails when it is written, and no other.
    jobs = [job for job in found if options.overwrite or not os.path.exists(job.target)]  # noqa: PTH110
    device = _device(options.device)
    opened = open_network(options.weights, which=options.which)
    restorer = PictureRestorer(opened, device, half=options.half, self_ensemble=options.self_ensemble, tile=tile)
    prepare_folder(options.out, jobs)
    if not options.quiet:
        print(f"{opened.name}, x{opened.facts.scale}, on {device}: {len(jobs)} of {len(found)} images", flush=True)
    with _terminable():
        outcome = restore_jobs(jobs, restorer, quality=options.quality, quiet=options.quiet)
    _report(outcome, len(found) - len(jobs), restorer.tiled, options)
    return 1 if outcome.failed else 0


def _report(outcome: Outcome, skipped: int, tiled: int, options: argparse.Namespace) -> None:
    if not options.quiet:
        parts = [f"{outcome.restored} restored"]
        if tiled:
            parts[0] += f" ({tiled} in tiles)"
        if skipped:
            parts.append(f"{skipped} skipped, which were there already (--overwrite restores them again)")
        print(f"{'; '.join(parts)}: {options.out}")
    if outcome.failed:
        count = len(outcome.failed)
        print(
            f"basicsr: error: {count} {'image' if count == 1 else 'images'} could not be restored, see above",
            file=sys.stderr,
        )


def _device(name: str) -> torch.device:
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    elif name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda, and PyTorch sees no GPU; see `basicsr doctor`, or use --device cpu")
    return torch.device(name)


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which nobody takes for a failure of what it interrupts."""

    signum = signal.SIGTERM


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM stop as Ctrl-C does: what is being written is finished."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _tile(text: str) -> str | int | None:
    if text in ("auto", "none"):
        return None if text == "none" else text
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be auto, none, or a whole number of pixels, got '{text}'")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, 0 or more, got '{text}'")
    return int(text)


def _quality(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to 100, got '{text}'")
    return int(text)
