"""The card beside exported files: README.md for people, config.json for programs, openmodeldb.json for that site."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..archs.facts import ArchFacts
from ..report.table import markdown_table as _plain_table
from ..version import __version__
from .card_facts import CardFacts, Measured
from .checking import Check
from .onnx_network import INPUT, OUTPUT
from .trained import NO_TEACHER

__all__ = ["CARD", "CARD_FILES", "CONFIG", "Subject", "write_card"]

CARD, CONFIG = "README.md", "config.json"
CARD_FILES = (CARD, CONFIG, "openmodeldb.json")
_UNKNOWN = "not known: ask the author"
_PLATFORMS = {"safetensors": "pytorch", "pth": "pytorch", "onnx": "onnx", "ncnn": "ncnn"}
_OPENMODELDB = {
    "realesrgan compact": "compact",
    "esrgan": "esrgan",
    "span": "span",
    "swinir": "swinir",
    "plksr": "plksr",
    "rcan": "rcan",
}


@dataclass(frozen=True)
class Subject:
    """What a card is about.

    Attributes:
        name: stem of the files.
        architecture: of the network.
        facts: its size rules.
        channels: of its input and output.
        spandrel: what spandrel takes its weights for; None if it does not know them.
        parameters: how many, with branches that an export merges.
        multiply_adds: of a 256x256 input; None if they could not be counted.
        half: whether values are float16.
        opset: of the ONNX file.
        onnx_way: how that was made.
        compared_on: in words.
        notes: sentences.
    """

    name: str
    architecture: str
    facts: ArchFacts
    channels: tuple[int, int]
    spandrel: str | None
    parameters: int
    multiply_adds: int | None
    half: bool
    opset: int
    onnx_way: str | None
    compared_on: str
    notes: tuple[str, ...]


def write_card(
    folder: Path, subject: Subject, files: Mapping[str, Sequence[Path]], checks: Sequence[Check], about: CardFacts
) -> list[Path]:
    """Write the three files into ``folder``, where ``files`` are, by format; returns their paths."""
    texts = {
        CARD: _readme(subject, files, checks, about),
        CONFIG: _json(_config(subject, files)),
        "openmodeldb.json": _json(_open_model_db(subject, files, about)),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose cells hold what nobody here has chosen: names of sets, of photos, of machines."""
    return _plain_table(header, [[re.sub(r"\s+", " ", cell).replace("|", r"\|") for cell in row] for row in rows])


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=4, ensure_ascii=False) + "\n"


def _config(subject: Subject, files: Mapping[str, Sequence[Path]]) -> dict[str, Any]:
    return {
        "name": subject.name,
        "architecture": subject.architecture,
        "scale": subject.facts.scale,
        "input_channels": subject.channels[0],
        "output_channels": subject.channels[1],
        "channel_order": {1: "L", 3: "RGB"}.get(subject.channels[0]),
        "input_range": [0, 1],
        "dtype": "float16" if subject.half else "float32",
        "multiple_of": subject.facts.multiple_of,
        "minimum": subject.facts.minimum,
        "square": subject.facts.square,
        "tensors": {"onnx": [INPUT, OUTPUT], "ncnn": ["data", "output"]},
        "onnx_opset": subject.opset if "onnx" in files else None,
        "files": {kind: [path.name for path in paths] for kind, paths in files.items()},
        "producer": f"dckd_basicsr {__version__}",
    }


def _open_model_db(subject: Subject, files: Mapping[str, Sequence[Path]], about: CardFacts) -> dict[str, Any]:
    plain = (subject.spandrel or subject.architecture).lower()
    told: dict[str, Any] = {
        "id": f"{subject.facts.scale}x-{_open_model_db_name(subject)}",
        "name": about.title or subject.name,
        "author": about.author or "unknown",
        "license": about.licence,
        "tags": list(about.tags),
        "description": about.description or _what(subject, about),
        "date": _today().isoformat(),
        "architecture": _OPENMODELDB.get(plain, plain),
        "size": None,
        "scale": subject.facts.scale,
        "inputChannels": subject.channels[0],
        "outputChannels": subject.channels[1],
        "resources": [
            {
                "platform": _PLATFORMS[kind],
                "type": path.suffix[1:],
                "size": path.stat().st_size,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "urls": [],
            }
            for kind, paths in files.items()
            for path in paths
        ],
        "images": [],
    }
    told["size"] = [f"{subject.parameters} parameters"]
    beside = {
        "trainingIterations": about.iterations,
        "trainingBatchSize": about.batch,
        "trainingHRSize": about.gt_size,
        "dataset": about.data,
        "pretrainedModelG": None,
    }
    return told | {key: value for key, value in beside.items() if value is not None}


def _open_model_db_name(subject: Subject) -> str:
    """Return what follows the scale in an id of that site: words of letters and digits, joined by hyphens."""
    name = subject.name.removeprefix(f"{subject.facts.scale}x")
    return "-".join(re.findall(r"[A-Za-z0-9]+", name)) or "network"


