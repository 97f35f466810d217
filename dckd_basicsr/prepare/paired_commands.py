"""``basicsr prepare paired``, ``gopro`` and ``rain13k``: pairs of photos that both exist already."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .command_parts import add_kind, add_selection, add_shared, print_summary, shared_options
from .sets.pages import GOPRO_PAGE, RAIN13K_PAGE

if TYPE_CHECKING:
    from .sets.published import PreparedParts

__all__ = ["add_paired_kinds"]

_PAIRED = """\
Pack two folders of photos, sharp and degraded, into OUT/GT.lmdb and OUT/LQ.lmdb.
Photos are paired by relative path and file name; if the names differ, templates say how.

example, equal names:
  basicsr prepare paired train/sharp train/blur datasets/mine --crop 512 --verify
example, norain-1.png beside rain-1.png:
  basicsr prepare paired clean rainy datasets/rain --gt-template 'norain-{}' --template 'rain-{}'
"""
_GOPRO = f"""\
Pack GoPro: sub-images of the 2103 training pairs, and the 1111 test pairs whole.
ROOT holds train/ and test/, each with GOPR*/blur and sharp, or with input/ and target/.
Download: {GOPRO_PAGE}

example:
  basicsr prepare gopro ~/GOPRO_Large datasets/GoPro --verify
"""
_RAIN13K = f"""\
Pack Rain13K and the test sets that are there: Test100, Rain100H, Rain100L, Test2800, Test1200.
ROOT holds train/Rain13K/ and test/Test100/ and so on, each with input/ and target/.
Download: {RAIN13K_PAGE}, section Deraining

example:
  basicsr prepare rain13k ~/Deraining/Datasets datasets/Rain13K --verify
"""


def add_paired_kinds(kinds: Any) -> None:
    """Add the three commands to the sub-parsers of ``basicsr prepare``."""
    paired = add_kind(kinds, "paired", _PAIRED, "two folders of photos, sharp and degraded", _run_paired)
    paired.add_argument("gt", type=Path, metavar="GT", help="folder of sharp photos, sub-folders included")
    paired.add_argument("lq", type=Path, metavar="LQ", help="folder of degraded photos")
    paired.add_argument("out", type=Path, metavar="OUT", help="folder for the databases")
    paired.add_argument(
        "--template", default="{}", metavar="T", help="LQ file name without extension; {} is what it shares with GT"
    )
    paired.add_argument("--gt-template", default="{}", metavar="T", help="GT file name without extension")
    paired.add_argument("--scale", type=int, default=1, help="GT size / LQ size (1)")
    add_selection(paired)
    add_shared(paired, crop=0)

    gopro = add_kind(kinds, "gopro", _GOPRO, "GoPro deblurring as published", _run_gopro)
    gopro.add_argument("root", type=Path, metavar="ROOT", help="folder that holds train and test")
    gopro.add_argument("out", type=Path, metavar="OUT", help="folder for the databases")
    gopro.add_argument("--blur", choices=["blur", "blur_gamma"], default="blur", help="which published blur (blur)")
    add_shared(gopro, crop=512)

    rain13k = add_kind(kinds, "rain13k", _RAIN13K, "Rain13K deraining as published", _run_rain13k)
    rain13k.add_argument("root", type=Path, metavar="ROOT", help="folder that holds train/Rain13K and test")
    rain13k.add_argument("out", type=Path, metavar="OUT", help="folder for the databases")
    add_shared(rain13k, crop=0)


def _run_paired(options: argparse.Namespace) -> int:
    from .sets.paired import prepare_paired

    names = ("template", "gt_template", "scale", "small", "skip_unusable", "thresh")
    extra = {name: getattr(options, name) for name in names}
    print_summary(prepare_paired(options.gt, options.lq, options.out, **extra, **shared_options(options)))
    return 0


def _run_gopro(options: argparse.Namespace) -> int:
    from .sets.gopro import prepare_gopro

    _print_parts(prepare_gopro(options.root, options.out, blur=options.blur, **shared_options(options)), GOPRO_PAGE)
    return 0


def _run_rain13k(options: argparse.Namespace) -> int:
    from .sets.rain13k import prepare_rain13k

    _print_parts(prepare_rain13k(options.root, options.out, **shared_options(options)), RAIN13K_PAGE)
    return 0


def _print_parts(prepared: PreparedParts, page: str) -> None:
    for name, summary in prepared.parts.items():
        print(f"{name}:")
        print_summary(summary)
    if prepared.missing:
        print(f"not packed, download from {page} if wanted:")
        for line in prepared.missing:
            print(f"  {line}")
