"""What the ``basicsr prepare`` commands have in common: options, help, the printed summary.

The modules of these commands import what packs inside the functions that run it: help needs none of it.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .databases import PrepareSummary

__all__ = ["add_kind", "add_selection", "add_shared", "print_summary", "shared_options"]


def add_kind(kinds: Any, name: str, description: str, summary: str, func: Any) -> argparse.ArgumentParser:
    """Add a sub-parser whose help shows ``description`` as it is written; ``func`` does the work."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser: argparse.ArgumentParser = kinds.add_parser(
        name, help=summary, description=description, formatter_class=formatter
    )
    parser.set_defaults(func=func)
    return parser


def add_shared(parser: argparse.ArgumentParser, *, crop: int = 480) -> None:
    """Add the options that every packing command has; ``crop`` is the default of ``--crop``."""
    parser.add_argument(
        "--crop", type=int, default=crop, help=f"side of the sub-images in GT pixels; 0: whole photos ({crop})"
    )
    parser.add_argument("--step", type=int, help="distance between sub-images in GT pixels (half the crop)")
    parser.add_argument("--workers", type=int, metavar="N", help="processes; 0: none (one per core)")
    parser.add_argument("--level", type=int, default=1, help="PNG compression, 0 to 9 (1)")
    parser.add_argument(
        "--payload",
        choices=["png", "raw"],
        default="png",
        help="png, or raw pixels: more disk, no decoding, for PairedLMDBDataset alone (png)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing set, whole, at the end")
    parser.add_argument("--verify", action="store_true", help="read everything again before the databases appear")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N photos")


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which photos are packed, and how much of them."""
    parser.add_argument(
        "--small",
        choices=["keep", "skip"],
        default="skip",
        help="photos smaller than the crop, or of whole photos than the scale (skip)",
    )
    parser.add_argument(
        "--skip-unusable", action="store_true", help="leave out and list photos that are damaged, 16-bit, or do not fit"
    )
    parser.add_argument("--thresh", type=int, default=0, help="pixels that may be left over at the far borders (0)")


def shared_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options of :func:`add_shared` as keyword arguments."""
    names = ("workers", "level", "payload", "overwrite", "verify", "limit")
    step = options.crop // 2 if options.step is None else options.step
    return {**{name: getattr(options, name) for name in names}, "crop": options.crop or None, "step": step}


def print_summary(summary: PrepareSummary) -> None:
    """Print what was packed, and the lines of an option file that read it."""
    verified = ", verified" if summary.verified else ""
    print(f"packed {summary.images} pairs from {summary.photos} photos in {summary.seconds:.0f} s{verified}")
    if summary.skipped:
        names = ", ".join(summary.skipped[:5]) + (", ..." if len(summary.skipped) > 5 else "")
        print(
            f"skipped {len(summary.skipped)} photos smaller than the crop, or than the scale: {names} "
            "(--small keep packs whole what is no smaller than the scale)"
        )
    if summary.unusable:
        print(f"left out {len(summary.unusable)} photos that cannot be used:")
        for reason in summary.unusable:
            print(f"  {reason}")
    print("for the option file:")
    for scale, lq in summary.lq.items():
        print(f"  # scale {scale}")
        if summary.payload == "raw":
            print("  type: PairedLMDBDataset")
        print(f"  dataroot_gt: {summary.gt.resolve()}")
        print(f"  dataroot_lq: {lq.resolve()}")
        print("  io_backend: {type: lmdb}")