def _today() -> date:
    """Return the date; builds that must be repeatable set SOURCE_DATE_EPOCH."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    return date.fromtimestamp(int(epoch)) if epoch.isdecimal() else date.today()


def _what(subject: Subject, about: CardFacts) -> str:
    scale = subject.facts.scale
    task = f"super-resolution x{scale}" if scale > 1 else "image restoration at the input's size"
    teacher = f", distilled from {about.teacher}" if about.teacher not in (None, NO_TEACHER) else ""
    return f"{subject.architecture} for {task}{teacher}."


def _readme(subject: Subject, files: Mapping[str, Sequence[Path]], checks: Sequence[Check], about: CardFacts) -> str:
    facts = subject.facts
    parts = [f"# {about.title or subject.name}", about.description or _what(subject, about)]
    known = {
        "architecture": subject.architecture,
        "scale": str(facts.scale),
        "teacher": about.teacher or _UNKNOWN,
        "training data": about.data or _UNKNOWN,
        "method": about.method or _UNKNOWN,
        "iterations": str(about.iterations) if about.iterations else _UNKNOWN,
        "input": f"{_colours(subject)}, values 0 to 1; height and width "
        f"{f'multiples of {facts.multiple_of}' if facts.multiple_of > 1 else 'any'}"
        f"{f', at least {facts.minimum}' if facts.minimum > 1 else ''}{', equal' if facts.square else ''}",
    }
    parts.append(markdown_table(["", "what"], [[key, value] for key, value in known.items()]))
    parts += ["## Quality", _quality(about)]
    parts += [f"![{Path(strip).stem}]({quote(strip)})" for strip in about.strips]
    parts += ["## Cost", _cost(subject, files, about)]
    parts += ["## Files, and what loads them", _loads(subject, files)]
    licences = [
        ["these weights", about.licence or _UNKNOWN],
        *([] if about.teacher == NO_TEACHER else [["the teacher's weights", about.teacher_licence or _UNKNOWN]]),
        ["the training data", about.data_licence or _UNKNOWN],
        ["the code that trained and exported it (dckd_basicsr)", "Apache-2.0"],
    ]
    parts += ["## Licences", markdown_table(["of", "licence"], licences)]
    limits = [*subject.notes, *about.limits] or ["None was noted."]
    parts += ["## Known limits", "\n".join(f"- {limit}" for limit in limits)]
    parts += ["## Numeric checks", _checked(subject, checks)]
    parts.append(f"Written by dckd_basicsr {__version__}.")
    return "\n\n".join(parts) + "\n"


def _colours(subject: Subject) -> str:
    count = subject.channels[0]
    return {1: "1 channel, grey", 3: "3 channels, RGB"}.get(count, f"{count} channels")


def _quality(about: CardFacts) -> str:
    lines = []
    if about.metrics:
        rows = [[m.dataset, *_value(m), m.protocol, f"`{m.command}`"] for m in about.metrics]
        lines.append(markdown_table(["set", "metric", "value", "protocol", "measured by"], rows))
    if about.psnr_to_teacher is not None:
        lines.append(f"PSNR to the teacher: {about.psnr_to_teacher:.2f} dB.")
    return "\n\n".join(lines) or "Not known: ask the author, or measure it with `basicsr test`."


def _value(measured: Measured) -> tuple[str, str]:
    """Return the metric's usual name and its value with the digits that mean something."""
    name, value = measured.metric, measured.value
    if name.lower().startswith("psnr"):
        return (name if name != "psnr" else "PSNR (dB)"), f"{value:.2f}"
    return (name if name != "ssim" else "SSIM"), f"{value:.4f}"


def _cost(subject: Subject, files: Mapping[str, Sequence[Path]], about: CardFacts) -> str:
    adds = subject.multiply_adds
    rows = [
        ["parameters", f"{subject.parameters:,}"],
        ["multiply-adds of a 256x256 input", f"{adds / 1e9:.2f} G" if adds is not None else "not counted"],
    ]
    if about.milliseconds is not None:
        rows.append(["ms per megapixel of output", f"{about.milliseconds:.3g} ({about.machine or _UNKNOWN})"])
    rows += [[path.name, f"{path.stat().st_size:,} bytes"] for paths in files.values() for path in paths]
    return markdown_table(["", "cost"], rows)


def _loads(subject: Subject, files: Mapping[str, Sequence[Path]]) -> str:
    if subject.spandrel is None:
        weights = "`dckd_basicsr.portable.open_network(FILE)` only: chaiNNer, ComfyUI and spandrel do not know it"
    else:
        weights = (
            f"chaiNNer (Load Model), ComfyUI (models/upscale_models), `spandrel.ModelLoader().load_from_file(FILE)`, "
            f"which take it for {subject.spandrel}; `dckd_basicsr.portable.open_network(FILE)`"
        )
    kind = "float16" if subject.half else "float32"
    loads = {
        "safetensors": weights,
        "pth": weights,
        "onnx": "onnxruntime (Python, C++, C#) and chaiNNer (Load Model of ONNX): input `input`, output `output`, "
        f"{kind}, (batch, {subject.channels[0]}, height, width), values in [0, 1]",
        "ncnn": "the ncnn tools and Upscayl (folder of custom models): blobs `data` and `output`, values in [0, 1]",
    }
    rows = [[", ".join(path.name for path in paths), loads[kind]] for kind, paths in files.items()]
    way = f"\n\nONNX: opset {subject.opset}, made through {subject.onnx_way}." if subject.onnx_way else ""
    return markdown_table(["file", "loaded by"], rows) + way


def _checked(subject: Subject, checks: Sequence[Check]) -> str:
    def decibel(value: float | None) -> str:
        return "-" if value is None else "equal" if math.isinf(value) else f"{value:.2f}"

    header = ["file", "read by", "picture", "largest difference", "PSNR between", "network to GT", "file to GT"]
    rows = [
        [c.file, c.program, c.picture, f"{c.largest:.1e}", *(decibel(v) for v in (c.psnr, c.network_psnr, c.file_psnr))]
        for c in checks
    ]
    return (
        f"Every file was read back and its outputs compared with the network's, on {subject.compared_on}. Values are "
        f"in [0, 1], PSNR in dB (RGB; to GT after rounding to 8 bits, {subject.facts.scale} px cropped).\n\n"
        + markdown_table(header, rows)
    )
