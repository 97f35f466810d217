"""``basicsr prepare``: from photos to verified LMDB databases."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .command_parts import add_kind, add_selection, add_shared, print_summary, shared_options
from .paired_commands import add_paired_kinds
from .sets.pages import DIV2K_PAGE

if TYPE_CHECKING:
    from .verify import LmdbReport

__all__ = ["add_prepare_parser"]

_SR = """\
Pack a folder of photos into LMDB pairs: GT.lmdb and, for each scale, LQ_x<scale>.lmdb.
LQ is made with MATLAB's bicubic imresize, or read from --lq.

example, a training set:
  basicsr prepare sr photos/ datasets/mine --scale 4 --verify
example, a test set with its published LR photos:
  basicsr prepare sr Set5/HR datasets/Set5_x4 --scale 4 --crop 0 --lq Set5/LR_bicubic
"""
_DIV2K = f"""\
Pack DIV2K's 800 training photos and their published bicubic LR photos.
ROOT holds DIV2K_train_HR/ and DIV2K_train_LR_bicubic/X2/, X3/, X4/, from {DIV2K_PAGE}

example:
  basicsr prepare div2k ~/DIV2K datasets/DIV2K --scale 4 --verify
"""
_VERIFY = """\
Read a database, or a GT/LQ pair, from end to end: number of images, decoding, shapes, checksums.

example:
  basicsr prepare verify datasets/mine/GT.lmdb datasets/mine/LQ_x4.lmdb --scale 4
"""


def add_prepare_parser(subparsers: Any) -> None:
    """Add ``prepare`` and its kinds to what ``ArgumentParser.add_subparsers()`` returned.

    Each kind sets ``func``: called with the parsed Namespace it does the work, prints a summary and returns 0; it
    raises DatasetError on bad input.
    """
    parser = subparsers.add_parser("prepare", help="pack photos into LMDB databases, and verify them")
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="{sr,div2k,paired,gopro,rain13k,verify}")

    sr = add_kind(kinds, "sr", _SR, "any folder of photos", _run_sr)
    sr.add_argument("photos", type=Path, metavar="PHOTOS", help="folder of HR photos, sub-folders included")
    sr.add_argument("out", type=Path, metavar="OUT", help="folder for the databases")
    sr.add_argument("--scale", type=int, nargs="+", required=True, help="one or several scales, such as 4 or 2 3 4")
    sr.add_argument("--lq", type=Path, metavar="DIR", help="ready-made LQ photos (DIR or DIR/X<scale>, 0001x4.png)")
    add_selection(sr)
    add_shared(sr)

    div2k = add_kind(kinds, "div2k", _DIV2K, "DIV2K's training photos as published", _run_div2k)
    div2k.add_argument("root", type=Path, metavar="ROOT", help="folder that holds DIV2K_train_HR")
    div2k.add_argument("out", type=Path, metavar="OUT", help="folder for the databases")
    div2k.add_argument("--scale", type=int, nargs="+", default=[2, 3, 4], help="some of 2 3 4 (all)")
    add_shared(div2k)

    add_paired_kinds(kinds)

    verify = add_kind(kinds, "verify", _VERIFY, "read databases again from end to end", _run_verify)
    verify.add_argument("gt", type=Path, metavar="GT_LMDB", help="a database")
    verify.add_argument("lq", type=Path, metavar="LQ_LMDB", nargs="?", help="its LQ database")
    verify.add_argument("--scale", type=int, help="GT size / LQ size; needed with LQ_LMDB")
    verify.set_defaults(parser=verify)


def _run_sr(options: argparse.Namespace) -> int:
    from .sets.sr import prepare_sr

    extra = {name: getattr(options, name) for name in ("lq", "small", "skip_unusable", "thresh")}
    print_summary(prepare_sr(options.photos, options.out, options.scale, **extra, **shared_options(options)))
    return 0


def _run_div2k(options: argparse.Namespace) -> int:
    from .sets.div2k import prepare_div2k

    print_summary(prepare_div2k(options.root, options.out, options.scale, **shared_options(options)))
    return 0


def _run_verify(options: argparse.Namespace) -> int:
    if (options.lq is None) != (options.scale is None):
        options.parser.error("LQ_LMDB and --scale go together")
    from .verify import verify_lmdb, verify_pair

    if options.lq is None:
        _print_report(verify_lmdb(options.gt))
        return 0
    pair = verify_pair(options.gt, options.lq, options.scale)
    _print_report(pair.gt)
    _print_report(pair.lq)
    ratio = "as large as" if pair.scale == 1 else f"{pair.scale} times"
    pack = "both were packed together" if pair.packed_together else "there is no pack id to compare"
    rest = " but for a remainder at the right and bottom" if pair.rest else ""
    print(f"keys match, every GT image is {ratio} its LQ image{rest}, and {pack}")
    if pair.rest:
        print("this set serves validation and testing, which cut the remainder off; for training, pack it again")
    return 0


def _print_report(report: LmdbReport) -> None:
    sums = "checksums match" if report.checksums else "no checksums.txt to compare with"
    print(f"{report.path}: {report.images} images, {report.bytes / 1e6:.1f} MB, all readable, {sums}")
