"""``basicsr export``: a run's network, or any weight file, as files that other programs load."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .. import install
from ..user_modules import add_import_flag

__all__ = ["add_export_parser", "run_export"]


def add_export_parser(commands: Any) -> None:
    """Add ``export`` to the command line's subparsers."""
    parser = commands.add_parser(
        "export",
        help="write a network as safetensors, pth, ONNX or ncnn files that other programs load, with a card",
        description="Write a network as files for chaiNNer, ComfyUI, onnxruntime, ncnn, Upscayl and others, read every "
        "file back, compare its outputs with the network's on photos, and write a card (README.md, config.json, "
        "openmodeldb.json). What does not agree is not written. See docs/guide/export.md.",
    )
    parser.add_argument(
        "source", metavar="RUN|WEIGHTS", help="folder of a run (its moving average), a weight file, or builtin:NAME"
    )
    parser.add_argument(
        "--to",
        default="safetensors",
        metavar="FORMATS",
        help="any of safetensors,pth,onnx,ncnn, with commas between (default: safetensors)",
    )
    parser.add_argument("--fp16", action="store_true", help="16 bits: half the size; ONNX takes and gives float16")
    parser.add_argument("--opset", type=int, default=18, metavar="N", help="of ONNX (default: 18)")
    parser.add_argument("--which", default="last", metavar="last|best|N", help="weights of a run (default: last)")
    parser.add_argument("-o", "--out", type=Path, metavar="DIR", help="folder to write to (default: exported/STEM)")
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="inputs to compare on (default: scikit-image's)")
    parser.add_argument("--gt", type=Path, metavar="FOLDER", help="ground truth of --photos, for PSNR of both")
    parser.add_argument("--name", metavar="STEM", help="name of the files (default: that of the run or weight file)")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    add_import_flag(parser)
    parser.set_defaults(func=run_export)


def run_export(options: argparse.Namespace) -> int:
    """Write the files and print what was written and compared; returns the exit status."""
    install.everything()
    from ..data.photos.keys import list_photos
    from ..portable import export_network, file_stem, open_network
    from ..portable.exporting import known_formats
    from ..report.table import markdown_table
    from ..user_modules import import_modules, import_plugins

    import_plugins()  # the network may be theirs
    import_modules(options.imports)
    photos, gt = ([] if each is None else list_photos(each) for each in (options.photos, options.gt))
    opened = open_network(options.source, which=options.which)
    name = options.name or file_stem(opened.run.resolve().name if opened.run else opened.file.stem)
    folder = options.out or Path("exported") / name
    formats = known_formats(options.to)
    done = export_network(
        opened,
        formats,
        folder,
        name=name,
        half=options.fp16,
        opset=options.opset,
        photos=photos,
        gt=gt,
        overwrite=options.overwrite,
    )
    rows = [
        [c.file, c.program, c.picture, f"{c.largest:.1e}", "equal" if c.psnr == float("inf") else f"{c.psnr:.1f}"]
        for c in done.checks
    ]
    print(markdown_table(["file", "read by", "picture", "largest difference", "PSNR between"], rows))
    for path in [*(path for paths in done.files.values() for path in paths), done.card]:
        print(path)
    for note in done.notes:
        print(f"basicsr: note: {note}")
    return 0
